"""The suite of faulty storage: a slow disk beside a fast one, and files whose file system returns
errors of resource exhaustion. It needs root."""

from __future__ import annotations

import dataclasses
import os
import random
import shutil
import threading
import time
from contextlib import ExitStack, contextmanager

from benchmark.bench import Run, WrongOutput
from benchmark.files import layers
from benchmark.files.scene import require_success
from benchmark.files.sets import RandomBytes
from benchmark.files.volumes import MIB, PAGE
from benchmark.host.tools import BenchError, tool, uninterrupted
from benchmark.jobs.hash.contenders import pool, ringmill
from benchmark.jobs.hash.digests import DigestCheck
from benchmark.measure import run_measured
from benchmark.model import Case, RatioTarget, Suite
from benchmark.proof import against_others

METHOD = """\
- In this suite, the reads of devices are not counted: hot files were read just before, cold ones were
  mounted anew.
- Slow disk: 400 files on an ext4 image that the scripted file system serves with 50 ms for each
  read, up to 256 at once, attached with direct I/O and mounted anew before each run; each inode has
  a block of its own. They stand together in the list, or spread over it. The hot files were read
  just before, and lie on the disk of the work directory.
- "ms to 99 % of the hot rows": from the start of the command until this share of the rows of hot
  files has been read from its output.
- Failing files: 2,000 files through the scripted file system, of which ten fail, for ever, with
  ENFILE, EMFILE, ENOMEM or EAGAIN, when they are opened or read; and the same without those rules.
"""

HOT, SLOW, IMAGE, CLEAN, FAILING = (f"storage-{name}" for name in
                                    ("hot", "slow", "image", "clean", "failing"))
SLOW_FILES, SLOW_READ = 400, "50ms"
SERVED_FILES = 2000
HOT_MS = "ms to 99 % of the hot rows"
ALONE = ", hot files alone"
SICK = ", ten files fail"

ERRNOS = ("ENFILE", "EMFILE", "ENOMEM", "EAGAIN")
CALLS = ("open", "read", "open")


# ---------------------------------------------------------------------------------------------
# Contenders

def unordered(*flags):
    return dataclasses.replace(ringmill("sha256", "--unordered", *flags), ordered=False)


def alone(one):
    return dataclasses.replace(one, label=one.label + ALONE,
                               command=f"grep ^{HOT}/ \"$LIST\" | {one.command}")


def in_directory(one, name):
    return dataclasses.replace(one, command=f"cd {name} && {one.command}")


def failing(one):
    return dataclasses.replace(one, label=one.label + SICK,
                               command=f"cd {FAILING} && {{ {one.command}; test $? = 1; }}")


URING, THREADS = ringmill("sha256"), ringmill("sha256", "--engine threads")
FREE_URING, FREE_THREADS = unordered(), unordered("--engine threads")
POOL = pool(64, "sha256")

CASES = [
    Case("storage-slow", "SHA-256 of cold files on a slow disk among hot ones", "slow disk",
         [POOL, URING, THREADS, FREE_URING, alone(FREE_URING), FREE_THREADS, alone(FREE_THREADS)],
         variants=("together", "spread"), counts=(HOT_MS,)),
    Case("storage-failing", "SHA-256 of small files of which ten fail for ever", "failing files",
         [made for one in (URING, THREADS) for made in (in_directory(one, CLEAN), failing(one))],
         variants=("2,000 files",), varies="list"),
]

TARGETS = [
    *(RatioTarget(f"slow disk, `{one.label}`: ≤ 1.2 × 64 plain threads", "storage-slow",
                  POOL.label, 1 / 1.2, one.label) for one in (URING, THREADS)),
    *(RatioTarget(f"slow disk, `{one.label}`: 99 % of the hot rows within 1.5 × of the run without "
                  "the slow files", "storage-slow", alone(one).label, 1 / 1.5, one.label, HOT_MS)
      for one in (FREE_URING, FREE_THREADS)),
    *(RatioTarget(f"failing files, `{one.label}`: ≤ 1.5 × the clean run", "storage-failing",
                  one.label, 1 / 1.5, failing(one).label) for one in (URING, THREADS)),
]


# ---------------------------------------------------------------------------------------------
# Data

def write_directory(root, count, seed):
    """COUNT files of a page; returns their names."""
    names = [f"{number:05}" for number in range(count)]
    if not root.exists() or len(os.listdir(root)) != count:
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        stream = RandomBytes(seed)
        for name in names:
            (root / name).write_bytes(stream.take(PAGE))
        os.sync()
    return names


def make_image(source, image):
    image.parent.mkdir(exist_ok=True)
    image.unlink(missing_ok=True)
    size = (SLOW_FILES * 3 * PAGE // MIB + 16) * MIB
    tool("mkfs.ext4", "-q", "-F", "-m", "0", "-b", PAGE, "-I", PAGE, "-N", SLOW_FILES + 100,
         "-O", "^has_journal,^resize_inode", "-E", "nodiscard", "-d", source, image,
         f"{size // 1024}k")


@contextmanager
def scripted(place, source, name, rules):
    """Serves SOURCE at the mount point NAME."""
    program, script = place.data / "scripted", place.output / f"{name}-script"
    tool("cc", "-O2", "-o", program, layers.SCRIPTED_SOURCE, "-lfuse3", "-lpthread")
    script.write_text(rules)
    with layers.mount_point(place, name) as root:
        with layers.served([program, script, source, root], root, place):
            yield root


@contextmanager
def mounted_anew(image, root):
    """Mounts on a new loop device, so that nothing is cached; the device is freed with the mount."""
    device = tool("losetup", "--find", "--show", "--direct-io=on", "--read-only", image).strip()
    try:
        tool("mount", "-t", "ext4", "-o", "ro,noatime,inode_readahead_blks=1", device, root)
    finally:
        with uninterrupted():
            tool("losetup", "--detach", device)
    try:
        yield
    finally:
        with uninterrupted():
            tool("umount", root)


# ---------------------------------------------------------------------------------------------
# Runs

class Clocked:
    """The write end of a pipe, and when each piece of the output was read from it."""

    def __init__(self, path):
        self._path = path
        self.pieces = []  # (seconds, bytes)

    def __enter__(self):
        self._read, self.write = os.pipe()
        self._thread = threading.Thread(target=self._collect, daemon=True)
        self._start = time.perf_counter()
        self._thread.start()
        return self

    def __exit__(self, *_):
        os.close(self.write)
        self._thread.join()

    def _collect(self):
        with os.fdopen(self._read, "rb", buffering=0) as pipe, open(self._path, "wb") as file:
            while piece := pipe.read(MIB):
                self.pieces.append((time.perf_counter() - self._start, piece))
                file.write(piece)

    def seconds_to(self, wanted, mark):
        """The time when WANTED lines that contain MARK were complete; None if never."""
        seen, rest = 0, b""
        for seconds, piece in self.pieces:
            *lines, rest = (rest + piece).split(b"\n")
            seen += sum(mark in line for line in lines)
            if seen >= wanted:
                return seconds
        return None


class StorageScene:
    """CHECKS: {end of a contender's label: check of its output}."""

    def __init__(self, place, names, checks, hot, timeout_s, others_max, before_run):
        self.items, self.bytes = len(names), len(names) * PAGE
        self._place, self._checks, self._hot = place, checks, hot
        self._timeout_s, self._others_max, self._before_run = timeout_s, others_max, before_run
        place.list.write_text("".join(name + "\n" for name in names))

    def run(self, contender):
        place, output = self._place, self._place.output
        with self._before_run(), open(place.list) as names, open(output / "err", "wb") as stderr, \
                Clocked(output / "out") as clocked:
            usage = run_measured(contender.command, place.data, place.env, names, clocked.write,
                                 stderr, self._timeout_s)
        wrong = None
        try:
            require_success(usage, output / "err")
            ending = next(end for end in self._checks if contender.label.endswith(end))
            self._checks[ending].check(contender, output / "out")
        except WrongOutput as error:
            wrong = str(error)
        counts = {}
        if self._hot:
            seconds = clocked.seconds_to(self._hot * 99 // 100, f"{HOT}/".encode())
            counts = {HOT_MS: round((usage.wall_s if seconds is None else seconds) * 1000)}
        unproved = None if self._others_max is None else against_others(usage, self._others_max)
        return Run(usage, counts=counts, wrong=wrong, unproved=unproved)


def perform_slow(bench, case):
    options, place = bench.options, bench.workplace
    hot = [f"{HOT}/{name}" for name in write_directory(place.data / HOT, options.files,
                                                       options.seed)]
    source, image = place.data / f"{SLOW}-source", place.data / IMAGE / "slow.ext4"
    slow = [f"{SLOW}/{name}" for name in write_directory(source, SLOW_FILES, options.seed + 1)]
    make_image(source, image)
    with scripted(place, image.parent, f"{IMAGE}-served", f"read * delay {SLOW_READ}\n") as served, \
            layers.mount_point(place, SLOW) as root:
        @contextmanager
        def before_run():
            tool("sh", "-c", f"find {HOT} -type f | xargs -n1000 cat > /dev/null", cwd=place.data)
            with mounted_anew(served / image.name, root):
                yield

        for variant in case.variants:
            names = mixed(hot, slow, variant, options.seed)
            checks = {ALONE: DigestCheck(hot, place.data), "": DigestCheck(names, place.data)}
            scene = StorageScene(place, names, checks, len(hot), options.run_timeout,
                                 options.others_max, before_run)
            bench.run_case(case, variant, scene)


def mixed(hot, slow, variant, seed):
    if variant == "together":
        middle = len(hot) // 2
        return [*hot[:middle], *slow, *hot[middle:]]
    names = list(hot)
    numbers = random.Random(seed)
    for name in slow:
        names.insert(numbers.randrange(len(names) + 1), name)
    return names


def perform_failing(bench, case):
    options, place = bench.options, bench.workplace
    source = place.data / "storage-source"
    names = write_directory(source, SERVED_FILES, options.seed + 2)
    sick = names[SERVED_FILES // 20::SERVED_FILES // 10]
    rules = "".join(f"{CALLS[place // 4]} {name} fail {ERRNOS[place % 4]}\n"
                    for place, name in enumerate(sick))
    with scripted(place, source, CLEAN, ""), scripted(place, source, FAILING, rules):
        @contextmanager
        def before_run():
            tool("sh", "-c", f"cat {source}/* > /dev/null")
            yield

        well = [name for name in names if name not in set(sick)]
        checks = {SICK: DigestCheck(well, place.data), "": DigestCheck(names, place.data)}
        scene = StorageScene(place, names, checks, 0, options.run_timeout, options.others_max,
                             before_run)
        bench.run_case(case, case.variants[0], scene)


def perform(bench, cases):
    for name in (f"{IMAGE}-served", SLOW, CLEAN, FAILING):
        layers.clear(bench.workplace.data / name)
    for case in cases:
        make = perform_slow if case.name == "storage-slow" else perform_failing
        try:
            make(bench, case)
        except BenchError as error:
            bench.note(f"{case.name} is left out: {error}.")
        finally:
            if bench.options.remove_data:
                for name in (HOT, IMAGE, f"{SLOW}-source", "storage-source"):
                    shutil.rmtree(bench.workplace.data / name, ignore_errors=True)


SUITE = Suite("storage", "ringmill hash on faulty storage", CASES, perform, TARGETS,
              defaults={"files": 30_000}, method=METHOD, in_all=False)
