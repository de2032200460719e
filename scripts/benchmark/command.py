"""The command line of scripts/bench."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from benchmark.bench import COLUMNS, Bench
from benchmark.host.machine import machine_facts
from benchmark.host.mounts import file_system_of
from benchmark.host.tools import REPOSITORY, BenchError, raise_on_termination, say
from benchmark.jobs import SUITES
from benchmark.measure import rss_floor_kib
from benchmark.model import select_cases
from benchmark.programs import install_peers
from benchmark.report.directory import ResultDirectory
from benchmark.report.summary import write_report
from benchmark.workplace import workplace

DESCRIPTION = """\
Benchmarks ringmill against the usual commands and writes raw.csv, summary.md and charts.

Every run is proved before it counts. Hot: no more than 1 % of the data's size was read from the
device behind the data, nor by the command and its children from any (some systems always evict a
few pages). Cold: the file system was mounted anew, and at least the data's size was read from the
device. Limited: in no second did the device see more reads than the limit allows. Runs that fail
the proof are repeated a few times; all of them, used or not, end up in raw.csv. Contenders take
turns (A B C A B C ...), and the output of every run is compared with that of the others."""

ORDERS = ["creation", "find", "shuffled"]

FULL = {"rounds": 5, "files": 300_000, "fuse_files": 20_000, "slow_files": 2_048,
        "mixed_files": 20_000, "large_bytes": 2 << 30, "memory_items": [100_000, 10_000_000],
        "names": 200_000, "futures": 2_000_000, "urls": 200_000,
        "endpoints": 50_000}
QUICK = {"rounds": 1, "files": 3_000, "fuse_files": 1_000, "slow_files": 200, "mixed_files": 300,
         "large_bytes": 16 << 20, "memory_items": [2_000, 20_000], "names": 2_000,
         "futures": 20_000, "urls": 2_000, "endpoints": 2_000}


def parse_arguments(argv):
    parser = argparse.ArgumentParser(
        prog="bench", description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("setup", help="install what is measured against, by apt and cargo")
    apart = ", ".join(suite.name for suite in SUITES if not suite.in_all)
    everything = commands.add_parser(
        "all", help=f"all of the following but {apart}, one after another")
    add_options(everything)
    for suite in SUITES:
        one = commands.add_parser(suite.name, help=suite.title, description=suite.title)
        one.add_argument("--case", action="append", metavar="NAME", dest="cases",
                         help="only this case, or those on this data; repeatable")
        one.add_argument("--list-cases", action="store_true",
                         help="print the names of the cases and end")
        add_options(one)
    return parser.parse_args(argv)


def add_options(parser):
    add = parser.add_argument
    add("--quick", action="store_true",
        help="smoke run: little data, one round; the figures mean nothing")
    add("--rounds", type=positive, metavar="N",
        help="runs of each contender (default 5, or as the suite says)")
    add("--attempts", type=positive, metavar="N", default=5,
        help="tries to prove a run hot or cold (default %(default)s)")
    add("--order", action="append", choices=ORDERS, dest="orders",
        help="order of the lists (default as the case says); repeatable")
    add("--files", type=positive, metavar="N",
        help="small files (default 300,000, or as the suite says)")
    add("--fuse-files", type=positive, metavar="N", help="files behind bindfs (default 20,000)")
    add("--slow-files", type=positive, metavar="N",
        help="files of the file system whose calls take 5 ms (default 2,048)")
    add("--mixed-files", type=positive, metavar="N",
        help="files of the mixed cases (default 20,000)")
    add("--large-bytes", type=positive, metavar="BYTES",
        help="size of the large file (default 2 GiB)")
    add("--names", type=positive, metavar="N",
        help="names to look up (default 200,000, or as the suite says)")
    add("--urls", type=positive, metavar="N",
        help="URLs to request (default 200,000, or as the suite says)")
    add("--endpoints", type=positive, metavar="N",
        help="endpoints to connect to (default 50,000); to one port a fifth more")
    add("--futures", type=positive, metavar="N",
        help="futures that do not sleep (default 2,000,000); of those that do there are fewer")
    add("--memory-items", type=positive, nargs="+", metavar="N",
        help="lengths of the lists of the case memory (default 100,000 and 10,000,000)")
    add("--seed", type=int, default=1, metavar="N", help="of the data (default %(default)s)")
    add("--work", type=Path, metavar="DIR",
        help="where the data is made and kept (default: ringmill-bench in $TMPDIR or /var/tmp)")
    add("--output", type=Path, metavar="DIR",
        help="where contenders print to (default: /dev/shm, else the work directory)")
    add("--results", type=Path, metavar="DIR",
        help="where the report goes (default: results in the repository; with --quick the work "
             "directory)")
    add("--fresh", action="store_true", help="make the data anew")
    add("--remove-data", action="store_true", help="remove the data of the cases at the end")
    add("--no-peers", action="store_true",
        help="leave out programs that few people have")
    add("--commit", metavar="COMMIT",
        help="of the earlier ringmill that is built and measured too, in the suites that have one "
             "(default: c475540 in against, none in blocking)")
    add("--ringmill", type=Path, metavar="PROGRAM", help="measure this one, do not build it")
    add("--plain-pool", type=Path, metavar="PROGRAM", help="the same for the thread pool")
    add("--library", type=Path, metavar="PROGRAM", help="the same for the program on the library")
    add("--imperfect-dns", type=Path, metavar="PROGRAM",
        help="the same for the name server with faults")
    add("--epoll-connect", type=Path, metavar="PROGRAM", help="the same for the epoll loop")
    add("--tokio-uring", type=Path, metavar="PROGRAM", help="the same for tokio-uring-buffered")
    add("--materialize-contenders", type=Path, metavar="PROGRAM",
        help="the same for materialize-contenders")
    add("--others-max", type=float, metavar="CORES",
        help="repeat a hot run on files during which the rest of the machine used more; servers "
             "of bindfs and of the slow file system belong to the rest (default as the case says)")
    add("--run-timeout", type=positive, metavar="SECONDS", default=1800,
        help="a run that takes longer has failed (default %(default)s)")


def positive(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: must be at least 1")
    return number


def with_defaults(options, suite):
    """The options, with the defaults of this suite."""
    full = argparse.Namespace(**vars(options))
    defaults = {**FULL, **suite.defaults, **(QUICK if options.quick else {})}
    for name, value in defaults.items():
        if getattr(full, name) is None:
            setattr(full, name, value)
    return full


def with_places(options):
    temporary = os.environ.get("TMPDIR") or "/var/tmp"
    options.work = options.work or Path(temporary) / "ringmill-bench"
    if options.results is None:
        options.results = options.work if options.quick else REPOSITORY / "results"
    return options


def run_suite(suite, options, place):
    """Measures and reports; returns whether all results were correct."""
    options = with_defaults(options, suite)
    cases = select_cases(suite, getattr(options, "cases", None))
    place.programs.build(cases, options.commit)
    private = [place.data, place.output, REPOSITORY, Path.home()]
    results = ResultDirectory(options.results.resolve(), suite.name, COLUMNS, private)
    bench = Bench(options, place, results)
    if options.quick:
        bench.note("A smoke run: the figures mean nothing.")
    floor = rss_floor_kib(place.env) / 1024
    bench.facts = {**machine_facts(), "Contenders print to": file_system_of(place.output),
                   "Max RSS": f"cannot be distinguished below {floor:.1f} MiB"}
    suite.perform(bench, cases)
    contenders = [one for measured in bench.measured for one in measured.contenders]
    bench.facts.update(place.programs.facts(contenders))
    write_report(bench, suite)
    say(f"report: {results.path}")
    return not any(measured.failures for measured in bench.measured)


def check_cases(suite, wanted):
    names = dict.fromkeys(name for case in suite.cases for name in (case.data, case.name))
    for name in wanted or []:
        if name not in names:
            raise BenchError(f"--case {name}: not one of {', '.join(names)}")


def run(options):
    """Returns the exit code: 1 when a contender gave wrong results."""
    if options.command == "setup":
        install_peers()
        return 0
    suites = [suite for suite in SUITES
              if options.command == suite.name or options.command == "all" and suite.in_all]
    if options.command != "all":
        if options.list_cases:
            print("\n".join(case.name for case in suites[0].cases))
            return 0
        check_cases(suites[0], options.cases)
    options = with_places(options)
    with workplace(options) as place:
        good = [run_suite(suite, options, place) for suite in suites]
    return 0 if all(good) else 1


def main():
    options = parse_arguments(sys.argv[1:])
    raise_on_termination()
    try:
        return run(options)
    except (BenchError, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("bench: interrupted; the runs so far are in raw.csv", file=sys.stderr)
        return 130
