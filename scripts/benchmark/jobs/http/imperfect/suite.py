"""The suite as a table: cases and targets."""

from __future__ import annotations

from benchmark.jobs.http.imperfect.hosts import COUNT, DELAYS_S, PERCENT, RETRY_AFTER_S, STATUSES
from benchmark.jobs.http.imperfect.scene import (ALL, COMPLAINTS, LAST_GOOD, OF_GOOD, ONE,
                                                 Requester, perform)
from benchmark.jobs.http.imperfect.truth import FALSE, TIMEOUT_S, TIMEOUTS, UNSENT
from benchmark.model import Case, CountTarget, Suite, TimeTarget

METHOD = f"""\
- {COUNT:,} names with an address each. The list has equally many URLs of each, in random order. The
  hosts: {", ".join(f"{percent} % {kind}" for kind, percent in PERCENT.items())}, the others good.
  *Refusing*: nothing listens. *Dropping*: all packets to the host are lost. *Silent*: it accepts
  connections and requests, and never responds. *Failing*: it responds with status
  {", ".join(map(str, STATUSES))} (with `Retry-After: {RETRY_AFTER_S}`), each a third of the hosts.
  *Slow*: it responds after {DELAYS_S[0]:g} to {DELAYS_S[1]:g} s, always the same for a host.
- The program and the servers are in a network namespace of their own, and the servers are started
  anew for each run: NSD for the names, nginx with one worker for the good and the failing hosts, a
  program in Python for the slow and the silent ones. `$SERVER` is the address of NSD.
- Each row was compared with what its host does: the status or the exact error, the address, the
  number of attempts, and the digest of a body that names the host, its address and the path, as the
  server saw them. *False rows* differ from that, or are timeouts after less than {TIMEOUT_S} s.
  *Timeouts without a request*: the silent host did not receive the request for this URL, or fewer
  connects were sent to a dropping host than it has rows.
- *Seconds to the last row of a good host*: from the start of the command until the output had this
  row; the size of the output was read every 20 ms. *Good hosts only* is the same command for the
  URLs of good hosts. *One URL* is the same command for one URL of a silent host: its time is the
  patience for one URL. A limit that depends on another contender is taken from its run in the same
  round, and the worst round counts.
"""

# ringmill keeps at most as many connections as items in flight. This is enough for six to each
# host, the default of --per-host.
IN_FLIGHT = 8192

# The items that wait for the dropping, silent and slow hosts (12 % of the list) and for those with
# Retry-After (1 %) hold places of the window. It has room for all of them, so that they do not keep
# items of good hosts from being started.
#
# With 1,000,000 URLs, a run takes 14 minutes: a silent host has 1,000 URLs, of which six are tried
# at a time, for 5 s each. More connections would make the run shorter, but also move requests to
# slow hosts into the time in which the good hosts are asked, which is what is measured: with six
# connections they are 1 % of its requests, with 24 they would be 5 %.
WINDOW_UNORDERED = 200_000

# A window of 8,192 has eight URLs of each host on average, and hardly ever more than 24. With fewer
# connections, the URLs of a silent host would wait for each other, and the bound would not be the
# window divided by the time of one URL.
#
# With 1,000,000 URLs, a run takes 10 minutes: 122 windows, each of which takes the 5 s of a silent
# host.
WINDOW_ORDERED = 8192
PER_HOST_ORDERED = 24


def ringmill(*flags, ordered=True, urls=ALL, suffix=""):
    command = " ".join([f"ringmill http -r $SERVER -a sha256 --timeout {TIMEOUT_S}s --retries 0",
                        f"--in-flight {IN_FLIGHT}", *flags])
    return Requester(command + suffix, command, ("ringmill", "nginx", "nsd"), "rows",
                     ordered=ordered, list=urls)


def unordered(**more):
    return ringmill("--unordered", f"--window {WINDOW_UNORDERED}", ordered=False, **more)


def in_order(**more):
    return ringmill(f"--window {WINDOW_ORDERED}", f"--per-host {PER_HOST_ORDERED}", **more)


UNORDERED, ORDERED = unordered(), in_order()
GOOD_ONLY = unordered(urls=OF_GOOD, suffix=", good hosts only")
ONE_URL = in_order(urls=ONE, suffix=", one URL")

COUNTS = (FALSE, UNSENT, TIMEOUTS, COMPLAINTS)


def case(name, title, *contenders, **more):
    return Case(name, title, "hosts", list(contenders), variants=("urls",), varies="list",
                unit="URLs", **more)


CASES = [
    case("unordered", "URLs of 1,000 hosts, 16 % of them with faults, in any order", UNORDERED,
         GOOD_ONLY, counts=(*COUNTS, LAST_GOOD),
         note="Rates are of the whole list, also where the list is shorter."),
    case("ordered", "URLs of 1,000 hosts, 16 % of them with faults, in the order of the list",
         ORDERED, ONE_URL, counts=COUNTS,
         note="Rates are of the whole list, also where the list has one URL."),
]


def time_without_others(runs, _items):
    return runs[GOOD_ONLY.label].counts[LAST_GOOD]


def bound_of_window(runs, items):
    """In input order, a window is printed only after the time that its silent URLs take. The time of
    the other URLs is small beside that in a list of many windows only."""
    return max(1, items / WINDOW_ORDERED) * runs[ONE_URL.label].usage.wall_s


TARGETS = [
    *[CountTarget(f"{name}: {count} ≤ 0", name, count, 0)
      for name in ("unordered", "ordered") for count in (FALSE, UNSENT)],
    TimeTarget("unordered: the last row of a good host ≤ 1.1 × good hosts only", "unordered",
               lambda *found: 1.1 * time_without_others(*found), figure=LAST_GOOD),
    TimeTarget("ordered: ≤ 1.2 × list / window × one URL", "ordered",
               lambda *found: 1.2 * bound_of_window(*found)),
]

# Three rounds take 75 minutes, so it is not a part of `scripts/bench all`.
SUITE = Suite("http-imperfect", "ringmill http on hosts with faults", CASES, perform, TARGETS,
              defaults={"rounds": 3, "urls": 1_000_000}, method=METHOD, in_all=False)
