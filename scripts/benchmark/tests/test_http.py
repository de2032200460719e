"""What counts as a good response of each program."""

import tempfile
import unittest
from pathlib import Path

from benchmark.jobs.http import exactness
from benchmark.jobs.http.suites import GOOD, OHA, with_flag

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

    def test_the_report_of_wrk(self):
        text = "  12 requests in 1.00s, 2.00MB read\n"
        self.assertEqual(self.count("wrk", text), 12)
        self.assertEqual(self.count("wrk", text + "  Non-2xx or 3xx responses: 5\n"), 0)
        self.assertEqual(self.count("wrk", text + "  Socket errors: connect 0, read 1\n"), 0)


class Exactness(unittest.TestCase):
    def test_an_even_rate(self):
        entries = [(number / exactness.RATE, "200") for number in range(1101)]
        found = exactness.of_rate(entries)
        self.assertEqual(found[exactness.DEVIATION], 0)
        self.assertIn(found[exactness.BUSIEST], (100, 101))  # the times are not exact

    def test_a_burst(self):
        entries = [(0.0, "200")] * 150 + [(number / 50, "200") for number in range(50, 500)]
        self.assertEqual(exactness.of_rate(entries)[exactness.BUSIEST], 150)

    def test_the_pause_that_deviates_most(self):
        entries = [(0.0, "200"), (0.01, "429"), (0.02, "429"), (1.05, "200"), (1.06, "429"), (2.04, "200")]
        self.assertEqual(exactness.of_pauses(entries), {exactness.LONGEST: 30.0})
        self.assertEqual(exactness.of_pauses(entries[:3]), {})


class Flags(unittest.TestCase):
    def test_a_flag_comes_after_the_program(self):
        flagged = with_flag(OHA, "--insecure")
        self.assertTrue(flagged.command.startswith("oha --insecure --no-tui "))
        self.assertTrue(flagged.label.startswith("oha --insecure -c "))


if __name__ == "__main__":
    unittest.main()
