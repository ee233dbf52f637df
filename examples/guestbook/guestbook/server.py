"""A guestbook over HTTP: GET / shows it, POST / signs it, GET /healthz says whether the book can be read."""

import html
import os
import signal
import sys
import threading
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from book import Book

LONGEST_BODY = 4096


def page(entries):
    rows = "".join(f"  <li><b>{html.escape(name)}</b>: {html.escape(words)}</li>\n" for name, words in entries)
    return (
        "<!doctype html>\n<title>Guestbook</title>\n<h1>Guestbook</h1>\n"
        f"<p>{len(entries)} entries so far.</p>\n<ul>\n{rows}</ul>\n"
        '<form method="post"><input name="name" placeholder="name"> <input name="words" placeholder="words">'
        " <button>Sign</button></form>\n"
    )


class Handler(BaseHTTPRequestHandler):
    book = None

    def do_GET(self):
        if self.path == "/healthz":
            self.book.entries()
            self.answer(200, "ok\n", "text/plain")
        elif self.path == "/":
            self.answer(200, page(self.book.entries()), "text/html; charset=utf-8")
        else:
            self.answer(404, "not found\n", "text/plain")

    def do_POST(self):
        length = min(int(self.headers.get("Content-Length", 0)), LONGEST_BODY)
        form = urllib.parse.parse_qs(self.rfile.read(length).decode("utf-8", "replace"))
        self.book.sign(form.get("name", ["somebody"])[0], form.get("words", [""])[0])
        self.answer(303, "", "text/plain", location="/")

    def answer(self, status, body, kind, location=None):
        data = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        if location:
            self.send_header("Location", location)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, form, *args):
        print(self.address_string(), form % args, flush=True)


def main():
    port = int(os.environ.get("GUESTBOOK_PORT", "8000"))
    if sys.argv[1:] == ["--healthcheck"]:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=3).read()
        return
    Handler.book = Book(os.environ.get("GUESTBOOK_FILE", "guestbook.sqlite"))
    server = ThreadingHTTPServer(("", port), Handler)
    # As PID 1 there is no default action for SIGTERM: without this, every stop would take its whole timeout.
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"guestbook open on port {port}", flush=True)
    server.serve_forever()
    print("guestbook closed", flush=True)
