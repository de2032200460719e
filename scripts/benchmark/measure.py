"""One measured run of one command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass

from benchmark.host.tools import BenchError

# A child starts out with the peak memory of the process that spawned it, so contenders are spawned
# by this small program instead of by the benchmark itself: that keeps the lowest max RSS small.
LAUNCHER = """
import os, sys, time

def machine_busy_seconds():
    with open("/proc/stat") as stat:
        ticks = [int(field) for field in stat.readline().split()[1:]]
    # Neither idle nor iowait, and no guest time, which is in user time already.
    return (sum(ticks[:3]) + sum(ticks[5:8])) / os.sysconf("SC_CLK_TCK")

report, command, group = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
os.set_inheritable(report, False)
for procs in group:
    with open(procs, "w") as file:
        file.write(str(os.getpid()))
busy = machine_busy_seconds()
start = time.perf_counter()
pid = os.posix_spawn("/bin/sh", ["sh", "-c", command], os.environ)
_, status, usage = os.wait4(pid, 0)
wall = time.perf_counter() - start
others = machine_busy_seconds() - busy - usage.ru_utime - usage.ru_stime
fields = (os.waitstatus_to_exitcode(status), wall, usage.ru_utime, usage.ru_stime,
          usage.ru_maxrss, usage.ru_inblock, max(0.0, others), usage.ru_nvcsw, usage.ru_nivcsw)
os.write(report, " ".join(map(str, fields)).encode())
"""


@dataclass(frozen=True)
class Usage:
    """The resources that one command and its descendants used."""
    exit_code: int | None  # None: killed because it took too long
    wall_s: float
    user_s: float
    sys_s: float
    max_rss_kib: int
    blocks_read: int
    others_cpu_s: float  # used by everything else on the machine, kernel threads included
    voluntary_switches: int = 0  # a thread waited
    involuntary_switches: int = 0  # a thread was preempted

    @property
    def cpu_s(self):
        return self.user_s + self.sys_s

    @property
    def switches(self):
        return self.voluntary_switches + self.involuntary_switches


def run_measured(command, cwd, env, stdin, stdout, stderr, timeout_s, group=None):
    """Runs `sh -c COMMAND`, in the control group whose file with the process ids is GROUP."""
    receive, send = os.pipe()
    argv = [sys.executable, "-I", "-S", "-c", LAUNCHER, str(send), command]
    argv += [] if group is None else [str(group)]
    launcher = subprocess.Popen(argv, cwd=cwd, env=env, stdin=stdin, stdout=stdout, stderr=stderr,
                                pass_fds=[send], start_new_session=True)
    os.close(send)
    try:
        launcher.wait(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return Usage(None, timeout_s, 0.0, 0.0, 0, 0, 0.0)
    finally:
        if launcher.poll() is None:
            os.killpg(launcher.pid, signal.SIGKILL)
            launcher.wait()
        with os.fdopen(receive) as pipe:
            fields = pipe.read().split()
    if len(fields) != 9:
        raise BenchError(f"{command}: could not be started")
    code, wall, user, system, rss, blocks, others, voluntary, involuntary = fields
    return Usage(int(code), float(wall), float(user), float(system), int(rss), int(blocks),
                 float(others), int(voluntary), int(involuntary))


def rss_floor_kib(env):
    """Max RSS of a command that does nothing: smaller peaks cannot be distinguished from it."""
    null = subprocess.DEVNULL
    return run_measured("true", "/", env, null, null, null, 60).max_rss_kib
