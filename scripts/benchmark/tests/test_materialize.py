import unittest

from benchmark.bench import Measured, Run
from benchmark.jobs.materialize import CASES, HELD, OURS, SHARES, SUITES, TARGETS, reported
from benchmark.measure import Usage
from benchmark.model import CountTarget
from benchmark.report.summary import columns_of, target_rows

USAGE = Usage(0, 1.0, 0.5, 0.5, 2048, 0, 0.0)
TEXT = "wall_s=0.25\nuser_s=0.2\nsys_s=0.01\nstarted=70\nreceived=60\nheld_max=10\n"


class Reported(unittest.TestCase):
    def test_times_are_those_of_the_program_and_memory_that_of_the_process(self):
        run = reported(USAGE, TEXT)
        self.assertEqual((run.usage.wall_s, run.usage.user_s, run.usage.sys_s), (0.25, 0.2, 0.01))
        self.assertEqual(run.usage.max_rss_kib, 2048)
        self.assertEqual(run.counts, {"started": 70, "held at most": 10})


class Tables(unittest.TestCase):
    def measured(self, case, **counts):
        measured = Measured(case, "variant", 100, 0, case.contenders, {})
        measured.runs = {OURS: {1: Run(USAGE, counts={"started": 5, HELD: 7, **counts})}}
        return measured

    def test_counts_are_columns(self):
        for case in CASES:
            columns = columns_of(self.measured(case), "futures")
            self.assertIn(HELD, columns)
            self.assertEqual("futures/s" in columns, case.timed)
            self.assertEqual("ns of processor per item" in columns, case.timed)

    def test_a_count_has_a_target(self):
        stuck = next(case for case in CASES if case.name == "stuck-head")
        target = CountTarget("text", "stuck-head", HELD, 7)
        self.assertEqual(target_rows([self.measured(stuck)], target), [("text", "7", "met")])
        more = self.measured(stuck, **{HELD: 8})
        self.assertEqual(target_rows([more], target), [("text", "8", "**missed**")])
        self.assertEqual(target_rows([], target), [("text", "–", "not run")])

    def test_each_case_has_a_share_and_each_target_a_case(self):
        names = {case.name for case in SUITES[0].cases}
        self.assertEqual(names - set(SHARES), {"stuck-head"})
        self.assertLessEqual({target.case for target in TARGETS}, names)


if __name__ == "__main__":
    unittest.main()
