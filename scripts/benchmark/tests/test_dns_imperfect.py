import json
import tempfile
import unittest
from pathlib import Path

from benchmark.bench import Measured, Run, WrongOutput
from benchmark.jobs.dns.imperfect.scene import (DROPPED, WINDOW, ImperfectScene, Window,
                                                of_server, one_of)
from benchmark.jobs.dns.imperfect.situations import (DEAD, QUEUE, RATE, SITUATIONS, Situation,
                                                     address_of, least_time, name)
from benchmark.jobs.dns.imperfect.suite import (CASES, NO_FAULT, ONE_NAME, OURS, SUITE, TARGETS,
                                                bound_of_window)
from benchmark.jobs.dns.imperfect.truth import (FALSE, STATUSES, TIMEOUTS, UNANSWERED, TruthCheck)
from benchmark.measure import Usage
from benchmark.model import Contender, CountTarget, TimeTarget
from benchmark.report.summary import count_columns, target_rows


class Situations(unittest.TestCase):
    def test_addresses_are_those_of_the_server(self):
        self.assertEqual(address_of("na.example"), "10.246.181.227")

    def test_faults_are_spread_evenly(self):
        names = SITUATIONS["servfail-3"].names(200)
        self.assertEqual([number for number, found in enumerate(names) if found[0] == "s"],
                         [0, 34, 67, 100, 134, 167])
        self.assertEqual({found[0] for found in SITUATIONS["loss-10"].names(10)}, {"l"})

    def test_truth(self):
        names = Situation(None)
        self.assertEqual(names.truth("x1.example"), ("TIMEOUT", None))
        self.assertEqual(names.truth("l1.example"), ("NOERROR", address_of("l1.example")))
        self.assertEqual(Situation(5, servers=(DEAD,)).truth("n1.example"), (None, None))

    def test_the_least_time_is_that_of_the_options(self):
        self.assertEqual(SITUATIONS["queue"].options, f"--queue {QUEUE}")
        self.assertEqual(SITUATIONS["rate"].options, f"--rate {RATE}")
        self.assertEqual(least_time("queue", 20_000), 4.0)
        self.assertEqual(least_time("rate", 20_000), 9.98)

    def test_one_name_stands_behind_ordinary_ones_if_these_are_answered(self):
        self.assertEqual(one_of(SITUATIONS["never-1"])[-2:],
                         [name("n", 199), name("x", 200)])
        self.assertEqual(one_of(SITUATIONS["silent"]), [name("n", 0)])


class Check(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = Path(directory.name, "out")
        self.names = ["x0.example", "s1.example", "n2.example", "n3.example"]

    def counts(self, lines, form="jsonl", ordered=True, situation=Situation(None)):
        self.path.write_text("".join(line + "\n" for line in lines))
        check = TruthCheck(self.names, situation)
        return check.counts(Contender("label", "command", (), form, ordered=ordered), self.path)

    def row(self, found, status, attempts=1, address=None):
        answers = [{"data": address}] if address else []
        return json.dumps({"name": {"text": found}, "status": status, "answers": answers,
                           "attempts": attempts})

    def rows(self, **changes):
        given = {"x0": ("TIMEOUT", 4), "s1": ("SERVFAIL", 4),
                 "n2": ("NOERROR", 1, address_of("n2.example")),
                 "n3": ("NOERROR", 2, address_of("n3.example")), **changes}
        return [self.row(f"{label}.example", *rest) for label, rest in given.items()]

    def test_the_truth(self):
        self.assertEqual(self.counts(self.rows()),
                         {UNANSWERED: 0, FALSE: 0, TIMEOUTS: 1, STATUSES: 3})

    def test_what_is_false(self):
        for changes, unanswered in (({"x0": ("TIMEOUT", 0)}, 0), ({"n2": ("TIMEOUT", 0)}, 1),
                                    ({"s1": ("TIMEOUT", 4)}, 0), ({"n2": ("SERVFAIL", 4)}, 1),
                                    ({"n2": ("NOERROR", 1, "10.0.0.1")}, 0),
                                    ({"x0": ("UNREACHABLE", 4)}, 0)):
            counts = self.counts(self.rows(**changes))
            self.assertEqual((counts[FALSE], counts[UNANSWERED]), (1, unanswered), changes)

    def test_a_healthy_name_may_time_out(self):
        counts = self.counts(self.rows(n2=("TIMEOUT", 4)))
        self.assertEqual((counts[FALSE], counts[UNANSWERED], counts[TIMEOUTS]), (0, 1, 2))

    def test_without_a_server_every_failure_is_true(self):
        self.names = ["n0.example", "n1.example"]
        dead = Situation(5, servers=(DEAD,))
        rows = [self.row(found, "UNREACHABLE") for found in self.names]
        self.assertEqual(self.counts(rows, situation=dead)[FALSE], 0)
        rows[0] = self.row("n0.example", "NOERROR")
        self.assertEqual(self.counts(rows, situation=dead)[FALSE], 1)

    def test_each_name_has_a_row_in_order(self):
        rows = self.rows()
        self.counts(rows[::-1], ordered=False)
        for wrong in (rows[::-1], rows[1:], [*rows, rows[0]], ["{"]):
            with self.assertRaises(WrongOutput):
                self.counts(wrong)

    def test_massdns_leaves_out_what_it_does_not_find(self):
        lines = [f"n3.example. A {address_of('n3.example')}"]
        counts = self.counts(lines, "simple", ordered=False)
        self.assertEqual((counts[FALSE], counts[UNANSWERED]), (0, 1))
        row = {"name": "n3.example.", "status": "NOERROR",
               "data": {"answers": [{"type": "A", "data": "10.0.0.1"}]}}
        self.assertEqual(self.counts([json.dumps(row)], "massdns")[FALSE], 1)
        with self.assertRaises(WrongOutput):
            self.counts(lines * 2, "simple")

    def test_shares_of_the_server(self):
        counts = {"received": 200, "dropped_beyond_queue": 7, "dropped_beyond_rate": 3}
        self.assertEqual(of_server(counts)[DROPPED], 50)
        self.assertEqual(of_server(None), {})


class Tables(unittest.TestCase):
    def measured(self, walls, **counts):
        """WALLS: {contender: seconds in each round}"""
        case = next(case for case in CASES if case.name == "million")
        measured = Measured(case, "variant", 1000, 0, case.contenders, {})
        measured.runs = {one.label: {number: Run(Usage(0, wall, 0, 0, 1024, 0, 0.0),
                                                 counts={WINDOW: 100, **counts})
                                     for number, wall in enumerate(seconds, 1)}
                         for one, seconds in walls.items()}
        return measured

    def test_the_worst_round_counts(self):
        target = TimeTarget("text", "million",
                            lambda runs, _: 2 * runs[NO_FAULT.label].usage.wall_s)
        found = self.measured({OURS: [3.0, 3.0], NO_FAULT: [2.0, 1.0]})
        self.assertEqual(target_rows([found], target),
                         [("text", "3.000 s of 2.000 s allowed (worst of 2)", "**missed**")])
        found = self.measured({OURS: [3.0, 9.0], NO_FAULT: [2.0]})
        self.assertEqual(target_rows([found], target)[0][2], "met")
        self.assertEqual(target_rows([self.measured({OURS: [3.0]})], target),
                         [("text", "–", "not run")])

    def test_counts_of_another_than_the_reference(self):
        found = self.measured({OURS: [1.0], NO_FAULT: [1.0]}, **{FALSE: 3})
        target = CountTarget("text", "million", FALSE, 2, NO_FAULT.label)
        self.assertEqual(target_rows([found], target), [("text", "3", "**missed**")])

    def test_what_a_contender_does_not_count_has_no_figure(self):
        found = self.measured({OURS: [1.0]}, **{FALSE: 3})
        columns = count_columns(found)
        self.assertEqual(columns[FALSE](OURS, found.used(OURS.label)), "3")
        self.assertEqual(columns[DROPPED](OURS, found.used(OURS.label)), "–")

    def test_a_window_holds_what_fits(self):
        window = Window(names=1000, bytes=6000)
        self.assertEqual(window.holds(10_000, 50_000), 1000)
        self.assertEqual(window.holds(10_000, 100_000), 600)
        self.assertEqual(window.holds(10_000, 0), 1000)

    def test_a_window_is_bound_by_patience(self):
        runs = {label: by_round[1] for label, by_round in self.measured(
            {OURS: [1.0], NO_FAULT: [3.0], ONE_NAME: [2.0]}).runs.items()}
        self.assertEqual(bound_of_window(runs, 1000), 20.0)
        self.assertEqual(bound_of_window(runs, 10), 3.0)

    def test_all_that_is_named_is_there(self):
        labels = {case.name: {one.label for one in case.contenders} for case in CASES}
        self.assertEqual(set(labels), set(SITUATIONS))
        self.assertEqual(len(labels), len(SUITE.cases))
        for target in TARGETS:
            ours = getattr(target, "ours", None)
            self.assertIn(target.case, labels)
            self.assertTrue(ours is None or ours in labels[target.case], target.text)
        for case in CASES:
            lists = ImperfectScene(SITUATIONS[case.name], 100, None, 1)
            self.assertLessEqual(lists.items, 100)
            self.assertEqual(len({one.label for one in case.contenders}), len(case.contenders))


if __name__ == "__main__":
    unittest.main()
