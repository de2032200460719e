import unittest
from types import SimpleNamespace

from benchmark.bench import Bench, Run
from benchmark.measure import Usage
from benchmark.model import Case, Contender


def contender(label, **more):
    return Contender(label, label, (label.split()[0],), "gnu", **more)


def run(wall_s=1.0, **more):
    return Run(Usage(0, wall_s, wall_s, 0.0, 1000, 0, 0.0), **more)


class Scripted:
    """A scene with prepared runs; when they are used up, every run is good."""

    items, bytes = 10, 1000

    def __init__(self, **runs):
        self._runs = runs
        self.order = []

    def run(self, one):
        self.order.append(one.label)
        waiting = self._runs.get(one.label, [])
        return waiting.pop(0) if waiting else run()


class Rows:
    def __init__(self):
        self.states = []

    def row(self, values):
        self.states.append((values["contender"], values["round"], values["state"]))


class AllAvailable:
    @staticmethod
    def available(contenders, _no_peers):
        left_out = {one.label: "missing" for one in contenders if one.peer}
        return [one for one in contenders if not one.peer], left_out


def bench_of(scene, *contenders, rounds=2, attempts=3, **more):
    options = SimpleNamespace(rounds=rounds, attempts=attempts, no_peers=False)
    bench = Bench(options, SimpleNamespace(programs=AllAvailable), Rows())
    bench.run_case(Case("case", "title", "data", list(contenders), **more), "creation", scene)
    return bench, bench.measured[0]


class Rounds(unittest.TestCase):
    def test_contenders_take_turns(self):
        scene = Scripted()
        bench_of(scene, contender("a"), contender("b"), contender("c"))
        self.assertEqual("".join(scene.order), "abcabc")

    def test_where_they_alternate_every_second_round_runs_backwards(self):
        scene = Scripted()
        bench_of(scene, contender("a"), contender("b"), contender("c"), rounds=3, alternates=True)
        self.assertEqual("".join(scene.order), "abccbaabc")

    def test_a_run_that_is_not_proved_is_repeated_and_recorded(self):
        scene = Scripted(a=[run(unproved="not hot")])
        bench, measured = bench_of(scene, contender("a"), contender("b"), rounds=1)
        self.assertEqual(scene.order, ["a", "a", "b"])
        self.assertEqual([state for _, _, state in bench.results.states],
                         ["discarded", "used", "used"])
        self.assertEqual(len(measured.used("a")), 1)

    def test_attempts_are_bounded(self):
        scene = Scripted(a=[run(unproved="not hot")] * 3)
        _, measured = bench_of(scene, contender("a"), contender("b"))
        self.assertEqual(measured.unproved["a"], 1)
        self.assertEqual(list(measured.runs["a"]), [2])

    def test_a_wrong_result_has_no_speed(self):
        scene = Scripted(a=[run(), run(wrong="disagrees")])
        _, measured = bench_of(scene, contender("a"), contender("b"), rounds=3)
        self.assertEqual(measured.failures, {"a": "disagrees"})
        self.assertEqual(measured.used("a"), [])
        self.assertEqual(scene.order.count("a"), 2)

    def test_nothing_is_run_alone_where_the_rest_is_left_out(self):
        scene = Scripted()
        bench, measured = bench_of(scene, contender("a"), contender("b", peer=True))
        self.assertEqual(scene.order, [])
        self.assertEqual(measured.left_out, {"b": "missing"})
        self.assertIn("was not run", bench.notes[0])


class Ratios(unittest.TestCase):
    def test_the_first_ringmill_is_the_reference(self):
        scene = Scripted(peer=[run(4.0), run(9.0)], **{"ringmill 1": [run(2.0), run(3.0)]})
        _, measured = bench_of(scene, contender("peer"), contender("ringmill 1"),
                               contender("ringmill 2"))
        self.assertEqual(measured.reference, "ringmill 1")
        self.assertEqual(measured.ratios("peer"), [2.0, 3.0])
        self.assertEqual(measured.ratios("ringmill 1", "peer"), [0.5, 1 / 3])

    def test_the_quickest_has_the_best_median(self):
        scene = Scripted(a=[run(1.0), run(9.0), run(9.0)], b=[run(2.0), run(3.0), run(4.0)])
        _, measured = bench_of(scene, contender("a"), contender("b"), rounds=3)
        self.assertEqual(measured.quickest(("a", "b", "missing")), "b")
        self.assertIsNone(measured.quickest(("missing",)))

    def test_in_a_sweep_the_reference_has_the_same_x(self):
        points = [contender(f"{name} {x}", series=name, x=x)
                  for name, x in (("ringmill", 1), ("ringmill", 4), ("peer", 4), ("peer", 9))]
        _, measured = bench_of(Scripted(), *points)
        self.assertEqual(measured.reference_for(points[2]), "ringmill 4")
        self.assertIsNone(measured.reference_for(points[3]))


if __name__ == "__main__":
    unittest.main()
