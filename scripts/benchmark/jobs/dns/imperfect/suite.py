"""The suite as a table: cases and targets."""

from __future__ import annotations

from benchmark.jobs.dns.imperfect.scene import (COMPLAINTS, DROPPED, LOSSLESS, ONE, RECEIVED,
                                                WINDOW, Asker, perform)
from benchmark.jobs.dns.imperfect.servers import PROGRAM
from benchmark.jobs.dns.imperfect.situations import least_time
from benchmark.jobs.dns.imperfect.truth import FALSE, STATUSES, TIMEOUTS, UNANSWERED
from benchmark.model import Case, CountTarget, MemoryTarget, Suite, TimeTarget

METHOD = """\
- The server is `imperfect_dns` of this repository, on the same machine and started anew for each
  run, with the same options and seed for all contenders of a case. It answers after 20 ms, and by
  the first letter of a name late, with an error, not always or never; `$SERVERS` is a file with its
  address, or with those of several.
- ringmill prints JSON Lines, with the number of attempts in each row, and else has its default
  options, unless the command says otherwise. massdns has four attempts for a name, and ringmill six.
- Every row was held against what the server does. *Healthy names unanswered*: the server answers
  them, if not always, and the output does not have it. *False rows*: another answer than the
  server's, or a TIMEOUT of a name that was never asked for. ringmill prints one row for each name;
  massdns leaves out those without an answer, and none of that counts as false.
- *Queries received* and *dropped* (beyond the server's queue or rate) are the server's own counts,
  rounded. The worst run is what counts for a target; a limit that depends on another contender is
  taken from its run in the same round.
- *No fault* is the same command for as many names that are all answered after 20 ms. *One name* is
  a list with a single name of the case's kind, behind 200 ordinary ones where these are answered:
  its time is one name's patience. *Window* is how many names ringmill may have between the list
  and the output: a number, or fewer if their rows, as long as those printed, take all of its bytes.
"""


def ringmill(*flags, form="jsonl", ordered=True, names="given", suffix=""):
    format_flag = [] if form == "text" else [f"--format {form}"]
    command = " ".join(["ringmill dns --resolvers $SERVERS", *format_flag, *flags])
    return Asker(command + suffix, command, ("ringmill", PROGRAM), form, ordered=ordered,
                 list=names)


def massdns(output, at_once=1000):
    command = f"massdns -q -r $SERVERS -s {at_once} -c 4 -o {output} $LIST"
    return Asker(command, command, ("massdns", PROGRAM), {"J": "massdns", "S": "simple"}[output],
                 peer=True)


OURS = ringmill()
STUBBORN = ringmill("--retries 8")
NO_FAULT = ringmill(names=LOSSLESS, suffix=", no fault")
ONE_NAME = ringmill(names=ONE, suffix=", one name")
MASSDNS = massdns("J"), massdns("S")
TEXT = ringmill(form="text")
UNORDERED = ringmill("--unordered", ordered=False)
UNORDERED_TEXT = ringmill("--unordered", form="text", ordered=False)
MANY = massdns("J", 10_000), massdns("S", 10_000)

COUNTS = (UNANSWERED, FALSE, TIMEOUTS, STATUSES, COMPLAINTS, RECEIVED, DROPPED)


def case(name, title, *more, **others):
    others = {"timed": False, "counts": COUNTS, **others}
    return Case(name, title, name, [OURS, *more, *MASSDNS], variants=("names",),
                varies="list", unit="names", **others)


CASES = [
    case("never-1", "1 % never answered", NO_FAULT, ONE_NAME),
    case("late-1", "1 % answered after 1 s", NO_FAULT),
    case("later-1", "1 % answered after 3 s", NO_FAULT),
    case("later-all", "All answered after 3 s"),
    case("servfail-3", "3 % SERVFAIL", NO_FAULT),
    case("servfail-10", "10 % SERVFAIL", NO_FAULT),
    case("servfail-20", "20 % SERVFAIL", NO_FAULT),
    case("refused-3", "3 % REFUSED", NO_FAULT),
    case("loss-10", "10 % of the queries lost"),
    case("loss-30", "30 % of the queries lost", STUBBORN),
    case("queue", "The server drops what exceeds 100 outstanding"),
    case("rate", "The server drops what exceeds 2,000 a second"),
    case("dead", "The only server is dead"),
    case("silent", "The only server is silent", ONE_NAME),
    case("one-of-three", "One server is dead, one silent, one good"),
    case("million", "1 % never answered, a long list", TEXT, UNORDERED, UNORDERED_TEXT, NO_FAULT,
         ONE_NAME, *MANY, timed=True, counts=(*COUNTS, WINDOW),
         note="Rates are of the whole list, also where the list is of one name."),
]


def wall(runs, contender):
    return runs[contender.label].usage.wall_s


def quickest(runs, *contenders):
    return min(wall(runs, one) for one in contenders)


def bound_of_window(runs, items):
    """In input order, a window is emitted only after the time that its unanswered names take."""
    windows = max(1, items / runs[OURS.label].counts[WINDOW])
    return max(windows * wall(runs, ONE_NAME), wall(runs, NO_FAULT))


def truth(case, unanswered=0, ours=OURS):
    what = f"{case}{'' if ours is OURS else f', `{ours.label}`'}"
    return [CountTarget(f"{what}: {title} ≤ {most}", case, title, most, ours.label)
            for title, most in ((UNANSWERED, unanswered), (FALSE, 0))]


def in_time(text, case, allowed, ours=OURS):
    return TimeTarget(f"{case}: {text}", case, allowed, ours.label)


def times_no_fault(case, times):
    return in_time(f"≤ {times} × no fault", case, lambda runs, _: times * wall(runs, NO_FAULT))


def no_slower_than_massdns(case, ours=OURS):
    text = "≤ massdns" if ours is OURS else f"`{ours.label}` ≤ massdns"
    return in_time(text, case, lambda runs, _: quickest(runs, *MASSDNS), ours)


def times_least(case, times):
    return in_time(f"≤ {times} × the least time that the server allows", case,
                   lambda _, items: times * least_time(case, items))


def most_of(case, title, most):
    return CountTarget(f"{case}: {title} ≤ {most}", case, title, most)


# With 30 % loss, 40 of 5,000 names are expected to be lost four times, and 65 hardly ever.
LOST_FOUR_TIMES = 65

TARGETS = [
    *truth("never-1"),
    in_time("≤ one name + 1.5 × no fault", "never-1",
            lambda runs, _: wall(runs, ONE_NAME) + 1.5 * wall(runs, NO_FAULT)),
    *truth("late-1"),
    in_time("≤ no fault + 5 s", "late-1", lambda runs, _: wall(runs, NO_FAULT) + 5),
    *truth("later-1"),
    in_time("≤ no fault + 5 s", "later-1", lambda runs, _: wall(runs, NO_FAULT) + 5),
    *truth("later-all"),
    in_time("≤ 10 s", "later-all", lambda *_: 10),
    *[target for case in ("servfail-3", "servfail-10", "servfail-20", "refused-3")
      for target in (*truth(case), times_no_fault(case, 1.5))],
    *truth("loss-10", unanswered=10), no_slower_than_massdns("loss-10"),
    *truth("loss-30", unanswered=LOST_FOUR_TIMES), no_slower_than_massdns("loss-30"),
    *truth("loss-30", ours=STUBBORN), no_slower_than_massdns("loss-30", STUBBORN),
    *truth("queue", unanswered=10), times_least("queue", 1.3), most_of("queue", DROPPED, 49),
    *truth("rate", unanswered=10), times_least("rate", 1.3), most_of("rate", DROPPED, 49),
    most_of("dead", FALSE, 0), most_of("dead", STATUSES, 1), most_of("dead", COMPLAINTS, 1),
    in_time("≤ 3 s", "dead", lambda *_: 3),
    most_of("silent", FALSE, 0), most_of("silent", STATUSES, 1), most_of("silent", COMPLAINTS, 1),
    in_time("≤ 1.2 × one name", "silent", lambda runs, _: 1.2 * wall(runs, ONE_NAME)),
    *truth("one-of-three"),
    in_time("≤ 2.5 s", "one-of-three", lambda *_: 2.5),
    *[target for ours in (OURS, TEXT, UNORDERED, UNORDERED_TEXT)
      for target in truth("million", ours=ours)],
    in_time("in order ≤ 1.5 × the longer of no fault and list / window × one name", "million",
            lambda runs, items: 1.5 * bound_of_window(runs, items)),
    *[in_time(f"`{ours.label}` ≤ 1.2 × massdns", "million",
              lambda runs, _, peers=peers: 1.2 * quickest(runs, *peers), ours)
      for ours, *peers in zip((UNORDERED, UNORDERED_TEXT), MASSDNS, MANY)],
    MemoryTarget("million: max RSS ≤ 64 MiB", 64, "million"),
]

# The worst run counts, so the number of runs is part of the target.
SUITE = Suite("dns-imperfect", "ringmill dns on servers with faults", CASES, perform, TARGETS,
              defaults={"rounds": 3, "names": 1_000_000}, method=METHOD)
