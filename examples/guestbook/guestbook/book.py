"""The entries: one SQLite file, so that a named volume is all the state there is."""

import sqlite3


class Book:
    def __init__(self, path):
        self.path = path
        with self._open() as db:
            db.execute(
                "CREATE TABLE IF NOT EXISTS entry (id INTEGER PRIMARY KEY, name TEXT NOT NULL, words TEXT NOT NULL)"
            )

    def _open(self):
        return sqlite3.connect(self.path)

    def sign(self, name, words):
        with self._open() as db:
            db.execute("INSERT INTO entry (name, words) VALUES (?, ?)", (name[:80], words[:500]))

    def entries(self):
        with self._open() as db:
            return db.execute("SELECT name, words FROM entry ORDER BY id DESC LIMIT 100").fetchall()
