"""A limit on the reads per second that a command may make on a disk, like that of small cloud volumes:
a control group, version 1 (blkio) or 2 (io), that exists as long as the command.

The limit is set on the disk behind the loop device, not on the loop device itself: there, requests
that the block layer has merged count once, as they do for a cloud volume. It slows down no other
process on the machine."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from pathlib import Path

from benchmark.host.mounts import mount_of, mount_table
from benchmark.host.tools import BenchError, uninterrupted

GROUP = "ringmill-bench"


class BlkioController:
    """Control groups, version 1."""

    name = "control group version 1, blkio.throttle.read_iops_device"

    def __init__(self, root):
        self._group = Path(root, GROUP)

    def open(self, disk, reads_per_second):
        self._group.mkdir(exist_ok=True)
        limits = self._group / "blkio.throttle.read_iops_device"
        limits.write_text(f"{disk} {reads_per_second}\n")
        return self._group / "cgroup.procs"

    def close(self):
        remove_group(self._group)


class IoController:
    """Control groups, version 2. The controller may have to be enabled for child groups first."""

    name = "control group version 2, io.max"

    def __init__(self, root):
        self._root = Path(root)
        self._group = self._root / GROUP
        self._enabled = False

    def open(self, disk, reads_per_second):
        switch = self._root / "cgroup.subtree_control"
        if "io" not in switch.read_text().split():
            switch.write_text("+io\n")
            self._enabled = True
        self._group.mkdir(exist_ok=True)
        (self._group / "io.max").write_text(f"{disk} riops={reads_per_second}\n")
        return self._group / "cgroup.procs"

    def close(self):
        remove_group(self._group)
        if self._enabled:
            (self._root / "cgroup.subtree_control").write_text("-io\n")
            self._enabled = False


def remove_group(group, tries=50):
    """Tries again, because a process that was just killed may still be in the group."""
    for _ in range(tries):
        try:
            group.rmdir()
            return
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.1)
    raise BenchError(f"{group}: cannot be removed, as processes are still in it")


def find_controller(mounts=None):
    """A controller that can limit reads, or None."""
    for point, kind, _, options in mount_table() if mounts is None else mounts:
        if kind == "cgroup" and "blkio" in options.split(","):
            throttle = Path(point, "blkio.throttle.read_iops_device")
            return BlkioController(point) if throttle.exists() else None
        if kind == "cgroup2":
            controllers = Path(point, "cgroup.controllers")
            if controllers.exists() and "io" in controllers.read_text().split():
                return IoController(point)
    return None


def disk_behind(path):
    """`major:minor` of the whole disk that holds PATH, or None where that is not one disk."""
    number = os.stat(path).st_dev
    if os.major(number) == 0:  # btrfs and others hide the device; the source of the mount may be its name
        try:
            number = os.stat(mount_of(path)[2]).st_rdev
        except OSError:
            return None
    device = Path("/sys/dev/block", f"{os.major(number)}:{os.minor(number)}")
    if not device.exists():
        return None
    whole = device.resolve()
    if (whole / "partition").exists():
        whole = whole.parent
    return (whole / "dev").read_text().strip()


class ReadLimit:
    """READS_PER_SECOND on the disk behind PATH."""

    def __init__(self, path, reads_per_second, controller=None):
        self.reads_per_second = reads_per_second
        self._controller = controller or find_controller()
        if self._controller is None:
            raise BenchError("no control group can limit reads here (neither blkio nor io)")
        self._disk = disk_behind(path)
        if self._disk is None:
            raise BenchError("the data is not on a single disk whose reads could be limited")

    @property
    def means(self):
        return self._controller.name

    @contextmanager
    def group(self):
        """The file to which a process writes its id; it is limited from then on."""
        try:
            try:
                procs = self._controller.open(self._disk, self.reads_per_second)
            except OSError as error:
                raise BenchError(f"reads cannot be limited here: {error.strerror} "
                                 f"({Path(error.filename or '?').name})") from None
            yield procs
        finally:
            with uninterrupted():
                self._controller.close()
