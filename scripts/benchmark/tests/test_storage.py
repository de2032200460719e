import os
import tempfile
import time
import unittest
from pathlib import Path

from benchmark.jobs.hash.storage import Clocked, mixed


class Clock(unittest.TestCase):
    def test_marked_lines_are_counted_when_they_are_complete(self):
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory, "out")
            with Clocked(path) as clocked:
                os.write(clocked.write, b"1  hot/a\n2  slow/b\n3  ho")
                time.sleep(0.2)
                os.write(clocked.write, b"t/c\n")
            self.assertEqual(path.read_bytes(), b"1  hot/a\n2  slow/b\n3  hot/c\n")
        self.assertLess(clocked.seconds_to(1, b"hot/"), clocked.seconds_to(2, b"hot/"))
        self.assertIsNone(clocked.seconds_to(3, b"hot/"))


class Mix(unittest.TestCase):
    def test_every_name_is_there_once(self):
        hot, slow = [f"h{n}" for n in range(50)], [f"s{n}" for n in range(5)]
        for variant in ("together", "spread"):
            names = mixed(hot, slow, variant, 1)
            self.assertEqual(sorted(names), sorted(hot + slow))
            self.assertEqual([name for name in names if name in hot], hot)


if __name__ == "__main__":
    unittest.main()
