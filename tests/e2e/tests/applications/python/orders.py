import http.server
import os
import signal
import sys


class Orders(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"python in {sys.prefix} as {os.getuid()}\n".encode())


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print("serving", flush=True)
    http.server.ThreadingHTTPServer(("", int(sys.argv[1])), Orders).serve_forever()
