"""The suites of `ringmill hash`, as tables."""

from __future__ import annotations

from benchmark.files.scene import perform_on_files
from benchmark.jobs.hash.contenders import (at, contender, fclones, hashdeep, library, on_large, parallel,
                                            pool, rhash, ringmill, tokio_uring, xargs,
                                            xargs_parts)
from benchmark.jobs.hash.data import DATA_SETS
from benchmark.jobs.hash.digests import DigestCheck
from benchmark.jobs.hash.long_list import perform_endless
from benchmark.model import Case, MemoryTarget, RatioTarget, Suite

IN_FLIGHT = 512  # the default of ringmill


def perform(bench, cases):
    perform_on_files(bench, [case for case in cases if case.data in DATA_SETS], DATA_SETS,
                     DigestCheck)
    perform_endless(bench, [case for case in cases if case.data == "memory"])


# ---------------------------------------------------------------------------------------------
# hash: against commonly used commands

NO_FCLONES = ("fclones is not here: it looks for duplicates, and of files that differ in size it "
              "reads nothing.")


def large_case(algorithm, title, *others):
    ours = [on_large(f"ringmill hash -a {algorithm}{flags}") for flags in ("", " --loops 1")]
    return Case(f"large-hot-{algorithm}", f"{title} of one large file, hot", "large",
                [*others, *ours])


HASH_CASES = [
    Case("small-hot-sha256", "SHA-256 of small files, hot", "small", [
        xargs(1000, 2, "sha256sum"),
        xargs(200, 64, "sha256sum"),
        xargs_parts(1000, 2, "openssl dgst -r -sha256"),
        ringmill("sha256", "--loops 2"),
        pool(2, "sha256"),
        ringmill("sha256", "--loops 2", "--engine threads"),
        ringmill("sha256", "--loops 1"),
        tokio_uring(IN_FLIGHT, "sha256"),
        parallel(2, 1000, "sha256sum"),
        hashdeep(),
        rhash(),
        fclones("sha256"),
    ], traced=True),
    Case("small-hot-blake3", "BLAKE3 of small files, hot", "small", [
        xargs(1000, 2, "b3sum --num-threads 1"),
        ringmill("blake3", "--loops 2"),
        pool(2, "blake3"),
        ringmill("blake3", "--loops 2", "--engine threads"),
        ringmill("blake3", "--loops 1"),
        tokio_uring(IN_FLIGHT, "blake3"),
        fclones("blake3"),
    ]),
    Case("small-hot-xxh3", "XXH3 of small files, hot", "small", [
        xargs_parts(1000, 2, "xxhsum -H3", form="bsd"),
        ringmill("xxh3", "--loops 2"),
        pool(2, "xxh3"),
    ]),
    Case("library-hot-sha256", "SHA-256 of small files by a program on the library, hot", "small", [
        ringmill("sha256"),
        library("sha256"),
    ]),
    Case("small-cold-sha256", "SHA-256 of small files, cold", "small", [
        xargs(200, 64, "sha256sum"),
        ringmill("sha256"),
        pool(64, "sha256"),
        ringmill("sha256", "--engine threads"),
        tokio_uring(IN_FLIGHT, "sha256"),
        fclones("sha256", "--threads 64"),
    ], temperature="cold", traced=True),
    Case("small-cold-blake3", "BLAKE3 of small files, cold", "small", [
        xargs(200, 64, "b3sum --num-threads 1"),
        ringmill("blake3"),
        pool(64, "blake3"),
        tokio_uring(IN_FLIGHT, "blake3"),
    ], temperature="cold"),
    Case("mixed-hot-sha256", "SHA-256 of files of all sizes, hot", "mixed", [
        xargs(200, 2, "sha256sum"),
        xargs_parts(200, 2, "openssl dgst -r -sha256"),
        ringmill("sha256", "--loops 2"),
        pool(2, "sha256"),
        ringmill("sha256", "--loops 2", "--engine threads"),
        tokio_uring(IN_FLIGHT, "sha256"),
    ], traced=True, note=NO_FCLONES),
    Case("mixed-hot-blake3", "BLAKE3 of files of all sizes, hot", "mixed", [
        xargs(200, 2, "b3sum --num-threads 1"),
        ringmill("blake3", "--loops 2"),
        pool(2, "blake3"),
        ringmill("blake3", "--loops 2", "--engine threads"),
        tokio_uring(IN_FLIGHT, "blake3"),
    ], note=NO_FCLONES),
    large_case("sha256", "SHA-256", on_large("openssl dgst -r -sha256"), on_large("sha256sum")),
    large_case("blake3", "BLAKE3", on_large("b3sum --num-threads 1"),
               on_large("b3sum --num-threads 1 --no-mmap"), on_large("b3sum")),
    large_case("xxh3", "XXH3", on_large("xxhsum -H3", form="bsd")),
    large_case("xxh128", "XXH128", on_large("xxhsum -H2")),
    large_case("sha512", "SHA-512", on_large("openssl dgst -r -sha512"), on_large("sha512sum")),
    large_case("sha1", "SHA-1", on_large("openssl dgst -r -sha1"), on_large("sha1sum")),
    large_case("md5", "MD5", on_large("openssl dgst -r -md5"), on_large("md5sum")),
    large_case("crc32c", "CRC-32C",
               contender("rhash --printf '%{crc32c}  %p\\n' data/large", "rhash --crc32c",
                         peer=True)),
    Case("memory", "SHA-256 of a long list", "memory",
         [ringmill("sha256"), ringmill("sha256", "--engine threads")], varies="length"),
]

HASH_TARGETS = [
    RatioTarget("hot, small files, SHA-256: ≥ 4 × `xargs -P2 sha256sum`",
                "small-hot-sha256", "xargs -n1000 -P2 sha256sum", 4.0),
    RatioTarget("hot, small files, BLAKE3: ≥ 2 × `xargs -P2 b3sum --num-threads 1`",
                "small-hot-blake3", "xargs -n1000 -P2 b3sum --num-threads 1", 2.0),
    RatioTarget("hot, small files, SHA-256, the library: ≥ 0.95 × the command",
                "library-hot-sha256", "ringmill hash -a sha256", 0.95,
                ours="library --algorithm sha256"),
    RatioTarget("cold, small files, SHA-256: ≥ 2.5 × `xargs -n200 -P64 sha256sum`",
                "small-cold-sha256", "xargs -n200 -P64 sha256sum", 2.5),
    RatioTarget("cold, small files, SHA-256: ahead of 64 plain threads",
                "small-cold-sha256", "plain_pool --threads 64 --algorithm sha256", 1.0),
    RatioTarget("hot, one large file, SHA-256: ≥ 1.0 × `openssl dgst -sha256`",
                "large-hot-sha256", "openssl dgst -r -sha256", 1.0),
    RatioTarget("hot, one large file, BLAKE3: ≥ 1.0 × `b3sum --num-threads 1`",
                "large-hot-blake3", "b3sum --num-threads 1", 1.0),
    MemoryTarget("max RSS, {variant}: ≤ 64 MiB", 64, "memory"),
    MemoryTarget("max RSS, every run of ringmill: ≤ 64 MiB", 64),
]

# ---------------------------------------------------------------------------------------------
# orders and throttled: the same files in other orders, and on a slow device

ON_DEVICE = [
    xargs(200, 64, "sha256sum"),
    ringmill("sha256"),
    ringmill("sha256", "--engine threads"),
    pool(2, "sha256"),
    pool(64, "sha256"),
    tokio_uring(IN_FLIGHT, "sha256"),
]

ORDERS_CASES = [
    Case("orders-cold-sha256", "SHA-256 of small files, cold", "small", [
        *ON_DEVICE,
        xargs(1000, 2, "sha256sum"),
        fclones("sha256", "--threads 64"),
    ], temperature="cold", variants=("creation", "find", "shuffled")),
]

THROTTLED_CASES = [
    Case("throttled-cold-sha256", "SHA-256 of small files, cold, at most 3,000 reads/s", "small",
         ON_DEVICE, temperature="cold", variants=("creation", "shuffled"), reads_per_second=3000,
         traced=True),
]

# ---------------------------------------------------------------------------------------------
# sweep: how much concurrency is needed

DEPTHS = [1, 4, 16, 64, 256, 1024, 4096]
THREADS_MAX = 1024


def at_depths(algorithm="sha256"):
    points = [at(ringmill(algorithm, f"--in-flight {depth}"), "ringmill --in-flight", depth)
              for depth in DEPTHS]
    points += [at(tokio_uring(depth, algorithm), "tokio-uring, buffered(N)", depth)
               for depth in DEPTHS]
    points += [at(pool(depth, algorithm), "plain threads", depth)
               for depth in DEPTHS if depth <= THREADS_MAX]
    return points


def at_loops(algorithm="sha256"):
    return [at(ringmill(algorithm, f"--loops {loops}", *flags), series, loops)
            for series, flags in (("io_uring", []), ("threads", ["--engine threads"]))
            for loops in (1, 2, 4, 8)]


SWEEP_CASES = [
    Case(f"{axis}-{temperature}", f"SHA-256 of small files, {temperature}, by {x_axis}", "small",
         contenders, temperature, x_axis=x_axis)
    for axis, x_axis, contenders in (("depth", "files in flight", at_depths()),
                                     ("loops", "loops", at_loops()))
    for temperature in ("cold", "hot")
]

# ---------------------------------------------------------------------------------------------
# latency: the cost of recording latencies

ENGINES = {"uring": "io_uring", "threads": "threads"}


def latency_case(engine):
    flags = ["--loops 2", f"--engine {engine}"]
    return Case(f"latency-{engine}", f"Recording latencies, hot, {ENGINES[engine]}", "small", [
        ringmill("sha256", *flags),
        ringmill("sha256", *flags, "--latency", needs="--latency"),
    ], others_max=0.2)


def latency_targets(engine):
    plain, recording = (one.label for one in latency_case(engine).contenders)
    return [RatioTarget(f"hot, small files, {engine}: with `--latency` ≥ 0.98 × without, {what}",
                        f"latency-{engine}", plain, 0.98, recording, figure)
            for figure, what in (("wall", "elapsed time"), ("cpu", "processor time"))]


SUITES = [
    Suite("hash", "ringmill hash", HASH_CASES, perform, HASH_TARGETS),
    Suite("orders", "ringmill hash, orders of the list", ORDERS_CASES, perform,
          defaults={"files": 60_000}),
    Suite("sweep", "ringmill hash, depths and loops", SWEEP_CASES, perform,
          defaults={"files": 60_000}),
    Suite("throttled", "ringmill hash on a device of 3,000 reads/s", THROTTLED_CASES, perform,
          defaults={"files": 30_000, "rounds": 3}),
    Suite("latency", "ringmill hash, what it costs to record latencies",
          [latency_case(engine) for engine in ENGINES], perform,
          [target for engine in ENGINES for target in latency_targets(engine)],
          defaults={"rounds": 41}),
]
