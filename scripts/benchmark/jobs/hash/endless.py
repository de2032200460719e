"""Lists of many items, fed through a pipe and compared through another: memory must not follow the
length of the list, and no file may hold it or the output."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import threading
from contextlib import contextmanager

from benchmark.bench import Run, WrongOutput
from benchmark.files.scene import require_success
from benchmark.files.volumes import MIB
from benchmark.measure import run_measured

FILE_BYTES = 100
BLOCK = 1000  # lines until the list repeats
ROUNDS_MAX = 3


class EndlessScene:
    """ITEMS lines that name two small files over and over."""

    def __init__(self, items, root, lines, digests, place, timeout_s):
        self.items, self.bytes = items, items * FILE_BYTES
        self._root, self._lines, self._digests = root, lines, digests
        self._place, self._timeout_s = place, timeout_s

    def run(self, contender):
        stderr_path = self._place.output / "err"
        with feeding(self._lines, self.items) as names, \
                comparing(self._digests, self.items) as (stdout, comparison), \
                open(stderr_path, "wb") as stderr:
            usage = run_measured(contender.command, self._root, self._place.env, names, stdout,
                                 stderr, self._timeout_s)
        wrong = comparison.wrong
        try:
            require_success(usage, stderr_path)
        except WrongOutput as error:
            wrong = str(error)
        return Run(usage, wrong=wrong)


def perform_endless(bench, cases):
    for case in cases:
        root = bench.workplace.data / "memory.dir"
        lines, digests = small_files(root, bench.options.seed)
        for items in bench.options.memory_items:
            scene = EndlessScene(items, root, lines, digests, bench.workplace,
                                 bench.options.run_timeout)
            bench.run_case(case, f"{items:,} items", scene,
                           rounds=min(bench.options.rounds, ROUNDS_MAX))
        if bench.options.remove_data:
            shutil.rmtree(root)


def small_files(root, seed):
    """Two small files; returns a block of list lines, nearly all of one, and its output."""
    (root / "data").mkdir(parents=True, exist_ok=True)
    line = {}
    for number, name in enumerate(("data/same", "data/other")):
        content = random.Random(seed + number).randbytes(FILE_BYTES)
        (root / name).write_bytes(content)
        line[name] = f"{hashlib.sha256(content).hexdigest()}  {name}\n".encode()
    names = ["data/same"] * (BLOCK - 1) + ["data/other"]
    return [name.encode() + b"\n" for name in names], [line[name] for name in names]


def pieces(block, items):
    """The bytes of ITEMS lines, BLOCK over and over, a good 1 MiB at a time."""
    whole, rest = divmod(items, len(block))
    text = b"".join(block)
    at_once = max(1, MIB // len(text))
    many = text * at_once
    for _ in range(whole // at_once):
        yield many
    yield text * (whole % at_once) + b"".join(block[:rest])


@contextmanager
def feeding(block, items):
    """The read end of a pipe that a thread fills with the list."""
    read, write = os.pipe()

    def feed():
        try:
            with os.fdopen(write, "wb") as pipe:
                for piece in pieces(block, items):
                    pipe.write(piece)
        except BrokenPipeError:
            pass  # the reader gave up; its exit code says so

    thread = threading.Thread(target=feed, daemon=True)
    thread.start()
    try:
        yield read
    finally:
        os.close(read)
        thread.join()


class Comparison:
    def __init__(self):
        self.wrong = None


@contextmanager
def comparing(block, items):
    """The write end of a pipe whose other end is compared with what must come out."""
    read, write = os.pipe()
    comparison = Comparison()

    def compare():
        with os.fdopen(read, "rb") as pipe:
            for expected in pieces(block, items):
                if pipe.read(len(expected)) != expected:
                    comparison.wrong = "does not print the expected lines in the expected order"
                    break
            while pipe.read(MIB):
                comparison.wrong = comparison.wrong or "prints more than one line per item"

    thread = threading.Thread(target=compare, daemon=True)
    thread.start()
    try:
        with os.fdopen(write, "wb") as pipe:
            yield pipe, comparison
    finally:
        thread.join()
