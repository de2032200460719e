"""The parts of a benchmark. All of them are plain data, defined in jobs/."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Callable


@dataclass(frozen=True)
class Contender:
    """A command for `sh -c`, run in the root of the data: the list of names is on stdin and in the
    file $LIST, $PARTS is an empty directory for scratch files, and results go to stdout."""
    label: str
    command: str
    programs: tuple  # what must be installed or built
    form: str  # the form of the output, for the job's check
    ordered: bool = False  # promises the order of the list
    peer: bool = False  # left out with --no-peers
    needs: str | None = None  # an option that the measured ringmill must have
    series: str | None = None  # in a sweep: the line it is a point of
    x: int | None = None  # in a sweep: its x on that line


@dataclass(frozen=True)
class Case:
    """Contenders that do the same work. The output of the others is compared with that of the
    first; the first ringmill is the reference that all ratios compare with."""
    name: str
    title: str
    data: str  # the job's name for the data it is measured on
    contenders: list
    temperature: str = "hot"  # or cold
    variants: tuple = ("creation",)  # of the data
    varies: str = "order"  # what differs between the variants
    reads_per_second: int | None = None  # the limit of the disk
    others_max: float | None = None  # cores that the rest of the machine may use during a run
    x_axis: str | None = None  # of a sweep
    counts: tuple = ()  # titles of the counts that contenders report, for the summary
    timed: bool = True  # False: only the counts matter
    nanoseconds: bool = False  # processor time per item is given in nanoseconds
    traced: bool = False  # an extra run, not timed, keeps what ringmill records about itself
    alternates: bool = False  # contenders take turns forwards and backwards: A B C C B A ...
    against: str | None = None  # the label of the earlier ringmill to compare with
    counts_switches: bool = False  # the report has the context switches per item
    unit: str = "files"  # what an item is
    note: str = ""


@dataclass(frozen=True)
class RatioTarget:
    """`ours` (the reference of the case, if None) must be at least `ratio` times as fast as
    `against`, or use that many times less processor time. If `against` has several labels, the one
    with the best median counts."""
    text: str
    case: str
    against: str | tuple
    ratio: float
    ours: str | None = None
    figure: str = "wall"  # or cpu, or the title of a count


@dataclass(frozen=True)
class MemoryTarget:
    """The limit on the peak memory of every ringmill, in the longest variant of `case` or, if it is
    None, in all cases."""
    text: str
    mib: int
    case: str | None = None


@dataclass(frozen=True)
class SwitchTarget:
    """The limit on the median of a contender's context switches per item, voluntary and not."""
    text: str
    case: str
    contender: str
    below: float


@dataclass(frozen=True)
class CountTarget:
    """The count of `ours` (the reference of the case, if None) with the title `count` must never be
    more than `most`."""
    text: str
    case: str
    count: str
    most: int
    ours: str | None = None


@dataclass(frozen=True)
class TimeTarget:
    """In no round may `ours` (the reference of the case, if None) take longer than `allowed` returns
    for that round, from the runs of all contenders by label and the number of items."""
    text: str
    case: str
    allowed: Callable  # (runs, items) -> seconds; KeyError where a run is missing
    ours: str | None = None
    figure: str = "wall"  # or cpu


@dataclass(frozen=True)
class Suite:
    """Cases that are measured together and share a result directory."""
    name: str
    title: str
    cases: list
    perform: Callable  # (bench, cases): measures them
    targets: list = field(default_factory=list)
    defaults: dict = field(default_factory=dict)  # options that differ from those of all suites
    method: str = ""  # how the suite is measured, for the report
    in_all: bool = True  # a part of `scripts/bench all`


def select_cases(suite, wanted):
    """The cases whose name or data is in WANTED; all if it is empty."""
    return [case for case in suite.cases
            if not wanted or case.name in wanted or case.data in wanted]
