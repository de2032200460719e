import tempfile
import unittest
from pathlib import Path

from benchmark.bench import WrongOutput
from benchmark.endless import pieces
from benchmark.jobs import SUITES
from benchmark.jobs.hash.contenders import contender
from benchmark.jobs.hash.digests import DigestCheck, bsd, fclones, gnu, hashdeep
from benchmark.model import MemoryTarget, RatioTarget, SwitchTarget
from benchmark.programs import VERSION_FLAGS


class Lines(unittest.TestCase):
    def test_each_form_is_read(self):
        self.assertEqual(gnu("ab12  data/a b"), ("data/a b", "ab12"))
        self.assertEqual(gnu("ab12 *data/a"), ("data/a", "ab12"))
        self.assertEqual(bsd("XXH3 (data/a (1)) = ab12"), ("data/a (1)", "ab12"))
        self.assertEqual(hashdeep("4096,ab12,data/a,b"), ("data/a,b", "ab12"))
        self.assertEqual(fclones('4096,ab12,1,"/mnt/data/a,b"'), ("/mnt/data/a,b", "ab12"))

    def test_heads_are_no_results(self):
        self.assertIsNone(hashdeep("%%%% size,sha256,filename"))
        self.assertIsNone(fclones("size,hash,count,files"))


class Check(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = Path(directory.name, "out")
        self.check = DigestCheck(["data/a", "data/b"], "/mnt")

    def say(self, text, command="xargs sha256sum", **more):
        self.path.write_text(text)
        self.check.check(contender(command, **more), self.path)

    def test_the_same_digests_in_any_order_agree(self):
        self.say("aa  data/a\nbb  data/b\n")
        self.say("bb  data/b\naa  data/a\n")
        self.say("size,hash,count,files\n1,aa,1,/mnt/data/a\n1,bb,1,/mnt/data/b\n", "fclones",
                 form="fclones")

    def test_a_promised_order_must_be_kept(self):
        with self.assertRaisesRegex(WrongOutput, "in the order of the list"):
            self.say("bb  data/b\naa  data/a\n", "ringmill hash")

    def test_missing_and_different_lines_are_found(self):
        self.say("aa  data/a\nbb  data/b\n")
        for text in ("aa  data/a\n", "aa  data/a\nbb  data/c\n", "aa  data/a\naa  data/b\n",
                     "aa  data/a\ntorn"):
            with self.assertRaises(WrongOutput):
                self.say(text)


class Endless(unittest.TestCase):
    def test_pieces_are_that_many_lines(self):
        block = [b"a\n"] * 999 + [b"b\n"]
        text = b"".join(pieces(block, 1_002_003))
        self.assertEqual((text.count(b"a\n"), text.count(b"b\n")), (1_001_001, 1002))


class Tables(unittest.TestCase):
    """The suites are written by hand; without this, a wrong name would show only in the report."""

    def test_names_are_used_once(self):
        for names in ([suite.name for suite in SUITES],
                      [case.name for suite in SUITES for case in suite.cases]):
            self.assertEqual(len(names), len(set(names)))
        for case in (case for suite in SUITES for case in suite.cases):
            labels = [one.label for one in case.contenders]
            self.assertEqual(len(labels), len(set(labels)), case.name)

    def test_every_case_has_a_reference_and_known_programs(self):
        for case in (case for suite in SUITES for case in suite.cases):
            self.assertIn(case.against, [None, *(one.label for one in case.contenders)])
            self.assertTrue(any(one.label.startswith("ringmill") for one in case.contenders))
            for one in case.contenders:
                self.assertTrue(set(one.programs) <= VERSION_FLAGS.keys())
                self.assertTrue(one.programs, one.command)

    def test_targets_refer_to_what_is_measured(self):
        for suite in SUITES:
            cases = {case.name: case for case in suite.cases}
            for target in suite.targets:
                if isinstance(target, RatioTarget):
                    labels = [one.label for one in cases[target.case].contenders]
                    several = isinstance(target.against, tuple)
                    for label in target.against if several else [target.against]:
                        self.assertIn(label, labels)
                    self.assertIn(target.ours, [None, *labels])
                elif isinstance(target, SwitchTarget):
                    labels = [one.label for one in cases[target.case].contenders]
                    self.assertIn(target.contender, labels)
                elif isinstance(target, MemoryTarget) and target.case:
                    self.assertIn(target.case, cases)


if __name__ == "__main__":
    unittest.main()
