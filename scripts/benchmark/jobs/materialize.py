"""The suite of the function `materialize`: the same futures through it and its alternatives."""

from __future__ import annotations

import dataclasses

from benchmark.bench import Run, WrongOutput
from benchmark.files.scene import require_success
from benchmark.measure import run_measured
from benchmark.model import Case, Contender, CountTarget, RatioTarget, Suite

METHOD = """\
- One program runs each contender on a tokio runtime of one thread. The futures and the consumer,
  which checks the order of the results, are the same for all. Times are those from before the first
  future to after the last result, without the start of the process.
- *Started* are futures that were taken from the input; *held at most* is the largest number started
  and not received by the consumer at any moment: what a contender keeps in memory.
- `JoinSet` spawns a task for each future and is put in order by hand in a `BTreeMap`, within the same
  window as `materialize` (16 × the number in flight).
- `buffered_ordered` has no bound: it starts new futures whatever waits behind the head.
"""

PROGRAM = "materialize-contenders"
OURS = "ringmill materialize"
BUFFERED = "buffered"
LABELS = {"materialize": OURS, "materialize-split": f"{OURS}, split", "buffered": BUFFERED,
          "futures-ordered": "FuturesOrdered, refilled by hand",
          "buffered-ordered": "futures-buffered's buffered_ordered",
          "join-set": "JoinSet, put in order by hand"}
WINDOW_FACTOR = 16

STARTED, HELD = "started", "held at most"

# The share of --futures that each case runs: futures that sleep take longer.
SHARES = {"ready": 1, "pending-once": 1, "sleep": 3 / 20, "stragglers-1000": 1 / 20,
          "stragglers-100": 1 / 100}
ENDLESS = 1 << 40


class FutureScene:
    """A number of futures."""

    bytes = 0

    def __init__(self, items, place, timeout_s):
        self.items = items
        self._place, self._timeout_s = place, timeout_s

    def run(self, contender):
        output = self._place.output
        with open(self._place.list, "rb") as stdin, open(output / "out", "wb") as stdout, \
                open(output / "err", "wb") as stderr:
            env = {**self._place.env, "FUTURES": str(self.items)}
            usage = run_measured(contender.command, output, env, stdin, stdout, stderr,
                                 self._timeout_s)
        try:
            require_success(usage, output / "err")
        except WrongOutput as error:
            return Run(usage, wrong=str(error))
        return reported(usage, (output / "out").read_text())


def reported(usage, text):
    """The run as the program itself measured it."""
    values = dict(line.split("=", 1) for line in text.splitlines())
    times = {name: float(values[name]) for name in ("wall_s", "user_s", "sys_s")}
    others = usage.others_cpu_s * times["wall_s"] / usage.wall_s  # their share of that time
    return Run(dataclasses.replace(usage, **times, others_cpu_s=others),
               counts={STARTED: int(values["started"]), HELD: int(values["held_max"])})


def perform(bench, cases):
    options, place = bench.options, bench.workplace
    place.list.touch()
    for case in cases:
        share = SHARES.get(case.name)
        items = ENDLESS if share is None else max(1, int(options.futures * share))
        scene = FutureScene(items, place, options.run_timeout)
        variant = "an endless input" if share is None else f"{items:,} futures"
        bench.run_case(case, variant, scene, rounds=None if case.timed else 1)


def contenders(workload, in_flight):
    return [Contender(label, f"{PROGRAM} {name} {workload} $FUTURES {in_flight}", (PROGRAM,),
                      "counts", ordered=True) for name, label in LABELS.items()]


def case(name, title, workload, in_flight, **more):
    return Case(name, title, "futures", contenders(workload, in_flight), variants=("futures",),
                varies="input", unit="futures", counts=(STARTED, HELD), **more)


CASES = [
    case("ready", "Futures that are ready at once, 1,000 in flight", "ready", 1000,
         nanoseconds=True),
    case("pending-once", "Futures that are pending once, 1,000 in flight", "pending-once", 1000,
         nanoseconds=True),
    case("sleep", "Futures that sleep for 1 ms, 1,000 in flight", "sleep", 1000, nanoseconds=True),
    case("stragglers-1000", "Of 1,000 futures one sleeps for 100 ms, the others for 1 ms; 1,000 in "
         "flight", "stragglers", 1000, nanoseconds=True),
    case("stragglers-100", "Of 1,000 futures one sleeps for 100 ms, the others for 1 ms; 100 in "
         "flight", "stragglers", 100, nanoseconds=True),
    case("stuck-head", "The first future never ends, the others are pending once; watched for 1 s, "
         "1,000 in flight", "stuck-head", 1000, timed=False),
]

# The results of a prototype.
TARGETS = [
    RatioTarget("processor per future, ready: ≤ 35/64 of buffered", "ready", BUFFERED, 64 / 35,
                figure="cpu"),
    RatioTarget("processor per future, pending once: ≤ 51/156 of buffered", "pending-once",
                BUFFERED, 156 / 51, figure="cpu"),
    RatioTarget("processor per future, sleeping 1 ms: ≤ 264/362 of buffered", "sleep", BUFFERED,
                362 / 264, figure="cpu"),
    RatioTarget("futures/s, stragglers, 1,000 in flight: ≥ 123,000/9,900 × buffered",
                "stragglers-1000", BUFFERED, 123_000 / 9_900),
    RatioTarget("futures/s, stragglers, 100 in flight: ≥ 17,500/8,300 × buffered",
                "stragglers-100", BUFFERED, 17_500 / 8_300),
    CountTarget("held behind a stuck head: ≤ 16 × 1,000", "stuck-head", HELD,
                WINDOW_FACTOR * 1000),
    CountTarget("held with stragglers, 1,000 in flight: ≤ 16 × 1,000", "stragglers-1000", HELD,
                WINDOW_FACTOR * 1000),
    CountTarget("held with stragglers, 100 in flight: ≤ 16 × 100", "stragglers-100", HELD,
                WINDOW_FACTOR * 100),
]

SUITES = [Suite("materialize", "ringmill's `materialize`", CASES, perform, TARGETS, method=METHOD)]
