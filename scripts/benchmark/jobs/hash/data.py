"""The sets of files that are hashed."""

from __future__ import annotations

import math
import random

from benchmark.files.sets import DataSet, tree
from benchmark.files.volumes import MIB, PAGE


def small_set(options, files=None):
    files = files or options.files
    parameters = {"files": files, "bytes": PAGE, "seed": options.seed}
    return DataSet("small", parameters, tree([PAGE] * files))


def mixed_set(options):
    """Log-normal sizes: the median is 8 KiB, the largest are some tens of MiB."""
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
