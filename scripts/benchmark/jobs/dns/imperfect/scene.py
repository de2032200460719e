"""Looks up a list at servers that behave as the situation says."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass

from benchmark.bench import Run, WrongOutput
from benchmark.files.scene import last_line
from benchmark.host.tools import BenchError
from benchmark.jobs.dns.imperfect.servers import serving
from benchmark.jobs.dns.imperfect.situations import (FAILURES, ORDINARY, SITUATIONS, Situation,
                                                     name)
from benchmark.jobs.dns.imperfect.truth import TruthCheck
from benchmark.measure import run_measured
from benchmark.model import Contender

RECEIVED = "queries received"
DROPPED = "dropped, ‰"
COMPLAINTS = "lines on stderr"
WINDOW = "window"

# Names before the one name, after which the server is known to answer.
ORDINARY_BEFORE = 200

GIVEN, LOSSLESS, ONE = "given", "lossless", "one"


@dataclass(frozen=True)
class Asker(Contender):
    """`list` is GIVEN: the names of the situation; LOSSLESS: as many names without faults; or ONE: a
    single name with the letter of the situation."""
    list: str = GIVEN


class ImperfectScene:
    bytes = 0

    def __init__(self, situation, names, place, timeout_s, window=None):
        self.items = situation.length(names)
        self._place, self._timeout_s, self._window = place, timeout_s, window
        lossless = Situation(situation.most)
        self._lists = {GIVEN: (situation, situation.names(self.items)),
                       LOSSLESS: (lossless, lossless.names(self.items)),
                       ONE: (situation, one_of(situation))}

    def run(self, contender):
        situation, names = self._lists[contender.list]
        place, output = self._place, self._place.output
        place.list.write_text("".join(found + "\n" for found in names))
        with serving(situation, place.env) as servers:
            resolvers = output / "servers"
            resolvers.write_text("".join(address + "\n" for address in servers.addresses))
            env = {**place.env, "SERVERS": str(resolvers)}
            with open(place.list) as stdin, open(output / "out", "wb") as stdout, \
                    open(output / "err", "wb") as stderr:
                usage = run_measured(contender.command, output, env, stdin, stdout, stderr,
                                     self._timeout_s)
        try:
            require_end(usage, output / "err")
            counts = TruthCheck(names, situation).counts(contender, output / "out")
        except WrongOutput as error:
            return Run(usage, wrong=str(error))
        counts[COMPLAINTS] = len((output / "err").read_bytes().splitlines())
        counts |= of_server(servers.counts)
        if self._window is not None:
            counts[WINDOW] = self._window.holds(len(names), (output / "out").stat().st_size)
        return Run(usage, counts=counts)


def one_of(situation):
    """A list with a single name of the situation's letter."""
    if situation.letter in FAILURES:
        return [*Situation(None).names(ORDINARY_BEFORE), name(situation.letter, ORDINARY_BEFORE)]
    return [name(ORDINARY, 0)]


def require_end(usage, stderr):
    """An exit code of 1 means that some names have no answer."""
    if usage.exit_code is None:
        raise WrongOutput(f"did not end within {usage.wall_s} s")
    if usage.exit_code not in (0, 1):
        raise WrongOutput(f"ends with exit code {usage.exit_code}: {last_line(stderr)}")


def of_server(counts):
    """RECEIVED and DROPPED, by the server's own counts; empty if no server answers."""
    if counts is None:
        return {}
    dropped = counts["dropped_beyond_queue"] + counts["dropped_beyond_rate"]
    return {RECEIVED: counts["received"],
            DROPPED: round(1000 * dropped / max(1, counts["received"]))}


@dataclass(frozen=True)
class Window:
    """The most names, and bytes of rows, between the list and the output at one time."""
    names: int
    bytes: int

    def holds(self, rows, output_bytes):
        """How many names it holds if ROWS rows take OUTPUT_BYTES."""
        return min(self.names, self.bytes * rows // max(1, output_bytes))


def window(place):
    """The default window of ringmill."""
    path = place.output / "stats.json"
    done = subprocess.run(["ringmill", "dns", "-r", "127.0.0.1:9", "--stats", path],
                          env=place.env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    if done.returncode != 0:
        raise BenchError("ringmill dns --stats: failed")
    options = json.loads(path.read_text())["options"]
    return Window(options["window"], options["window_bytes"])


def perform(bench, cases):
    options, place = bench.options, bench.workplace
    for case in cases:
        w = window(place) if case.data == "million" else None
        scene = ImperfectScene(SITUATIONS[case.data], options.names, place, options.run_timeout, w)
        bench.run_case(case, f"{scene.items:,} names", scene)
