"""Sets of files: names and sizes follow from the parameters, contents from the seed."""

from __future__ import annotations

import hashlib
import json
import random
import uuid
from dataclasses import dataclass

from benchmark.files.volumes import MIB, PAGE
from benchmark.host.tools import say, tool

FILES_PER_DIRECTORY = 1000
LAYOUT = 1  # must be raised when the same parameters begin to mean other data


@dataclass(frozen=True)
class DataSet:
    name: str
    parameters: dict
    files: list  # (name, size), in order of creation

    @property
    def bytes(self):
        return sum(size for _, size in self.files)

    @property
    def disk_bytes(self):
        return sum(-(-size // PAGE) * PAGE for _, size in self.files)

    @property
    def stem(self):
        """The same parameters have the same stem, so that the data is reused."""
        text = json.dumps({"layout": LAYOUT, **self.parameters}, sort_keys=True)
        return f"{self.name}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"


def tree(sizes):
    return [(f"data/{index // FILES_PER_DIRECTORY:04}/{index:07}", size)
            for index, size in enumerate(sizes)]


class RandomBytes:
    """An endless stream of random bytes, drawn in blocks because that is fast."""

    def __init__(self, seed):
        self._numbers = random.Random(seed)
        self._block = memoryview(b"")

    def take(self, count):
        """Up to COUNT bytes, at least one."""
        if not self._block:
            self._block = memoryview(self._numbers.randbytes(MIB))
        piece, self._block = self._block[:count], self._block[count:]
        return piece


def write_files(data_set, root, seed):
    stream = RandomBytes(seed)
    made = None
    for name, size in data_set.files:
        path = root / name
        if path.parent != made:
            made = path.parent
            made.mkdir(parents=True, exist_ok=True)
        with open(path, "wb", buffering=0) as file:
            while size > 0:
                size -= file.write(stream.take(size))


def prepare(data_set, volume, seed, fresh):
    """Makes the data, or reuses it: the marker is written last, so that incomplete data does not
    count."""
    marker = volume.marker
    if volume.exists() and marker.exists() and not fresh:
        say(f"{data_set.name}: reusing {len(data_set.files):,} files")
        volume.attach()
        return
    marker.unlink(missing_ok=True)
    say(f"{data_set.name}: making {len(data_set.files):,} files, {data_set.bytes / 1e9:.2f} GB")
    identifier = uuid.UUID(int=random.Random(seed).getrandbits(128), version=4)
    directories = len(data_set.files) // FILES_PER_DIRECTORY + 100
    volume.create(data_set.disk_bytes, len(data_set.files) + directories, identifier)
    write_files(data_set, volume.root, seed)
    volume.seal()
    marker.write_text(json.dumps(data_set.parameters))


def ordered_names(data_set, volume, order, seed):
    names = [name for name, _ in data_set.files]
    if order == "find":
        return tool("find", "data", "-type", "f", cwd=volume.root).splitlines()
    if order == "shuffled":
        random.Random(seed).shuffle(names)
    return names
