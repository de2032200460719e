"""The suite of `ringmill dns`, as a table, and the functions that perform it."""

from __future__ import annotations

import dataclasses

from benchmark.endless import ROUNDS_MAX, EndlessScene
from benchmark.jobs.dns.answers import AnswerCheck
from benchmark.jobs.dns.server import answer, caching, name, serving
from benchmark.list_scene import ListScene
from benchmark.model import Case, Contender, MemoryTarget, RatioTarget, Suite, TimeTarget

METHOD = """\
- The server is NSD on the same machine, with one process; it and the programs share the
  processors.
- Every row of every run was compared with the zone. `$SERVER` is its address and port, `$SERVERS` a
  file with them; `$QUERIES` is the list as dnsperf reads it.
- dnsperf prints no rows. `massdns -o S` prints none for names without an address.
- The cache is Unbound, with one thread; it had all names before.
"""

BLOCK = 100_000  # names after which a long list repeats


class NameScene(ListScene):
    """A list of numbered names."""

    def __init__(self, names, check, place, env, timeout_s):
        queries = place.output / "queries"
        super().__init__(names, place, {**env, "QUERIES": str(queries)}, timeout_s)
        self._check = check
        place.list.write_text("".join(name(number) + "\n" for number in range(names)))
        queries.write_text("".join(name(number) + " A\n" for number in range(names)))

    def check(self, contender, path):
        self._check.check(contender, path)


def perform(bench, cases):
    options, place = bench.options, bench.workplace
    with serving(max(options.names, BLOCK), place.output / "nsd") as server:
        env = {**place.env, **server}
        if "ADNS_CONFIG" not in server and any(ADNSHOST in case.contenders for case in cases):
            bench.note("adnshost is left out: it can only use port 53, which was not available.")
        for case in cases:
            if "ADNS_CONFIG" not in server:
                case = without(case, ADNSHOST)
            if case.data == "memory":
                perform_endless(bench, case, env)
                continue
            if case.data == "cached":
                perform_cached(bench, case, server["SERVER"])
                continue
            bench.run_case(case, f"{options.names:,} names", name_scene(bench, env))


def name_scene(bench, env):
    options = bench.options
    return NameScene(options.names, AnswerCheck(options.names), bench.workplace, env,
                     options.run_timeout)


def perform_cached(bench, case, server):
    place = bench.workplace
    with caching(server, place.output / "nsd") as cache:
        scene = name_scene(bench, {**place.env, **cache})
        filled = scene.run(case.contenders[0])
        if filled.wrong:
            bench.note(f"{case.name} was not run: the cache could not be filled: {filled.wrong}.")
            return
        bench.run_case(case, f"{bench.options.names:,} names", scene)


def without(case, contender):
    others = [one for one in case.contenders if one != contender]
    return dataclasses.replace(case, contenders=others)


def perform_endless(bench, case, env):
    lines = [name(number).encode() + b"\n" for number in range(BLOCK)]
    rows = [row(number) for number in range(BLOCK)]
    for items in bench.options.memory_items:
        scene = EndlessScene(items, 0, bench.workplace.output, lines, rows, bench.workplace, env,
                             bench.options.run_timeout)
        bench.run_case(case, f"{items:,} items", scene, rounds=min(bench.options.rounds, ROUNDS_MAX))


def row(number):
    """The line that ringmill prints for a name."""
    status, alias, address = answer(number)
    data = ([f"CNAME {alias}."] if alias else []) + ([address] if address else [])
    return "\t".join([name(number), "A", status, *data]).encode() + b"\n"


def ringmill(*flags, form="text"):
    command = " ".join(["ringmill dns -r $SERVER", *flags])
    return Contender(command, command, ("ringmill", "nsd"), form, ordered=True)


def as_massdns(*flags):
    return ringmill("--format massdns", *flags, form="massdns")


def massdns(at_once):
    command = f"massdns -q -r $SERVERS -s {at_once} -o J $LIST"
    return Contender(command, command, ("massdns", "nsd"), "massdns", peer=True)


MASSDNS_SIMPLE = Contender("massdns -q -r $SERVERS -s 1000 -o S $LIST",
                           "massdns -q -r $SERVERS -s 1000 -o S $LIST", ("massdns", "nsd"),
                           "massdns-simple", peer=True)

DNSPERF = Contender("dnsperf -c 10 -q 1000",
                    "dnsperf -s 127.0.0.1 -p $PORT -d $QUERIES -n 1 -c 10 -q 1000",
                    ("dnsperf", "nsd"), "dnsperf", peer=True)

# xargs exits with 123, because adnshost exits with 6 if a name does not exist.
ADNSHOST = Contender("xargs -n250 adnshost -Fi -ta",
                     'xargs -n250 adnshost --config "$ADNS_CONFIG" -Fi -ta || [ $? = 123 ]',
                     ("xargs", "adnshost", "nsd"), "adnshost", ordered=True, peer=True)

CASES = [
    Case("names-rows", "Addresses of names, as massdns prints them", "names", [
        as_massdns(),
        as_massdns("--loops 1"),
        as_massdns("--engine threads"),
        massdns(1000),
        massdns(10_000),
        DNSPERF,
    ], variants=("names",), varies="list", unit="names",
        note="massdns has one process and answers in any order."),
    Case("names-text", "Addresses of names, as text", "names", [
        ringmill(),
        ringmill("--loops 1"),
        ringmill("--engine threads"),
        MASSDNS_SIMPLE,
        DNSPERF,
        ADNSHOST,
    ], variants=("names",), varies="list", unit="names",
        note="adnshost asks for all of its names at once, so that of 500 it loses some and waits "
             "30 s for each; `adnshost -f` with the whole list loses nearly all. Hence 250."),
    Case("names-cached", "Addresses of names, out of a cache", "cached", [
        as_massdns(),
        ringmill(),
        massdns(1000),
        MASSDNS_SIMPLE,
        DNSPERF,
    ], variants=("names",), varies="list", unit="names"),
    Case("names-memory", "Addresses of a long list of names", "memory",
         [ringmill()], variants=("names",), varies="list", unit="names"),
]

CPU_US_MAX = 6

TARGETS = [
    RatioTarget("names/s, rows of massdns: ≥ 1.1 × massdns", "names-rows",
                (massdns(1000).label, massdns(10_000).label), 1.1),
    RatioTarget("names/s, rows of massdns: ≥ 1.0 × dnsperf", "names-rows", DNSPERF.label, 1.0),
    RatioTarget("names/s, text: ≥ 1.1 × massdns -o S", "names-text", MASSDNS_SIMPLE.label, 1.1),
    RatioTarget("names/s, text: ≥ 1.0 × dnsperf", "names-text", DNSPERF.label, 1.0),
    RatioTarget("names/s, text: ≥ 10 × adnshost", "names-text", ADNSHOST.label, 10.0),
    RatioTarget("names/s out of a cache: ≥ 1.1 × massdns", "names-cached", massdns(1000).label,
                1.1),
    RatioTarget("names/s out of a cache, text: ≥ 1.0 × dnsperf", "names-cached", DNSPERF.label,
                1.0, ours=ringmill().label),
    *(TimeTarget(f"processor time, {form}: ≤ {CPU_US_MAX} µs a name", case,
                 lambda runs, items: CPU_US_MAX * 1e-6 * items, figure="cpu")
      for case, form in (("names-rows", "rows of massdns"), ("names-text", "text"))),
    MemoryTarget("max RSS, {variant}: ≤ 64 MiB", 64, "names-memory"),
]

SUITES = [Suite("dns", "ringmill dns", CASES, perform, TARGETS, {"names": 1_000_000},
                method=METHOD)]
