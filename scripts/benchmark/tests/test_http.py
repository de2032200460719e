"""What counts as a good response of each program."""

import tempfile
import unittest
from pathlib import Path

from benchmark.jobs.http.suites import GOOD

ROW = '{{"index":{},"url":"u","status":{},"size":{},"attempts":1}}\n'


class GoodResponses(unittest.TestCase):
    def count(self, form, text):
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "out"
            path.write_text(text)
            return GOOD[form](path, 10)

    def test_rows_in_order_with_status_and_size(self):
        rows = [ROW.format(0, 200, 10), ROW.format(1, 200, 10)]
        self.assertEqual(self.count("rows", "".join(rows)), 2)
        self.assertEqual(self.count("rows", "".join(reversed(rows))), 0)
        self.assertEqual(self.count("rows", ROW.format(0, 404, 10) + ROW.format(1, 200, 11)), 0)

    def test_lines_of_curl(self):
        self.assertEqual(self.count("lines", "200 10\n200 9\n000 0\n200 10\n"), 2)

    def test_the_report_of_ab(self):
        text = "Complete requests:      7\nFailed requests:        2\n"
        self.assertEqual(self.count("ab", text), 5)
        self.assertEqual(self.count("ab", text + "Non-2xx responses:      5\n"), 0)

    def test_the_report_of_oha(self):
        self.assertEqual(self.count("oha", '{"statusCodeDistribution": {"200": 3, "500": 1}}'), 3)
        self.assertEqual(self.count("oha", '{"statusCodeDistribution": {}}'), 0)


if __name__ == "__main__":
    unittest.main()
