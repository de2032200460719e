"""The cases of bench-hash: its data, its contenders and its targets, as tables."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from benchdisk import MIB, PAGE, DataSet, tree


def small_set(options):
    parameters = {"files": options.files, "bytes": PAGE, "seed": options.seed}
    return DataSet("small", parameters, tree([PAGE] * options.files))


def mixed_set(options):
    """Log-normal sizes: 8 KiB in the middle, some tens of MiB at the far end."""
    parameters = {"files": options.mixed_files, "median": 8192, "sigma": 2.1, "most": 32 * MIB,
                  "seed": options.seed}
    numbers = random.Random(options.seed)
    sizes = [min(int(8192 * math.exp(numbers.gauss(0, 2.1))), 32 * MIB)
             for _ in range(options.mixed_files)]
    return DataSet("mixed", parameters, tree(sizes))


def large_set(options):
    parameters = {"bytes": options.large_bytes, "seed": options.seed}
    return DataSet("large", parameters, [("data/large", options.large_bytes)])


DATA_SETS = {"small": small_set, "mixed": mixed_set, "large": large_set}


# How each program says its version.
PROGRAMS = {"ringmill": "--version", "plain_pool": None, "xargs": "--version",
            "sha256sum": "--version", "sha512sum": "--version", "sha1sum": "--version",
            "md5sum": "--version", "b3sum": "--version", "xxhsum": "--version",
            "openssl": "version", "parallel": "--version", "hashdeep": "-V",
            "rhash": "--version"}


@dataclass(frozen=True)
class Contender:
    """A command for `sh -c` in the root of the data: the list of names on stdin and in $LIST, an
    empty directory for scratch files in $PARTS, digests on stdout."""
    label: str
    command: str
    programs: tuple
    ordered: bool = False  # promises the order of the list
    optional: bool = False  # a peer, left out quietly when it is not installed


def contender(command, label=None, optional=False):
    programs = tuple(word for word in PROGRAMS if word in command.split())
    ordered = command.startswith(("plain_pool", "ringmill", "parallel -k"))
    return Contender(label or command, command, programs, ordered, optional)


def ringmill(algorithm, *flags):
    return contender(" ".join(["ringmill hash -a", algorithm, *flags]))


def pool(threads, algorithm):
    return contender(f"plain_pool --threads {threads} --algorithm {algorithm}")


def openssl_xargs(algorithm):
    """openssl buffers its lines and would tear them when two write to one file."""
    exec_line = f"exec openssl dgst -r -{algorithm} \"$@\" >> \"$PARTS\"/$$"
    return contender(f"xargs -n200 -P2 sh -c '{exec_line}' sh && cat \"$PARTS\"/*",
                     label=f"xargs -n200 -P2 openssl dgst -{algorithm}")


def on_large(command, **more):
    return contender(f"{command} data/large", label=command, **more)


def large_group(algorithm, *others):
    ours = [on_large(f"ringmill hash -a {algorithm}{flags}") for flags in ("", " --loops 1")]
    return Group("large", "hot", algorithm, [*others, *ours])


@dataclass(frozen=True)
class Group:
    """Contenders that do the same work. The first is what the others' digests are held against;
    the first ringmill is the one the ratios are about."""
    data: str
    temperature: str
    algorithm: str
    contenders: list

    @property
    def name(self):
        return f"{self.data}-{self.temperature}-{self.algorithm}"


GROUPS = [
    Group("small", "hot", "sha256", [
        contender("xargs -n1000 -P2 sha256sum"),
        ringmill("sha256", "--loops 2"),
        pool(2, "sha256"),
        ringmill("sha256", "--loops 2", "--engine threads"),
        contender("parallel -k -j2 -n1000 sha256sum", optional=True),
        contender('hashdeep -l -c sha256 -f "$LIST"', "hashdeep -c sha256 -f", optional=True),
        contender('rhash --sha256 --file-list="$LIST"', "rhash --sha256 --file-list",
                  optional=True),
    ]),
    Group("small", "hot", "blake3", [
        contender("xargs -n1000 -P2 b3sum --num-threads 1"),
        ringmill("blake3", "--loops 2"),
        pool(2, "blake3"),
        ringmill("blake3", "--loops 2", "--engine threads"),
    ]),
    Group("small", "cold", "sha256", [
        contender("xargs -n200 -P64 sha256sum"),
        ringmill("sha256"),
        pool(64, "sha256"),
        ringmill("sha256", "--engine threads"),
    ]),
    Group("mixed", "hot", "sha256", [
        contender("xargs -n200 -P2 sha256sum"),
        openssl_xargs("sha256"),
        ringmill("sha256", "--loops 2"),
        pool(2, "sha256"),
        ringmill("sha256", "--loops 2", "--engine threads"),
    ]),
    Group("mixed", "hot", "blake3", [
        contender("xargs -n200 -P2 b3sum --num-threads 1"),
        ringmill("blake3", "--loops 2"),
        pool(2, "blake3"),
        ringmill("blake3", "--loops 2", "--engine threads"),
    ]),
    large_group("sha256", on_large("openssl dgst -r -sha256"), on_large("sha256sum")),
    large_group("blake3", on_large("b3sum --num-threads 1"),
                on_large("b3sum --num-threads 1 --no-mmap"), on_large("b3sum")),
    large_group("xxh3", on_large("xxhsum -H3")),
    large_group("xxh128", on_large("xxhsum -H2")),
    large_group("sha512", on_large("openssl dgst -r -sha512"), on_large("sha512sum")),
    large_group("sha1", on_large("openssl dgst -r -sha1"), on_large("sha1sum")),
    large_group("md5", on_large("openssl dgst -r -md5"), on_large("md5sum")),
    large_group("crc32c", contender("rhash --printf '%{crc32c}  %p\\n' data/large",
                                    "rhash --crc32c", optional=True)),
]
MEMORY = "memory"
MEMORY_CONTENDERS = [ringmill("sha256"), ringmill("sha256", "--engine threads")]


@dataclass(frozen=True)
class Target:
    text: str
    group: str
    against: str
    ratio: float


TARGETS = [
    Target("hot, small files, SHA-256: ≥ 4 × `xargs -P2 sha256sum`",
           "small-hot-sha256", "xargs -n1000 -P2 sha256sum", 4.0),
    Target("hot, small files, BLAKE3: ≥ 2 × `xargs -P2 b3sum --num-threads 1`",
           "small-hot-blake3", "xargs -n1000 -P2 b3sum --num-threads 1", 2.0),
    Target("cold, small files, SHA-256: ≥ 2.5 × `xargs -n200 -P64 sha256sum`",
           "small-cold-sha256", "xargs -n200 -P64 sha256sum", 2.5),
    Target("cold, small files, SHA-256: ahead of 64 plain threads",
           "small-cold-sha256", "plain_pool --threads 64 --algorithm sha256", 1.0),
    Target("hot, one large file, SHA-256: ≥ 1.0 × `openssl dgst -sha256`",
           "large-hot-sha256", "openssl dgst -r -sha256", 1.0),
    Target("hot, one large file, BLAKE3: ≥ 1.0 × `b3sum --num-threads 1`",
           "large-hot-blake3", "b3sum --num-threads 1", 1.0),
]
RSS_TARGET_MIB = 64

