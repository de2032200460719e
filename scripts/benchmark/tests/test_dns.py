import tempfile
import unittest
from pathlib import Path

from benchmark.bench import WrongOutput
from benchmark.jobs.dns.answers import AnswerCheck, adnshost, massdns, massdns_simple, text
from benchmark.jobs.dns.server import name, zone
from benchmark.jobs.dns.suites import row
from benchmark.model import Contender

ANSWERS = [("n0000000.example", "NXDOMAIN", None), ("www.n0000001.example", "NOERROR", "10.0.0.3"),
           ("a.n0000002.example", "NODATA", None), ("mail.n0000003.example", "NOERROR", "10.0.0.3")]


class Lines(unittest.TestCase):
    def test_text_is_what_ringmill_prints(self):
        lines = [row(number).decode().rstrip("\n") for number in range(4)]
        self.assertEqual(lines[1], "www.n0000001.example\tA\tNOERROR\tCNAME mail.n0000003.example.\t10.0.0.3")
        self.assertEqual(list(text(lines)), ANSWERS)

    def test_rows_of_massdns(self):
        lines = ['{"name":"n0000000.example.","status":"NXDOMAIN","data":{}}',
                 '{"name":"www.n0000001.example.","status":"NOERROR","data":{"answers":['
                 '{"type":"CNAME","data":"mail.n0000003.example."},{"type":"A","data":"10.0.0.3"}]}}',
                 '{"name":"a.n0000002.example.","status":"NOERROR","data":{"authorities":[]}}',
                 '{"name":"elsewhere.","error":"TIMEOUT"}']
        self.assertEqual(list(massdns(lines)), [*ANSWERS[:3], ("elsewhere", "TIMEOUT", None)])

    def test_lines_of_adnshost(self):
        lines = ['; failed permfail 300 nxdomain n0000000.example $ "No such domain"',
                 "www.n0000001.example CNAME mail.n0000003.example", "mail.n0000003.example A 10.0.0.3",
                 '; failed permfail 301 nodata a.n0000002.example $ "No such data"',
                 "mail.n0000003.example A 10.0.0.3"]
        self.assertEqual(list(adnshost(lines)), ANSWERS)

    def test_simple_lines_of_massdns(self):
        lines = ["www.n0000001.example. CNAME mail.n0000003.example.",
                 "mail.n0000003.example. A 10.0.0.3", ""]
        self.assertEqual(list(massdns_simple(lines)), ANSWERS[3:])


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

    def test_addresses_stand_beside_their_names(self):
        one = Contender("label", "command", (), "massdns-simple")
        self.path.write_text("mail.n0000003.example. A 10.0.0.3\n")
        AnswerCheck(10).check(one, self.path)
        self.path.write_text("mail.n0000003.example. A 10.0.0.4\n")
        with self.assertRaisesRegex(WrongOutput, "wrong about 1 names"):
            AnswerCheck(10).check(one, self.path)

    def test_dnsperf_completes_all(self):
        one = Contender("label", "command", (), "dnsperf")
        self.path.write_text("  Queries sent:         10\n  Queries completed:    10 (100.00%)\n")
        AnswerCheck(10).check(one, self.path)
        with self.assertRaisesRegex(WrongOutput, "did not complete 11"):
            AnswerCheck(11).check(one, self.path)

    def test_the_zone_has_what_is_expected(self):
        lines = zone(10).splitlines()
        self.assertIn("www.n0000001 CNAME mail.n0000003.example.", lines)
        self.assertIn("mail.n0000003 A 10.0.0.3", lines)
        self.assertFalse(any("n0000000" in line for line in lines))
        self.assertEqual(name(7), "static.assets.n0000007.example")


if __name__ == "__main__":
    unittest.main()
