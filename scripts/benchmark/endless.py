"""Long lists that are written to one pipe, and whose output is compared through another: memory must
not grow with the list, and neither the list nor the output is kept in a file."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager

from benchmark.bench import Run, WrongOutput
from benchmark.files.scene import require_success
from benchmark.files.volumes import MIB
from benchmark.measure import run_measured
ROUNDS_MAX = 3


class EndlessScene:
    """ITEMS lines, which repeat LINES over and over; the output must repeat EXPECTED."""

    def __init__(self, items, item_bytes, root, lines, expected, place, env, timeout_s):
        self.items, self.bytes = items, items * item_bytes
        self._root, self._lines, self._expected = root, lines, expected
        self._place, self._env, self._timeout_s = place, env, timeout_s

    def run(self, contender):
        stderr_path = self._place.output / "err"
        with feeding(self._lines, self.items) as names, \
                comparing(self._expected, self.items) as (stdout, comparison), \
                open(stderr_path, "wb") as stderr:
            usage = run_measured(contender.command, self._root, self._env, names, stdout,
                                 stderr, self._timeout_s)
        wrong = comparison.wrong
        try:
            require_success(usage, stderr_path)
        except WrongOutput as error:
            wrong = str(error)
        return Run(usage, wrong=wrong)


def pieces(block, items):
    """The bytes of ITEMS lines, which repeat BLOCK over and over, about 1 MiB at a time."""
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
            pass  # the reader ended early; its exit code shows that

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
    """The write end of a pipe; what is written to it is compared with the expected output."""
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
