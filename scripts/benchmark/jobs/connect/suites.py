"""The suite of `ringmill connect`: endpoints of the loopback interface of a network namespace."""

from __future__ import annotations

import dataclasses

from benchmark.host.tools import BenchError
from benchmark.jobs.connect import rows
from benchmark.jobs.connect.endpoints import OPEN, Endpoints, answered, mixed, one_port
from benchmark.jobs.connect.network import serving
from benchmark.list_scene import ListScene
from benchmark.model import Case, Contender, MemoryTarget, RatioTarget, Suite

IN_FLIGHT = 1024
# Holds the whole list, so that no endpoint waits until an earlier one has timed out.
WINDOW = 65_536
TIMEOUT_S = 1

METHOD = f"""\
- Each run has a network namespace of its own, so no connection in TIME_WAIT is left from an earlier
  one. The endpoints are ports of addresses in 127.0.0.0/8. An open one is a listening socket, and
  no server accepts: the kernel completes the connections, and they stay in the queue of the socket.
  A closed one has no socket. A filtered one is a listening socket with a full queue: the kernel
  drops what arrives. In the case of one port, a server on the same processors accepts.
- The list has the endpoints in random order. nmap reads no list of endpoints; it gets the file
  `$HOSTS` and the range `$PORTS`, whose product is the list.
- Every row of every run was compared with what its endpoint does.
- `epoll_connect` of this repository is one thread with one epoll. It prints rows in any order; so
  do nmap and `--unordered`. All give up a filtered endpoint after {TIMEOUT_S} s, but nmap only with
  `--max-retries 0` and `--min-rtt-timeout`: otherwise it has shorter timeouts, which it derives from
  the round-trip times (with `-T5` at most 0.3 s), and tries such an endpoint three times. It closes
  connections by a reset, as `--abort` does.
"""


class EndpointScene(ListScene):
    def __init__(self, endpoints, place, timeout_s):
        hosts = place.output / "hosts"
        ports = f"{endpoints.ports[0]}-{endpoints.ports[-1]}"
        env = {**place.env, "HOSTS": str(hosts), "PORTS": ports}
        super().__init__(len(endpoints.truth), place, env, timeout_s)
        self._endpoints = endpoints
        place.list.write_text("".join(f"{endpoint}\n" for endpoint, _ in endpoints.truth))
        hosts.write_text("".join(f"{host}\n" for host in endpoints.hosts))
        self._all_open = all(status == OPEN for _, status in endpoints.truth)

    def run(self, contender):
        with serving(self._endpoints) as inside:
            command = " ".join([*inside, contender.command])
            return super().run(dataclasses.replace(contender, command=command))

    def exit_code(self, contender):
        """nmap reports no failures by its exit code."""
        return 0 if self._all_open or contender.form == "nmap" else 1

    def check(self, contender, path):
        rows.check(contender, self._endpoints, path)


LISTS = {"mixed": mixed, "answered": answered, "one-port": one_port}


def perform(bench, cases):
    options = bench.options
    try:
        with serving(Endpoints([])):
            pass
    except BenchError as error:
        bench.note(f"The cases of connect are left out: {error}.")
        return
    for case in cases:
        endpoints = LISTS[case.data](options.endpoints, options.seed)
        scene = EndpointScene(endpoints, bench.workplace, options.run_timeout)
        bench.run_case(case, f"{scene.items:,} endpoints", scene)


LIMITS = f"--timeout {TIMEOUT_S}s --in-flight {IN_FLIGHT}"


def ringmill(*flags):
    command = " ".join(["ringmill connect", LIMITS, f"--window {WINDOW}", *flags])
    return Contender(" ".join(["ringmill connect", *flags]), command, ("ringmill",), "text",
                     ordered="--unordered" not in flags)


def epoll(*flags):
    command = " ".join(["epoll_connect", LIMITS, *flags])
    return Contender(" ".join(["epoll_connect", *flags]), command, ("epoll_connect",), "text")


def nmap(*flags, suffix=""):
    command = " ".join(["nmap -sT -Pn -n -T5", *flags])
    return Contender(f"nmap -sT -Pn -n -T5{suffix}", f"{command} -iL $HOSTS -p $PORTS -oG -",
                     ("nmap",), "nmap", peer=True)


OURS, OURS_ABORT = ringmill(), ringmill("--abort")
DEFAULT_LIMITS = Contender("ringmill connect, default limits",
                           f"ringmill connect --timeout {TIMEOUT_S}s", ("ringmill",), "text",
                           ordered=True)
EPOLL, EPOLL_ABORT = epoll(), epoll("--abort")
NMAP = nmap()
# All hosts at once, as many connects in flight as its select(2) allows, and no congestion control.
FAST = "--min-hostgroup 4096 --min-parallelism 1000 --min-rate 100000"
ONE_TIMEOUT = " ".join(["--max-retries 0", *(f"--{which}-rtt-timeout {TIMEOUT_S}s"
                                             for which in ("initial", "min", "max"))])
NMAP_FAST = nmap(FAST, suffix=", fast")
NMAP_ONE_TIMEOUT = nmap(FAST, ONE_TIMEOUT, suffix=f", fast, {TIMEOUT_S} s for each endpoint")
NMAPS = NMAP, NMAP_FAST, NMAP_ONE_TIMEOUT


def case(data, title, *contenders, **more):
    return Case(f"connect-{data}", title, data, list(contenders), variants=("endpoints",),
                varies="list", unit="endpoints", **more)


CASES = [
    case("mixed", "50 % open, 49 % closed, 1 % filtered", OURS, OURS_ABORT, ringmill("--loops 1"),
         ringmill("--engine threads"), ringmill("--unordered"), DEFAULT_LIMITS, EPOLL, EPOLL_ABORT,
         *NMAPS),
    case("answered", "50 % open, 50 % closed", OURS, OURS_ABORT, ringmill("--loops 1"),
         ringmill("--engine threads"), DEFAULT_LIMITS, EPOLL, EPOLL_ABORT, *NMAPS),
    case("one-port", "One open port, again and again", OURS_ABORT,
         ringmill("--abort", "--engine threads"), OURS, ringmill("--engine threads"), EPOLL_ABORT),
]

MIXED = CASES[0].name

TARGETS = [
    RatioTarget("open, closed and filtered: ≥ nmap -sT -Pn -n -T5", MIXED,
                tuple(one.label for one in NMAPS), 1.0),
    RatioTarget("open, closed and filtered: ≥ 1.0 × an epoll loop", MIXED, EPOLL.label, 1.0),
    RatioTarget("open, closed and filtered, --abort: ≥ 1.0 × an epoll loop", MIXED,
                EPOLL_ABORT.label, 1.0, OURS_ABORT.label),
    *[MemoryTarget(f"max RSS, {one.data}, {{variant}}: ≤ 64 MiB", 64, one.name) for one in CASES],
]

SUITES = [Suite("connect", "ringmill connect", CASES, perform, TARGETS, method=METHOD)]
