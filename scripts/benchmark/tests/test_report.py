import csv
import tempfile
import unittest
import xml.etree.ElementTree as ET
from pathlib import Path

from benchmark.bench import Measured, Run
from benchmark.measure import Usage
from benchmark.model import Case, Contender, MemoryTarget, RatioTarget, SwitchTarget
from benchmark.report import comparison
from benchmark.report.charts import chart_of
from benchmark.report.directory import ResultDirectory
from benchmark.report.summary import markdown_table, target_rows
from benchmark.report.svg import short, ticks


def run(wall_s, switches=0):
    return Run(Usage(0, wall_s, wall_s * 2, 0.0, 10 * 1024, 0, 0.0, switches, 0))


def measured(walls, x_axis=None, **more):
    """WALLS: {label: seconds}; in a sweep a label is (series, x)."""
    contenders = [Contender(str(label), "command", (), "gnu",
                            **({"series": label[0], "x": label[1]} if x_axis else {}))
                  for label in walls]
    found = Measured(Case("case", "Title & <text>", "small", contenders, x_axis=x_axis, **more),
                     "creation", 1000, 4_096_000, contenders, {})
    found.runs = {one.label: dict(enumerate(map(run, seconds), 1))
                  for one, seconds in zip(contenders, walls.values())}
    return found


class Charts(unittest.TestCase):
    def texts(self, svg):
        root = ET.fromstring(svg)
        return [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]

    def test_bars_are_sorted_and_labelled(self):
        svg = chart_of(measured({"slow": [4.0, 5.0], "ringmill": [1.0, 2.0, 1.0]}), "files")
        texts = self.texts(svg)
        self.assertEqual(texts[0], "Title & <text>")
        self.assertLess(texts.index("ringmill"), texts.index("slow"))
        self.assertIn("1 k", texts)

    def test_lines_have_a_legend_and_an_axis(self):
        walls = {(series, x): [1.0 / x, 2.0 / x] for series in ("ringmill", "peer")
                 for x in (1, 4, 1024)}
        texts = self.texts(chart_of(measured(walls, x_axis="in flight"), "files"))
        for text in ("ringmill", "peer", "1,024", "in flight"):
            self.assertIn(text, texts)

    def test_one_point_and_no_point(self):
        self.assertIsNotNone(chart_of(measured({("a", 1): [1.0]}, x_axis="x"), "files"))
        self.assertIsNone(chart_of(measured({"a": []}), "files"))

    def test_numbers_are_round(self):
        self.assertEqual(ticks(262_414), [0, 100_000, 200_000, 300_000])
        self.assertEqual(ticks(4.9), [0, 1, 2, 3, 4, 5])
        self.assertEqual([short(number) for number in (262_414, 41_000, 3010, 999, 1.38, 0)],
                         ["262 k", "41 k", "3.01 k", "999", "1.38", "0"])


class Targets(unittest.TestCase):
    def test_ratio(self):
        found = measured({"peer": [4.0, 5.0, 6.0], "ringmill": [1.0, 1.0, 1.0]})
        (_, figure, verdict), = target_rows([found], RatioTarget("text", "case", "peer", 4.0))
        self.assertEqual((figure, verdict), ("5.000 × (rounds: 3)", "met"))
        (_, _, verdict), = target_rows([found], RatioTarget("text", "case", "peer", 5.1))
        self.assertEqual(verdict, "**missed**")

    def test_many_rounds_have_an_interval(self):
        found = measured({"ringmill": [1.0] * 6, "ringmill --latency": [1.01] * 5 + [1.02]})
        target = RatioTarget("text", "case", "ringmill", 0.98, "ringmill --latency", "cpu")
        (_, figure, verdict), = target_rows([found], target)
        self.assertEqual(figure, "0.990 × (rounds: 6; 95 %: 0.980 to 0.990; best of each: 0.990)")
        self.assertEqual(verdict, "met")

    def test_what_was_left_out_is_neither_met_nor_missed(self):
        found = measured({"ringmill": [1.0]})
        found.left_out["peer"] = "`peer` is not installed"
        (row,) = target_rows([found], RatioTarget("text", "case", "peer", 4.0))
        self.assertEqual(row[1:], ("–", "`peer` is not installed"))
        (row,) = target_rows([], RatioTarget("text", "case", "peer", 4.0))
        self.assertEqual(row[1:], ("–", "not run"))

    def test_of_several_the_best_counts(self):
        found = measured({"ringmill": [2.0], "a": [4.0], "b": [3.0]})
        (_, figure, _), = target_rows([found], RatioTarget("text", "case", ("a", "b"), 0.9))
        self.assertEqual(figure, "1.500 × (rounds: 1; against `b`)")

    def test_context_switches(self):
        found = measured({"ringmill": [1.0]})
        found.runs["ringmill"] = {1: run(1.0, 90), 2: run(1.0, 110), 3: run(1.0, 99)}
        target = SwitchTarget("text", "case", "ringmill", 0.1)
        self.assertEqual(target_rows([found], target), [("text", "0.099 (rounds: 3)", "met")])
        self.assertEqual(target_rows([], target), [("text", "–", "not run")])

    def test_memory(self):
        (row,) = target_rows([measured({"ringmill": [1.0]})], MemoryTarget("all: {variant}", 64))
        self.assertEqual(row, ("all: creation", "10.0 MiB", "met"))


class Comparison(unittest.TestCase):
    def rows(self, ours, earlier):
        found = measured({"ringmill": ours, "earlier-ringmill": earlier},
                         against="earlier-ringmill")
        return comparison.comparison_rows([found])

    def test_ratios_are_of_this_tree_to_the_earlier_commit(self):
        wall, cpu = self.rows([1.0, 1.1, 1.2], [1.0, 1.0, 1.0])
        self.assertEqual(wall, ("case, creation", "wall", 3, "**1.000** (1.000 to 1.000)",
                                "**1.100** (1.000 to 1.200)", "**1.100** (1.000 to 1.200)", "–",
                                "**missed**"))
        self.assertEqual(cpu[4], "**2.200** (2.000 to 2.400)")

    def test_two_per_cent_are_allowed(self):
        (*_, verdict), _ = self.rows([1.02] * 6, [1.0] * 6)
        self.assertEqual(verdict, "met")

    def test_what_was_not_measured_has_no_verdict(self):
        (*_, verdict), _ = self.rows([1.0], [])
        self.assertEqual(verdict, "not proved")

    def test_other_cases_are_not_compared(self):
        self.assertEqual(comparison.comparison_rows([measured({"ringmill": [1.0]})]), [])


class Directory(unittest.TestCase):
    def test_rows_are_kept_and_private_paths_are_not(self):
        with tempfile.TemporaryDirectory() as parent:
            results = [ResultDirectory(Path(parent), "hash", ["a", "b"], ["/home/me"])
                       for _ in range(2)]
            for directory in results:
                directory.row({"a": "/home/me/x", "b": 1})
                directory.row({"a": "y"})
            self.assertEqual(results[1].path.name, results[0].path.name + "-2")
            with open(results[0].path / "raw.csv", newline="") as file:
                self.assertEqual(list(csv.reader(file)), [["a", "b"], ["…/x", "1"], ["y", ""]])

    def test_a_bar_in_a_cell_is_no_column(self):
        self.assertEqual(markdown_table(["a"], [["x | y"]]), "| a |\n| --- |\n| x \\| y |\n")


if __name__ == "__main__":
    unittest.main()
