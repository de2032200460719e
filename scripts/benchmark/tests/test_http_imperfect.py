import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import unittest
from collections import Counter
from hashlib import sha256
from pathlib import Path

from benchmark.bench import Measured, Run, WrongOutput
from benchmark.host.sampler import Sampler
from benchmark.host.tools import BenchError
from benchmark.jobs.http.imperfect.hosts import (COUNT, DROPPING, FAILING, GOOD, PADDING, REFUSING,
                                                 SILENT, SLOW, all_hosts, shuffled)
from benchmark.jobs.http.imperfect.network import LOST, own_network
from benchmark.jobs.http.imperfect.scene import ALL, LAST_GOOD, exit_code_of
from benchmark.jobs.http.imperfect.servers import LATE_HOSTS, Serving, virtual_hosts, zone
from benchmark.jobs.http.imperfect.suite import (CASES, GOOD_ONLY, ONE_URL, ORDERED, TARGETS,
                                                 UNORDERED, WINDOW_ORDERED)
from benchmark.jobs.http.imperfect.truth import FALSE, TIMEOUTS, UNSENT, TruthCheck
from benchmark.measure import Usage
from benchmark.model import Contender
from benchmark.report.summary import target_rows

HOSTS = all_hosts()
FIRST = {host.kind: host for host in reversed(HOSTS)}  # of each kind


class Hosts(unittest.TestCase):
    def test_kinds(self):
        self.assertEqual(Counter(host.kind for host in HOSTS),
                         {REFUSING: 10, DROPPING: 10, SILENT: 10, FAILING: 30, SLOW: 100, GOOD: 840})
        self.assertEqual(Counter(host.status for host in HOSTS if host.kind == FAILING),
                         {500: 10, 502: 10, 503: 10})
        delays = [host.delay_s for host in HOSTS if host.kind == SLOW]
        self.assertEqual((delays[0], delays[-1]), (1.0, 3.0))

    def test_each_has_a_name_and_an_address(self):
        self.assertEqual(len({host.name for host in HOSTS}), COUNT)
        self.assertEqual(len({host.address for host in HOSTS}), COUNT)
        self.assertTrue(all(host.address.startswith("127.") != (host.kind == DROPPING)
                            for host in HOSTS))
        self.assertIn(f"{FIRST[GOOD].label} A {FIRST[GOOD].address}\n", zone(HOSTS))

    def test_a_list_has_equally_many_urls_of_each(self):
        numbers = shuffled(2 * COUNT, 1)
        self.assertEqual(set(Counter(numbers).values()), {2})
        self.assertEqual(numbers, shuffled(2 * COUNT, 1))
        self.assertNotEqual(numbers, shuffled(2 * COUNT, 2))

    def test_nginx_serves_the_good_and_the_failing_ones(self):
        config = virtual_hosts(HOSTS)
        self.assertEqual(config.count("listen "), 870)
        self.assertIn("add_header Retry-After 1 always; return 503;", config)
        self.assertNotIn(FIRST[REFUSING].address + ":", config)

    def test_the_exit_code_tells_of_failures(self):
        self.assertEqual(exit_code_of([FIRST[GOOD], FIRST[SLOW]]), 0)
        self.assertEqual(exit_code_of([FIRST[GOOD], FIRST[FAILING]]), 1)


def row(index, host, **changes):
    """The correct row, with changes; None removes a member."""
    found = {"index": index, "url": host.url(index), "remote": f"{host.address}:80", "attempts": 1,
             "park_ns": 10, "total_ns": 6_000_000_000}
    if host.kind in (GOOD, SLOW):
        body = host.body(index).encode()
        found |= {"status": 200, "size": len(body), "digest": sha256(body).hexdigest(),
                  "first_byte_ns": int((host.delay_s or 0) * 1e9) + 1000}
    elif host.kind == FAILING:
        found |= {"status": host.status, "size": 0, "digest": ""}
    elif host.kind == SILENT:
        found["error"] = {"operation": "request", "message": "timed out after 5s"}
    else:
        del found["remote"]
        refused = f"{host.address}:80: Connection refused"
        late = f"{host.address}:80: no reply within 5s"
        found |= {"connect_ns": 5_000_000_000,
                  "error": {"operation": "connect",
                            "message": refused if host.kind == REFUSING else late}}
    found |= changes
    return {key: value for key, value in found.items() if value is not None}


class Check(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = Path(directory.name, "out")
        self.hosts = [FIRST[kind] for kind in (GOOD, REFUSING, DROPPING, SILENT, FAILING, SLOW)]
        self.served = Serving("", {FIRST[SILENT].address: ["/3"]}, {FIRST[DROPPING].address: 1})

    def check(self, rows, ordered=True):
        self.path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        check = TruthCheck(self.hosts)
        check.check(Contender("label", "command", (), "rows", ordered=ordered), self.path,
                    self.served)
        return check

    def rows(self, **changes):
        """CHANGES: {kind: changes of its row}"""
        return [row(index, host, **changes.get(host.kind, {}))
                for index, host in enumerate(self.hosts)]

    def test_the_truth(self):
        check = self.check(self.rows())
        self.assertEqual(check.counts, {FALSE: 0, UNSENT: 0, TIMEOUTS: 2})
        self.assertEqual(check.last_good_end, len(json.dumps(self.rows()[0])) + 1)

    def test_what_is_false(self):
        refused = {"operation": "connect", "message": f"{FIRST[GOOD].address}:80: Connection refused"}
        timed_out = {"operation": "request", "message": "timed out after 5s"}
        for kind, changes in (
                (GOOD, {"status": 500}), (GOOD, {"digest": "0"}), (GOOD, {"size": None}),
                (GOOD, {"error": timed_out}), (GOOD, {"attempts": 2}), (GOOD, {"url": "http://x/0"}),
                (GOOD, {"remote": f"{FIRST[SLOW].address}:80"}),
                (SLOW, {"first_byte_ns": 999_999_999}), (SLOW, {"status": None, "error": timed_out}),
                (REFUSING, {"error": refused}), (REFUSING, {"error": timed_out}),
                (DROPPING, {"connect_ns": 4_999_999_999}), (DROPPING, {"connect_ns": None}),
                (SILENT, {"total_ns": 5_000_000_009}), (SILENT, {"attempts": 0}),
                (SILENT, {"status": 200}), (FAILING, {"status": 502}),
                (FAILING, {"error": timed_out})):
            counts = self.check_quietly(self.rows(**{kind: changes})).counts
            self.assertEqual(counts[FALSE], 1, (kind, changes))

    def check_quietly(self, rows):
        with open(os.devnull, "w") as null:
            standard, sys.stdout = sys.stdout, null
            try:
                return self.check(rows)
            finally:
                sys.stdout = standard

    def test_timeouts_need_a_request(self):
        self.served = Serving("", {FIRST[SILENT].address: ["/30"]}, {})
        self.assertEqual(self.check(self.rows()).counts, {FALSE: 0, UNSENT: 2, TIMEOUTS: 2})

    def test_each_url_has_a_row_in_order(self):
        rows = self.rows()
        self.check(rows[::-1], ordered=False)
        for wrong in (rows[::-1], rows[1:], rows[:-1], [*rows, rows[0]], [{}], [1]):
            with self.assertRaises(WrongOutput):
                self.check(wrong)
        for wrong in ([*rows[:-1], rows[0]], rows[1:]):
            with self.assertRaises(WrongOutput):
                self.check(wrong, ordered=False)


class LateHosts(unittest.TestCase):
    """The program, on addresses of the loopback interface."""

    def start(self, delays, lost=None):
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        server = subprocess.Popen([sys.executable, "-I", "-S", LATE_HOSTS], text=True,
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.addCleanup(server.stdout.close)
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        json.dump({"port": self.port, "padding": PADDING, "delays": delays, "lost": lost},
                  server.stdin)
        server.stdin.close()
        self.assertEqual(server.stdout.readline(), "\n")
        return server

    def report(self, server):
        server.terminate()
        return json.loads(server.stdout.read())

    def connect(self, address):
        connection = socket.create_connection((address, self.port), timeout=10)
        self.addCleanup(connection.close)
        return connection

    def test_responses_are_late_or_never_come(self):
        late, silent = "127.1.0.91", "127.1.0.92"
        server = self.start({late: 0.1, silent: None})
        connections = [self.connect(address) for address in (late, late, silent)]
        start = time.monotonic()
        for number, connection in enumerate(connections):
            connection.sendall(b"GET /%d HTTP/1.1\r\nHost: a.example\r\n" % number)
            connection.sendall(b"Accept: */*\r\n\r\n")
        for number, connection in enumerate(connections[:2]):
            expected = f"\r\n\r\na.example {late}/{number} {PADDING}".encode()
            response = b""
            while not response.endswith(expected):
                part = connection.recv(1 << 16)
                self.assertTrue(part)
                response += part
        self.assertGreaterEqual(time.monotonic() - start, 0.1)
        connections[1].sendall(b"GET /closed HTTP/1.1\r\nHost: a.example\r\n\r\n")
        connections[1].close()
        connections[2].settimeout(0.2)
        with self.assertRaises(socket.timeout):
            connections[2].recv(1)
        self.assertEqual(self.report(server), {"requests": {silent: ["/2"]}, "connects": {}})

    def test_connects_whose_packets_are_lost_are_counted(self):
        try:
            network = own_network()
            with network:
                server = self.start({}, LOST)
                for _ in range(3):
                    with socket.socket() as connecting:
                        connecting.setblocking(False)
                        self.assertNotEqual(connecting.connect_ex(("192.0.2.7", 80)), 0)
                time.sleep(0.1)
                self.assertEqual(self.report(server), {"requests": {}, "connects": {"192.0.2.7": 3}})
        except BenchError as error:
            self.skipTest(str(error))


class Tables(unittest.TestCase):
    def rows_of(self, name, **runs):
        case = next(case for case in CASES if case.name == name)
        measured = Measured(case, "variant", 2 * WINDOW_ORDERED, 0, case.contenders, {})
        measured.runs = {label: {1: Run(Usage(0, wall, 0, 0, 1024, 0, 0.0), counts=counts)}
                         for label, (wall, counts) in runs.items()}
        return [target_rows([measured], target)[0][1:] for target in TARGETS
                if target.case == name]

    def test_good_hosts_do_not_wait_for_the_others(self):
        exact = {FALSE: 0, UNSENT: 0}
        runs = {UNORDERED.label: (800, {**exact, LAST_GOOD: 11.5}),
                GOOD_ONLY.label: (10, {**exact, LAST_GOOD: 10.0})}
        self.assertEqual(self.rows_of("unordered", **runs),
                         [("0", "met"), ("0", "met"),
                          ("11.500 s of 11.000 s allowed (worst of 1)", "**missed**")])

    def test_in_order_a_window_takes_the_time_of_one_url(self):
        exact = {FALSE: 1, UNSENT: 0}
        runs = {ORDERED.label: (11.9, exact), ONE_URL.label: (5, exact)}
        self.assertEqual(self.rows_of("ordered", **runs),
                         [("1", "**missed**"), ("0", "met"),
                          ("11.900 s of 12.000 s allowed (worst of 1)", "met")])

    def test_all_that_is_named_is_there(self):
        for case in CASES:
            self.assertEqual(len({one.label for one in case.contenders}), len(case.contenders))
            self.assertEqual(case.contenders[0].list, ALL)
        self.assertEqual({target.case for target in TARGETS}, {case.name for case in CASES})

    def test_when_the_output_had_a_row(self):
        sampler = Sampler(lambda: 0)
        sampler.samples = [(100.0, 0), (100.5, 10), (101.0, 30)]
        self.assertEqual([sampler.seconds_until(size) for size in (0, 10, 11, 31)],
                         [0.0, 0.5, 1.0, None])


if __name__ == "__main__":
    unittest.main()
