"""Mounted file systems."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

from benchmark.host.tools import tool


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


def mount_of(path):
    """The row of the file system that holds PATH."""
    path = os.path.realpath(path)
    holders = [row for row in mount_table() if os.path.commonpath([row[0], path]) == row[0]]
    return max(holders, key=lambda row: len(row[0]))


def file_system_of(path):
    """Type and options of the file system that holds PATH, without naming any directory."""
    _, kind, _, options = mount_of(path)
    return f"{kind} ({options})" if kind in ("ext4", "xfs", "btrfs") else kind


def unmount(mount_point, tries=50):
    """A process that was just killed may keep the mount busy: tries again before a lazy unmount."""
    for _ in range(tries):
        tool("umount", mount_point, check=False)
        if not os.path.ismount(mount_point):
            return
        time.sleep(0.1)
    tool("umount", "--lazy", mount_point)
