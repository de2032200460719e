"""The suite that compares this tree with an earlier commit, in all jobs."""

from __future__ import annotations

from benchmark.files import layers
from benchmark.files.scene import perform_on_files
from benchmark.jobs.dns import suites as dns
from benchmark.jobs.hash.contenders import on_large, pool, ringmill
from benchmark.jobs.hash.data import DATA_SETS, small_set
from benchmark.jobs.hash.digests import DigestCheck
from benchmark.model import Case, RatioTarget, Suite
from benchmark.programs import earlier

BASELINE = "c475540"


def perform(bench, cases):
    on_files = [case for case in cases if case.unit == "files"]
    on_names = [case for case in cases if case.unit == "names"]
    if on_files:
        perform_on_files(bench, on_files, {**DATA_SETS, "tmpfs": small_set}, DigestCheck,
                         {"tmpfs": layers.in_memory})
    if on_names:
        dns.perform(bench, on_names)


def case(name, title, data, ours, *others, **more):
    return Case(f"against-{name}", title, data, [ours, earlier(ours), *others], alternates=True,
                against=earlier(ours).label, **more)


def names_case(name, title, ours):
    return case(name, title, "names", ours, variants=("names",), varies="list", unit="names")


SHA256, BLAKE3 = ringmill("sha256", "--loops 2"), ringmill("blake3", "--loops 2")

CASES = [
    case("sha256", "SHA-256 of small files, hot", "small", SHA256, pool(2, "sha256")),
    case("blake3", "BLAKE3 of small files, hot", "small", BLAKE3, pool(2, "blake3")),
    case("threads", "SHA-256 of small files, hot, threads", "small",
         ringmill("sha256", "--loops 2", "--engine threads")),
    case("cold", "SHA-256 of small files, cold", "small", ringmill("sha256"), temperature="cold",
         variants=("creation", "find", "shuffled")),
    case("tmpfs", "SHA-256 of small files, tmpfs", "tmpfs", SHA256, pool(2, "sha256")),
    case("mixed", "SHA-256 of files of all sizes, hot", "mixed", SHA256),
    case("large", "SHA-256 of one large file, hot", "large", on_large("ringmill hash -a sha256")),
    names_case("text", "Addresses of names, as text", dns.ringmill()),
    names_case("massdns", "Addresses of names, as massdns prints them", dns.as_massdns()),
]

TARGETS = [
    RatioTarget(f"hot, small files, {title}: ≥ 0.95 × two plain threads", f"against-{algorithm}",
                pool(2, algorithm).label, 0.95)
    for algorithm, title in (("sha256", "SHA-256"), ("blake3", "BLAKE3"))
]

# An even number of rounds: in half of them this tree runs first.
SUITE = Suite("against", "ringmill against an earlier commit", CASES, perform, TARGETS,
              defaults={"files": 100_000, "rounds": 8, "names": 1_000_000, "commit": BASELINE},
              method=dns.METHOD, in_all=False)
