"""A long list that names two small files over and over."""

from __future__ import annotations

import hashlib
import random
import shutil

from benchmark.endless import ROUNDS_MAX, EndlessScene

FILE_BYTES = 100
BLOCK = 1000  # lines after which the list repeats


def perform_endless(bench, cases):
    for case in cases:
        root = bench.workplace.data / "memory.dir"
        lines, digests = small_files(root, bench.options.seed)
        for items in bench.options.memory_items:
            scene = EndlessScene(items, FILE_BYTES, root, lines, digests, bench.workplace,
                                 bench.workplace.env, bench.options.run_timeout)
            bench.run_case(case, f"{items:,} items", scene,
                           rounds=min(bench.options.rounds, ROUNDS_MAX))
        if bench.options.remove_data:
            shutil.rmtree(root)


def small_files(root, seed):
    """Writes two small files; returns a block of the list, nearly all lines of which name the first,
    and the output for it."""
    (root / "data").mkdir(parents=True, exist_ok=True)
    line = {}
    for number, name in enumerate(("data/same", "data/other")):
        content = random.Random(seed + number).randbytes(FILE_BYTES)
        (root / name).write_bytes(content)
        line[name] = f"{hashlib.sha256(content).hexdigest()}  {name}\n".encode()
    names = ["data/same"] * (BLOCK - 1) + ["data/other"]
    return [name.encode() + b"\n" for name in names], [line[name] for name in names]
