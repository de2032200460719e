"""Places for data: an ext4 image on a loop device, or a plain directory."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from benchmark.host.mounts import (file_system_of, mount_options, mount_points_of, unmount)
from benchmark.host.tools import BenchError, tool
from benchmark.proof import SECTOR_BYTES

MIB = 1 << 20
PAGE = 4096


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
        self.root = self.warmed_at = stem.with_name(stem.name + ".dir")
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

    def before_run(self):
        pass

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
    """An ext4 image on a loop device with direct I/O, so that the file system below it caches
    nothing. Mounted read-only, except while it is being filled."""

    def __init__(self, stem):
        self.image = stem.with_name(stem.name + ".ext4")
        self.marker = stem.with_name(stem.name + ".ext4.json")
        self.root = self.warmed_at = stem.with_name("mnt")
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
        # Without the lazy initialisation of tables, which would go on during the runs.
        # Fixed identifiers make the order of `find` the same for the same seed.
        options = f"nodiscard,lazy_itable_init=0,lazy_journal_init=0,hash_seed={identifier}"
        tool("mkfs.ext4", "-q", "-F", "-m", "0", "-b", PAGE, "-I", "256", "-N", inodes,
             "-U", identifier, "-E", options, self.image)
        self._mount("rw")

    def seal(self):
        """After filling: writes everything to the device, which is read-only from now on."""
        self.close()
        self.attach()

    def attach(self):
        """(Re)mounts with a new loop device, so that nothing of the data is cached."""
        self.close()
        self._mount("ro")

    def before_run(self):
        pass

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
        """Unmounts and detaches all loop devices of the image, also those of an earlier run."""
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


def require_space(directory, needed_bytes):
    free = shutil.disk_usage(directory).free
    if free < needed_bytes:
        raise BenchError(f"{directory}: {needed_bytes / 1e9:.1f} GB needed, {free / 1e9:.1f} GB "
                         "free; choose another --work directory or less data")
