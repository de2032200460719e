"""Facts about the machine, for the report."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from pathlib import Path

from benchmark.host.tools import REPOSITORY, tool


def machine_facts():
    info = Path("/proc/cpuinfo").read_text()
    flags = set(" ".join(re.findall(r"^(?:flags|Features)\s*:(.*)$", info, re.M)).split())
    known = ["sha_ni", "sha2", "ssse3", "avx2", "avx512f", "neon", "asimd"]
    memory_kib = int(re.search(r"^MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text()).group(1))
    return {"Kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
            "CPU": f"{cpu_model()} ({' '.join(flag for flag in known if flag in flags)})",
            "Cores usable": str(len(os.sched_getaffinity(0))),
            "Frequency governor": governor(),
            "Memory": f"{memory_kib / (1 << 20):.1f} GiB",
            "Distribution": distribution()}


def cpu_model():
    match = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    return match.group(1).strip() if match else platform.machine()


def cpu_short():
    """The CPU as a part of a directory name, for example `intel-xeon-2c`."""
    text = re.sub(r"\((r|tm)\)|@.*|\b(cpu|processor)\b", " ", cpu_model().lower())
    name = "-".join(re.findall(r"[a-z0-9]+", text))
    return f"{name}-{len(os.sched_getaffinity(0))}c"


def governor():
    path = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    return path.read_text().strip() if path.exists() else "none to be seen"


def distribution():
    path = Path("/etc/os-release")
    match = path.exists() and re.search(r'^PRETTY_NAME="?(.*?)"?$', path.read_text(), re.M)
    return match.group(1) if match else "unknown"


def git_describe():
    text = tool("git", "-C", REPOSITORY, "describe", "--always", "--dirty", "--tags", check=False)
    return f"git describe: {text.strip() or 'no commit'}"


def version_line(argv, env):
    """The first line that a program prints about its version, on stdout or stderr."""
    try:
        done = subprocess.run(argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace", timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return next((line.strip() for line in done.stdout.splitlines() if line.strip()), "unknown")
