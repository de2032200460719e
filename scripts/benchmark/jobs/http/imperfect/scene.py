"""Requests the URLs of a list from hosts of all kinds."""

from __future__ import annotations

import os
from dataclasses import dataclass

from benchmark.bench import Run, WrongOutput
from benchmark.files.scene import require_success
from benchmark.host.sampler import Sampler
from benchmark.host.tools import BenchError
from benchmark.jobs.http.imperfect.hosts import GOOD, SILENT, SLOW, all_hosts, shuffled
from benchmark.jobs.http.imperfect.network import own_network
from benchmark.jobs.http.imperfect.servers import serving
from benchmark.jobs.http.imperfect.truth import TruthCheck
from benchmark.measure import run_measured
from benchmark.model import Contender

LAST_GOOD = "seconds to the last row of a good host"
COMPLAINTS = "lines on stderr"

ALL, OF_GOOD, ONE = "all", "of good hosts", "one"


@dataclass(frozen=True)
class Requester(Contender):
    """`list` is ALL: the URLs of all hosts; OF_GOOD: those of good hosts; or ONE: a single URL of a
    silent host."""
    list: str = ALL


class ImperfectScene:
    bytes = 0

    def __init__(self, urls, seed, place, timeout_s):
        self.items = urls
        self._place, self._timeout_s = place, timeout_s
        self._hosts = all_hosts()
        asked = [self._hosts[number] for number in shuffled(urls, seed)]
        self._lists = {ALL: asked, OF_GOOD: [host for host in asked if host.kind == GOOD],
                       ONE: [next(host for host in self._hosts if host.kind == SILENT)]}

    def run(self, contender):
        hosts, place = self._lists[contender.list], self._place
        output = place.output
        with open(place.list, "w") as urls:
            urls.writelines(f"{host.url(index)}\n" for index, host in enumerate(hosts))
        with serving(self._hosts, output) as served:
            env = {**place.env, "SERVER": served.resolver}
            with open(place.list) as stdin, open(output / "out", "wb") as stdout, \
                    open(output / "err", "wb") as stderr, \
                    Sampler(lambda: os.fstat(stdout.fileno()).st_size) as size:
                usage = run_measured(contender.command, output, env, stdin, stdout, stderr,
                                     self._timeout_s)
        check = TruthCheck(hosts)
        try:
            require_success(usage, output / "err", exit_code_of(hosts))
            check.check(contender, output / "out", served)
        except WrongOutput as error:
            return Run(usage, wrong=str(error))
        counts = {**check.counts,
                  COMPLAINTS: len((output / "err").read_bytes().splitlines())}
        if check.last_good_end is not None:
            counts[LAST_GOOD] = round(size.seconds_until(check.last_good_end), 3)
        return Run(usage, counts=counts)


def exit_code_of(hosts):
    """1 if some URLs fail."""
    return int(any(host.kind not in (GOOD, SLOW) for host in hosts))


def perform(bench, cases):
    options = bench.options
    try:
        with own_network():
            pass
    except BenchError as error:
        bench.note(f"Nothing was run: {error}.")
        return
    scene = ImperfectScene(options.urls, options.seed, bench.workplace, options.run_timeout)
    for case in cases:
        bench.run_case(case, f"{options.urls:,} URLs", scene)
