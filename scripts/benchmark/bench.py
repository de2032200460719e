"""Rounds, attempts, and their results."""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import dataclass, field

from benchmark.figures import median, paired_ratios
from benchmark.host.tools import say
from benchmark.measure import Usage
from benchmark.model import Case

COLUMNS = ["time", "case", "variant", "round", "attempt", "contender", "command", "state",
           "reason", "items", "bytes", "wall_s", "user_s", "sys_s", "max_rss_kib",
           "tree_blocks_read", "device_reads", "device_sectors_read", "most_reads_per_s",
           "others_cpu_s", "voluntary_switches", "involuntary_switches", "counts"]


class WrongOutput(Exception):
    """A contender failed, or its output differs from that of the others."""


@dataclass(frozen=True)
class Run:
    """One run, used or not."""
    usage: Usage
    reads: object = None  # DiskReads, or None where nothing counts them
    most_reads_per_s: int | None = None  # where a limit is set
    counts: dict = field(default_factory=dict)  # what the contender reports about itself
    wrong: str | None = None  # what is wrong with the output
    unproved: str | None = None  # why it is not hot, cold or limited as it should be

    @property
    def state(self):
        return "failed" if self.wrong else "discarded" if self.unproved else "used"

    def figure(self, name):
        """Elapsed time, processor time, or a count."""
        if name in self.counts:
            return self.counts[name]
        return self.usage.wall_s if name == "wall" else self.usage.cpu_s


@dataclass
class Measured:
    """The results for one variant of a case."""
    case: Case
    variant: str
    items: int
    bytes: int
    contenders: list
    left_out: dict  # {label: why}
    runs: dict = field(default_factory=dict)  # {label: {round: Run}}, only the runs that count
    unproved: Counter = field(default_factory=Counter)  # {label: rounds without a proved run}
    failures: dict = field(default_factory=dict)  # {label: what went wrong}

    @property
    def name(self):
        return f"{self.case.name}, {self.variant}"

    @property
    def reference(self):
        """The label of the ringmill that all ratios compare with."""
        return next((one.label for one in self.contenders if one.label.startswith("ringmill")),
                    None)

    def reference_for(self, contender):
        """In a sweep, the ringmill with the same x."""
        if contender.x is None:
            return self.reference
        return next((one.label for one in self.contenders
                     if one.label.startswith("ringmill") and one.x == contender.x), None)

    def used(self, label):
        return list(self.runs.get(label, {}).values())

    def ratios(self, against, ours=None, figure="wall"):
        """AGAINST / OURS (the reference, if None) in each round: how many times less OURS takes."""
        return paired_ratios(*self._figures(against, ours, figure))

    def quickest(self, labels, figure="wall"):
        """The one of LABELS with the best median; None if none was measured."""
        measured = [label for label in labels if self.used(label)]
        return min(measured, default=None, key=lambda label: median(
            [run.figure(figure) for run in self.used(label)]))

    def best_ratio(self, against, ours=None, figure="wall"):
        """The same for the best run of each: a disturbance can only make a run longer."""
        above, below = self._figures(against, ours, figure)
        return min(above.values()) / min(below.values())

    def _figures(self, against, ours, figure):
        return [{number: run.figure(figure) for number, run in self.runs.get(label, {}).items()}
                for label in (against, ours or self.reference)]


class Bench:
    """A suite that is being measured: its options, and the results so far."""

    def __init__(self, options, workplace, results):
        self.options, self.workplace, self.results = options, workplace, results
        self.measured = []
        self.facts = {}
        self.notes = []  # printed at the top of the report

    def note(self, text):
        if text not in self.notes:
            say(text)
            self.notes.append(text)

    def run_case(self, case, variant, scene, rounds=None):
        """Contenders take turns, A B C A B C ..., so that a slow minute affects all of them; where they
        alternate, A B C C B A ..., so that no contender always runs after the same one."""
        contenders, left_out = self.workplace.programs.available(case.contenders,
                                                                 self.options.no_peers)
        for label, why in left_out.items():
            say(f"{case.name}: left out: {label}: {why}")
        measured = Measured(case, variant, scene.items, scene.bytes, contenders, left_out)
        measured.runs = {contender.label: {} for contender in contenders}
        self.measured.append(measured)
        if left_out and len(contenders) < 2:
            self.note(f"{measured.name} was not run: nothing is left to compare with.")
            return
        for number in range(1, (rounds or self.options.rounds) + 1):
            backwards = case.alternates and number % 2 == 0
            for contender in reversed(contenders) if backwards else contenders:
                if contender.label not in measured.failures:
                    self._run_round(measured, number, contender, scene)
        if case.traced:
            self._trace(measured, scene)

    def _run_round(self, measured, number, contender, scene):
        """Repeats a run until it is proved to be as hot, cold or slow as it claims, up to a limit."""
        for attempt in range(1, self.options.attempts + 1):
            run = scene.run(contender)
            self._record(measured, number, attempt, contender, run)
            if run.wrong:
                # A wrong result has no speed: the runs before it do not count either.
                measured.failures[contender.label] = run.wrong
                measured.runs[contender.label] = {}
                print(f"\n*** WRONG OUTPUT in {measured.name}: `{contender.label}` {run.wrong}\n",
                      file=sys.stderr, flush=True)
                return
            if not run.unproved:
                measured.runs[contender.label][number] = run
                return
        measured.unproved[contender.label] += 1

    def _record(self, measured, number, attempt, contender, run):
        usage, reads = run.usage, run.reads
        reason = run.wrong or run.unproved or ""
        self.results.row({
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "case": measured.case.name,
            "variant": measured.variant, "round": number, "attempt": attempt,
            "contender": contender.label, "command": contender.command, "state": run.state,
            "reason": reason, "items": measured.items, "bytes": measured.bytes,
            "wall_s": f"{usage.wall_s:.6f}", "user_s": f"{usage.user_s:.6f}",
            "sys_s": f"{usage.sys_s:.6f}", "max_rss_kib": usage.max_rss_kib,
            "tree_blocks_read": usage.blocks_read,
            "device_reads": "" if reads is None else reads.requests,
            "device_sectors_read": "" if reads is None else reads.sectors,
            "most_reads_per_s": "" if run.most_reads_per_s is None else run.most_reads_per_s,
            "others_cpu_s": f"{usage.others_cpu_s:.3f}",
            "voluntary_switches": usage.voluntary_switches,
            "involuntary_switches": usage.involuntary_switches,
            "counts": "; ".join(f"{title}: {count}" for title, count in run.counts.items())})
        rate = f"{measured.items / usage.wall_s:,.0f}/s, " if measured.case.timed else ""
        say(f"{measured.case.name} ({measured.variant}) round {number}: {contender.label}: "
            f"{usage.wall_s:.3f} s, {rate}{run.state}"
            f"{': ' + reason if reason else ''}")

    def _trace(self, measured, scene):
        """One more run of the reference, not timed, that records what it did."""
        label = measured.reference
        if label is None or label in measured.failures:
            return
        contender = next(one for one in measured.contenders if one.label == label)
        stem = f"{measured.case.name}-{measured.variant}".replace(" ", "-")
        flags = self.workplace.programs.trace_flags(stem)
        if not flags:
            return
        run = scene.run(self.workplace.programs.with_flags(contender, flags))
        if run.wrong:
            self.note(f"No trace of {measured.name}: `{label}` {run.wrong}.")
        else:
            self.results.keep_traces(self.workplace.traces)
