"""File systems that are mounted over a volume, and measured instead of it: overlayfs, bindfs, a file
system with slow calls, and a copy in memory. They need root."""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmark.files.volumes import MIB
from benchmark.host.machine import version_line
from benchmark.host.mounts import mount_table, unmount
from benchmark.host.tools import REPOSITORY, BenchError, tool, uninterrupted

POINT, UPPER = "layer", "layer-upper"  # in the work directory

SCRIPTED_SOURCE = REPOSITORY / "tests" / "fuse" / "scripted.c"
SLOW_CALL = "5ms"
SLOW_THREADS = 256  # calls served at once: more than any contender has in flight


@dataclass
class Layer:
    """Measured instead of the volume below it, whose device still counts the reads."""
    root: Path
    volume: object
    description: dict = field(default_factory=dict)
    warmed_at: Path | None = None  # the directory that is read to cache the data; ROOT if None
    forgets_names: bool = False  # every run has to look up its names

    def __post_init__(self):
        self.warmed_at = self.warmed_at or self.root

    def before_run(self):
        """Called after the data was read. A remount drops the names that the kernel has cached, but
        nothing that is cached of the volume below."""
        if self.forgets_names:
            tool("mount", "--internal-only", "-o", "remount,ro", self.root)

    def counters(self):
        return self.volume.counters()

    def facts(self):
        return self.description


@contextmanager
def in_memory(volume, place):
    with mount_point(place) as root:
        size = sum(file.stat().st_blocks * 512 for file in volume.root.rglob("*"))
        tool("mount", "-t", "tmpfs", "-o", f"size={size + size // 10 + 64 * MIB}", "tmpfs", root)
        tool("cp", "-r", volume.root / "data", root)
        yield Layer(root, volume, {"tmpfs": "a copy of the data"})


@contextmanager
def overlay(volume, place):
    """As in containers: the data is in the lower directory, and the upper one is empty."""
    with mount_point(place) as root, mount_point(place, UPPER) as upper:
        tool("mount", "-t", "tmpfs", "tmpfs", upper)
        for name in ("upper", "work"):
            (upper / name).mkdir()
        options = f"noatime,lowerdir={volume.root},upperdir={upper}/upper,workdir={upper}/work"
        tool("mount", "-t", "overlay", "-o", options, "overlay", root)
        yield Layer(root, volume, {"overlayfs": "the data below, an empty tmpfs above"})


@contextmanager
def bindfs(volume, place):
    with mount_point(place) as root:
        command = ["bindfs", "-f", "--multithreaded", "-o", "ro", volume.root, root]
        with served(command, root, place):
            version = version_line(["bindfs", "--version"], place.programs.env)
            yield Layer(root, volume, {"`bindfs`": f"{version}, --multithreaded"})


@contextmanager
def slow(volume, place, forgets_names=True):
    """Two processes would take long to read all of it, so the volume below is read instead."""
    program, script = place.data / "scripted", place.output / "script"
    tool("cc", "-O2", "-o", program, SCRIPTED_SOURCE, "-lfuse3", "-lpthread")
    script.write_text(f"* * delay {SLOW_CALL}\n")
    with mount_point(place) as root:
        command = [program, "-n", str(SLOW_THREADS), script, volume.root, root]
        with served(command, root, place):
            if not forgets_names:
                read_all(volume.root, root)
            description = f"every call takes {SLOW_CALL}, up to {SLOW_THREADS} at once"
            yield Layer(root, volume, {"slow file system": description}, volume.root, forgets_names)


def slow_known(volume, place):
    """The kernel has cached all names, but looks each of them up again."""
    return slow(volume, place, forgets_names=False)


def read_all(names_from, root):
    tool("sh", "-c", 'find data -type f | (cd "$1" && exec xargs -n32 -P64 cat) > /dev/null', "sh",
         root, cwd=names_from)


@contextmanager
def mount_point(place, name=POINT):
    """An empty directory; a file system that is mounted on it is unmounted at the end."""
    if os.geteuid() != 0:
        raise BenchError("it takes root to mount")
    root = place.data / name
    root.mkdir(exist_ok=True)
    try:
        yield root
    finally:
        with uninterrupted():
            clear(root)


def clear_layers(directory):
    """Removes what a run that was killed left behind."""
    for name in (POINT, UPPER):
        clear(directory / name)


def clear(root):
    while is_mounted(root):
        unmount(root)
    if root.exists():
        root.rmdir()


def is_mounted(root):
    """Reads the kernel's table, because a file system in user space may not answer."""
    return any(point == str(root) for point, *_ in mount_table())


@contextmanager
def served(command, root, place, timeout_s=10):
    """Mounts a file system in user space; yields its server."""
    errors = place.output / "server-err"
    with open(errors, "wb") as stderr:
        try:
            server = subprocess.Popen(command, env=place.programs.env, stdin=subprocess.DEVNULL,
                                      stdout=subprocess.DEVNULL, stderr=stderr,
                                      start_new_session=True)
        except FileNotFoundError:
            raise BenchError(f"{command[0]}: not installed; scripts/bench setup installs "
                             "it") from None
    try:
        end = time.monotonic() + timeout_s
        while not is_mounted(root):
            if server.poll() is not None or time.monotonic() > end:
                raise BenchError(f"{command[0]} does not mount: {errors.read_text().strip()}")
            time.sleep(0.02)
        yield server
    finally:
        with uninterrupted():
            clear(root)
            stop(server, timeout_s)


def stop(server, timeout_s):
    """The server ends by itself once its file system is unmounted."""
    try:
        server.wait(timeout_s)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
