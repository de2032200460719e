"""What a benchmark is made of. All of it is plain data, written down in jobs/."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Callable


@dataclass(frozen=True)
class Contender:
    """A command for `sh -c` in the root of the data: the list of names on stdin and in $LIST, an
    empty directory for scratch files in $PARTS, results on stdout."""
    label: str
    command: str
    programs: tuple  # what must be installed or built
    form: str  # of the output, as the job's check knows it
    ordered: bool = False  # promises the order of the list
    peer: bool = False  # left out with --no-peers
    needs: str | None = None  # an option that the measured ringmill must have
    series: str | None = None  # in a sweep: the line it is a point of
    x: int | None = None  # and where on that line


@dataclass(frozen=True)
class Case:
    """Contenders that do the same work. The first is what the others' output is held against; the
    first ringmill is the reference that ratios are about."""
    name: str
    title: str
    data: str  # what it is measured on, as the job knows it
    contenders: list
    temperature: str = "hot"  # or cold
    variants: tuple = ("creation",)  # of the data
    varies: str = "order"  # what is different from variant to variant
    reads_per_second: int | None = None  # a limit on the disk
    others_max: float | None = None  # cores that the rest of the machine may use meanwhile
    x_axis: str | None = None  # of a sweep
    counts: tuple = ()  # titles of what contenders count about themselves, for the report
    timed: bool = True  # False: the counts are what matters
    nanoseconds: bool = False  # an item takes so little of the processor
    traced: bool = False  # an extra run, not timed, leaves what ringmill records about itself
    alternates: bool = False  # contenders take turns forwards and backwards: A B C C B A ...
    against: str | None = None  # the label of the earlier ringmill that the reference is held to
    counts_switches: bool = False  # a column tells the context switches of an item
    unit: str = "files"  # what an item is
    note: str = ""


@dataclass(frozen=True)
class RatioTarget:
    """`ours` (the reference of the case, if None) is to be at least RATIO times as fast as
    `against`, or to spend so much less of the processor. Of several to be held against, that with
    the best median counts."""
    text: str
    case: str
    against: str | tuple
    ratio: float
    ours: str | None = None
    figure: str = "wall"  # or cpu, or the title of a count


@dataclass(frozen=True)
class MemoryTarget:
    """The peak memory of every ringmill in the longest variant of CASE, or in all cases."""
    text: str
    mib: int
    case: str | None = None


@dataclass(frozen=True)
class SwitchTarget:
    """The median of the context switches per item, voluntary and not, of a contender."""
    text: str
    case: str
    contender: str
    below: float


@dataclass(frozen=True)
class CountTarget:
    """What OURS (the reference of CASE, if None) counts under this title is never more than
    MOST."""
    text: str
    case: str
    count: str
    most: int
    ours: str | None = None


@dataclass(frozen=True)
class TimeTarget:
    """In no round OURS (the reference of CASE, if None) takes longer than is allowed by what all
    contenders did in that round: ALLOWED is given their runs by label, and the number of items."""
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
    method: str = ""  # how it is measured, for the report
    in_all: bool = True  # a part of `scripts/bench all`


def select_cases(suite, wanted):
    """Those whose name or data is WANTED; all if nothing is."""
    return [case for case in suite.cases
            if not wanted or case.name in wanted or case.data in wanted]
