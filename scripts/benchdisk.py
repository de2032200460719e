"""Data for the benchmarks that read files: deterministic trees of random files, in an ext4 image on
a loop device or in a plain directory. Python 3.9 or later, standard library only."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import random
import re
import shutil
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from benchlib import BenchError, say, tool

SECTOR_BYTES = 512
MIB = 1 << 20
PAGE = 4096
FILES_PER_DIRECTORY = 1000
LAYOUT = 1  # to be raised when the same parameters begin to mean other data


# ---------------------------------------------------------------------------------------------
# Places


@dataclass(frozen=True)
class DiskReads:
    requests: int
    sectors: int

    def __sub__(self, earlier):
        return DiskReads(self.requests - earlier.requests, self.sectors - earlier.sectors)

    @property
    def bytes(self):
        return self.sectors * SECTOR_BYTES


class PlainDirectory:
    """Data in an ordinary directory: for hot runs without root. It has no read counter."""

    def __init__(self, stem):
        self.root = stem.with_name(stem.name + ".dir")
        self.marker = stem.with_name(stem.name + ".dir.json")

    def exists(self):
        return self.root.exists()

    def create(self, needed_bytes, _inodes, _identifier):
        self.discard()
        require_space(self.root.parent, needed_bytes)
        self.root.mkdir()

    def attach(self):
        pass

    def seal(self):
        os.sync()

    def counters(self):
        return None

    def facts(self):
        return {"Data": f"plain directory on {file_system_of(self.root)}"}

    def close(self):
        pass

    def discard(self):
        self.marker.unlink(missing_ok=True)
        if self.root.exists():
            shutil.rmtree(self.root)


class LoopImage:
    """An ext4 image on a loop device with direct I/O, so that the page cache of the file system
    under it keeps nothing. Mounted read-only, except while it is being filled."""

    def __init__(self, stem):
        self.image = stem.with_name(stem.name + ".ext4")
        self.marker = stem.with_name(stem.name + ".ext4.json")
        self.root = stem.with_name("mnt")
        self.device = None

    def exists(self):
        return self.image.exists()

    def create(self, needed_bytes, inodes, identifier):
        self.close()
        self.discard()
        inodes += inodes // 50 + 1000  # mkfs rounds the number down, per block group
        size = (int(needed_bytes * 1.03 + inodes * 256) // MIB + 256) * MIB
        require_space(self.image.parent, size)
        with open(self.image, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)
        # Nothing may be left for later: a lazy table initialisation would run during the runs.
        # Fixed identifiers make the order of `find` the same for the same seed.
        options = f"nodiscard,lazy_itable_init=0,lazy_journal_init=0,hash_seed={identifier}"
        tool("mkfs.ext4", "-q", "-F", "-m", "0", "-b", PAGE, "-I", "256", "-N", inodes,
             "-U", identifier, "-E", options, self.image)
        self._mount("rw")

    def seal(self):
        """After filling: everything to the device, from now on read-only."""
        self.close()
        self.attach()

    def attach(self):
        """(Re)mounts with a new loop device, so that nothing of the data is cached."""
        self.close()
        self._mount("ro")

    def _mount(self, mode):
        flags = ["--read-only"] if mode == "ro" else []
        self.device = tool("losetup", "--find", "--show", "--direct-io=on", *flags,
                           self.image).strip()
        if self._sysfs("loop/dio").read_text().strip() != "1":
            raise BenchError("the file system of the work directory refuses direct I/O: "
                             "choose another with --work")
        self.root.mkdir(exist_ok=True)
        tool("mount", "-t", "ext4", "-o", f"{mode},noatime", self.device, self.root)

    def _sysfs(self, name):
        return Path("/sys/block", Path(self.device).name, name)

    def counters(self):
        fields = self._sysfs("stat").read_text().split()
        return DiskReads(requests=int(fields[0]), sectors=int(fields[2]))

    def facts(self):
        options = mount_options(self.root)
        scheduler = re.search(r"\[(.+?)\]", self._sysfs("queue/scheduler").read_text())
        read_ahead = self._sysfs("queue/read_ahead_kb").read_text().strip()
        return {"Data": f"ext4 ({options}) on a loop device with direct I/O",
                "Loop device": f"scheduler {scheduler.group(1) if scheduler else 'none'}, "
                               f"read-ahead {read_ahead} KiB",
                "Image on": file_system_of(self.image)}

    def close(self):
        """Unmounts and detaches whatever still uses the image, of an earlier run as well."""
        names = tool("losetup", "--noheadings", "-O", "NAME", "-j", self.image, check=False)
        for device in names.split():
            for mount_point in mount_points_of(device):
                unmount(mount_point)
            tool("losetup", "--detach", device, check=False)
        self.device = None

    def discard(self):
        self.marker.unlink(missing_ok=True)
        self.image.unlink(missing_ok=True)
        if self.root.exists():
            self.root.rmdir()


def unmount(mount_point, tries=50):
    """A process killed a moment ago may keep the mount busy: try again before giving up on it."""
    for _ in range(tries):
        tool("umount", mount_point, check=False)
        if not os.path.ismount(mount_point):
            return
        time.sleep(0.1)
    tool("umount", "--lazy", mount_point)


def mount_table():
    """Rows of (mount point, type, source, options) as the kernel lists them."""
    rows = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, right = line.split(" - ", 1)
        kind, source, super_options = right.split(" ")[:3]
        fields = left.split(" ")
        point = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code.group(1), 8)), fields[4])
        rows.append((point, kind, source, merge_options(fields[5], super_options)))
    return rows


def merge_options(*lists):
    return ",".join(dict.fromkeys(option for text in lists for option in text.split(",")))


def mount_points_of(device):
    return [point for point, _, source, _ in mount_table() if source == device]


def mount_options(mount_point):
    return next((options for point, _, _, options in mount_table() if point == str(mount_point)),
                "unknown")


def file_system_of(path):
    """Type and options of the file system that holds PATH, without naming any directory."""
    path = os.path.realpath(path)
    holders = [row for row in mount_table() if os.path.commonpath([row[0], path]) == row[0]]
    _, kind, _, options = max(holders, key=lambda row: len(row[0]))
    return f"{kind} ({options})" if kind in ("ext4", "xfs", "btrfs") else kind


def require_space(directory, needed_bytes):
    free = shutil.disk_usage(directory).free
    if free < needed_bytes:
        raise BenchError(f"{directory}: {needed_bytes / 1e9:.1f} GB needed, {free / 1e9:.1f} GB "
                         "free; choose another --work directory or less data")


class WorkDirectory:
    """The directory of the data, locked: two benchmarks at once would spoil each other."""

    def __init__(self, path):
        self.path = path.resolve()
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = open(self.path / "lock", "w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BenchError(f"{self.path}: in use by another benchmark") from None


# ---------------------------------------------------------------------------------------------
# Data: file names and sizes follow from the parameters, contents from the seed


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
        """The same parameters give the same file name, and so are reused."""
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
    """Makes the data, or finds it made already: the marker is written last, so that half of it
    does not count."""
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


