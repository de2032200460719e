import os
import subprocess
import sys
import tempfile
import unittest
from collections import Counter
from pathlib import Path

from benchmark.bench import WrongOutput
from benchmark.jobs.connect.endpoints import (OPEN, REFUSED, TIMEOUT, Endpoints, answered, mixed,
                                              one_port)
from benchmark.jobs.connect.network import serving, sockets
from benchmark.jobs.connect.rows import check
from benchmark.jobs.connect.suites import EPOLL, NMAP, OURS

ENDPOINTS = Endpoints([("127.1.0.2:10001", OPEN), ("127.1.0.1:10000", TIMEOUT),
                       ("127.1.0.1:10001", REFUSED), ("127.1.0.2:10000", REFUSED)])


class Lists(unittest.TestCase):
    def test_a_mix_is_hosts_times_ports_in_random_order(self):
        found = mixed(1_000, 1)
        endpoints = [endpoint for endpoint, _ in found.truth]
        product = [f"{host}:{port}" for host in found.hosts for port in found.ports]
        self.assertEqual((len(found.hosts), len(found.ports)), (10, 100))
        self.assertEqual(sorted(endpoints), sorted(product))
        self.assertNotEqual(endpoints, product)
        self.assertEqual(Counter(status for _, status in found.truth),
                         {OPEN: 500, REFUSED: 490, TIMEOUT: 10})

    def test_a_seed_gives_one_list(self):
        self.assertEqual(mixed(1_000, 1), mixed(1_000, 1))
        self.assertNotEqual(mixed(1_000, 1), mixed(1_000, 2))

    def test_other_lists(self):
        self.assertEqual({status for _, status in answered(1_000, 1).truth}, {OPEN, REFUSED})
        self.assertEqual(len(one_port(1_000, 1).truth), 1_200)

    def test_sockets(self):
        self.assertEqual(list(sockets(ENDPOINTS)),
                         ["queueing 127.1.0.2 10001", "silent 127.1.0.1 10000"])
        self.assertEqual(list(sockets(one_port(10, 1))), ["accepting 127.1.0.1 10000"])


class Check(unittest.TestCase):
    def check(self, contender, lines):
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "out"
            path.write_text("".join(f"{line}\n" for line in lines))
            check(contender, ENDPOINTS, path)

    def rows(self):
        return [f"{endpoint}\t{status}" for endpoint, status in ENDPOINTS.truth]

    def test_rows_in_order(self):
        rows = [f"{row}\t-\t0.1 ms" for row in self.rows()]
        self.check(OURS, rows)
        with self.assertRaisesRegex(WrongOutput, "in the order of the list"):
            self.check(OURS, rows[::-1])

    def test_rows_in_any_order(self):
        rows = self.rows()
        self.check(EPOLL, rows[::-1])
        for wrong in (rows[1:], [*rows, rows[0]], [*rows[1:], rows[1]]):
            with self.assertRaisesRegex(WrongOutput, "that are not the 4 of the list"):
                self.check(EPOLL, wrong)
        with self.assertRaisesRegex(WrongOutput, "wrong about 1 endpoints"):
            self.check(EPOLL, [rows[0].replace(OPEN, REFUSED), *rows[1:]])
        with self.assertRaisesRegex(WrongOutput, "cannot be read"):
            self.check(EPOLL, ["torn"])

    def test_nmap_prints_hosts(self):
        lines = ["# Nmap 7.93 scan initiated as: nmap", "Host: 127.1.0.1 ()\tStatus: Up",
                 "Host: 127.1.0.1 ()\tPorts: 10000/filtered/tcp/////\tIgnored State: closed (1)",
                 "Host: 127.1.0.2 ()\tPorts: 10000/closed/tcp/////, 10001/open/tcp//scp-config///"]
        self.check(NMAP, lines)
        with self.assertRaisesRegex(WrongOutput, "wrong about 1 endpoints"):
            self.check(NMAP, [*lines[:3], lines[3].replace("closed", "filtered")])
        with self.assertRaisesRegex(WrongOutput, "lacks ports of 127.1.0.1"):
            self.check(NMAP, [*lines[:2], lines[2].replace("(1)", "(2)"), lines[3]])
        with self.assertRaisesRegex(WrongOutput, "that are not the 4 of the list"):
            self.check(NMAP, lines[:3])


CONNECT = """
import socket, sys
for line in sys.stdin:
    host, port = line.strip().split(":")
    try:
        socket.create_connection((host, port), timeout=0.5)
        print(line.strip(), "open", sep="\\t")
    except ConnectionRefusedError:
        print(line.strip(), "refused", sep="\\t")
    except TimeoutError:
        print(line.strip(), "timeout", sep="\\t")
"""


@unittest.skipUnless(os.geteuid() == 0, "needs root")
class Network(unittest.TestCase):
    def test_endpoints_do_what_is_expected(self):
        for endpoints in (ENDPOINTS, one_port(10, 1)):
            with serving(endpoints) as inside, tempfile.TemporaryDirectory() as directory:
                path = Path(directory) / "out"
                lines = "".join(f"{endpoint}\n" for endpoint, _ in endpoints.truth)
                with open(path, "w") as out:
                    subprocess.run([*inside, sys.executable, "-c", CONNECT], input=lines, stdout=out,
                                   text=True, check=True)
                check(OURS, endpoints, path)


if __name__ == "__main__":
    unittest.main()
