import os
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "guestbook"))

from book import Book  # noqa: E402
from server import page  # noqa: E402


class BookTest(unittest.TestCase):
    def test_an_entry_is_kept(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "book.sqlite")
            Book(path).sign("Ada", "hello")
            self.assertEqual(Book(path).entries(), [("Ada", "hello")])

    def test_markup_is_escaped(self):
        self.assertIn("&lt;script&gt;", page([("<script>", "x")]))


if __name__ == "__main__":
    unittest.main()
