import tempfile
import unittest
from pathlib import Path

from benchmark.bench import WrongOutput
from benchmark.jobs.dns.answers import AnswerCheck, adnshost, massdns, text
from benchmark.jobs.dns.server import name, zone
from benchmark.jobs.dns.suites import row
from benchmark.model import Contender

ANSWERS = [("n0000000.example", "NXDOMAIN", None), ("n0000001.example", "NOERROR", "10.0.0.3"),
           ("n0000002.example", "NODATA", None), ("n0000003.example", "NOERROR", "10.0.0.3")]


class Lines(unittest.TestCase):
    def test_text_is_what_ringmill_prints(self):
        lines = [row(number).decode().rstrip("\n") for number in range(4)]
        self.assertEqual(lines[1], "n0000001.example\tA\tNOERROR\tCNAME n0000003.example.\t10.0.0.3")
        self.assertEqual(list(text(lines)), ANSWERS)

    def test_rows_of_massdns(self):
        lines = ['{"name":"n0000000.example.","status":"NXDOMAIN","data":{}}',
                 '{"name":"n0000001.example.","status":"NOERROR","data":{"answers":['
                 '{"type":"CNAME","data":"n0000003.example."},{"type":"A","data":"10.0.0.3"}]}}',
                 '{"name":"n0000002.example.","status":"NOERROR","data":{"authorities":[]}}',
                 '{"name":"elsewhere.","error":"TIMEOUT"}']
        self.assertEqual(list(massdns(lines)), [*ANSWERS[:3], ("elsewhere", "TIMEOUT", None)])

    def test_lines_of_adnshost(self):
        lines = ['; failed permfail 300 nxdomain n0000000.example $ "No such domain"',
                 "n0000001.example CNAME n0000003.example", "n0000003.example A 10.0.0.3",
                 '; failed permfail 301 nodata n0000002.example $ "No such data"',
                 "n0000003.example A 10.0.0.3"]
        self.assertEqual(list(adnshost(lines)), ANSWERS)


class Check(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = Path(directory.name, "out")

    def say(self, numbers, ordered=True, change=lambda text: text):
        self.path.write_text(change(b"".join(map(row, numbers)).decode()))
        one = Contender("label", "command", (), "text", ordered=ordered)
        AnswerCheck(10).check(one, self.path)

    def test_every_name_has_its_answer(self):
        self.say(range(10))
        self.say([3, *range(3), *range(4, 10)], ordered=False)
        for numbers in (range(9), [*range(9), 0], range(11), [3, *range(3), *range(4, 10)]):
            with self.assertRaises(WrongOutput):
                self.say(numbers)
        with self.assertRaisesRegex(WrongOutput, "wrong about 1 names"):
            self.say(range(10), change=lambda text: text.replace("10.0.0.4", "10.0.0.5"))

    def test_the_zone_has_what_is_expected(self):
        lines = zone(10).splitlines()
        self.assertIn("n0000001 CNAME n0000003.example.", lines)
        self.assertIn("n0000003 A 10.0.0.3", lines)
        self.assertFalse(any(line.startswith("n0000000") for line in lines))
        self.assertEqual(name(7), "n0000007.example")


if __name__ == "__main__":
    unittest.main()
