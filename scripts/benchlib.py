"""What the benchmark scripts share: measured runs, machine facts, statistics, CSV and Markdown.
Python 3.9 or later, standard library only."""

from __future__ import annotations

import csv
import json
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MIB = 1 << 20
REPOSITORY = Path(__file__).resolve().parent.parent


class BenchError(Exception):
    """A set-up problem, worded for the person who runs the benchmark."""


# ---------------------------------------------------------------------------------------------
# Helper commands and signals


def tool(*argv, check=True, cwd=None, env=None):
    """Runs a helper command and returns its stdout. It gets a session of its own, so that Ctrl-C
    reaches this script alone and never kills an `umount` half way."""
    command = [str(arg) for arg in argv]
    try:
        done = subprocess.run(command, cwd=cwd, env=env, text=True, errors="replace",
                              start_new_session=True, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except FileNotFoundError:
        raise BenchError(f"{command[0]}: not installed") from None
    if check and done.returncode != 0:
        raise BenchError(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def raise_on_termination():
    """Makes SIGTERM and SIGHUP unwind the script the way Ctrl-C does, so that clean-up runs."""
    def interrupt(*_):
        raise KeyboardInterrupt
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)


@contextmanager
def uninterrupted():
    """For clean-up: a second Ctrl-C waits, and so cannot leave a mount behind."""
    signals = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    earlier = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, earlier)


def say(text):
    print(text, flush=True)


def installed(program, path=None):
    return shutil.which(program, path=path) is not None


def cargo_executables(*selection):
    """`cargo build --release SELECTION`; returns {target name: path of the executable}."""
    command = ["cargo", "build", "--release", *selection,
               "--message-format=json-render-diagnostics"]
    try:
        done = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    except FileNotFoundError:
        raise BenchError("cargo: not installed") from None
    if done.returncode != 0:
        raise BenchError(f"cargo build --release {' '.join(selection)} failed")
    messages = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {message["target"]["name"]: Path(message["executable"]) for message in messages
            if message.get("reason") == "compiler-artifact" and message.get("executable")}


# ---------------------------------------------------------------------------------------------
# One measured run

# A child starts out with the peak memory of the process that spawned it, so contenders are spawned
# by this small program instead of by the benchmark itself: that keeps the floor of max RSS low.
LAUNCHER = """
import os, sys, time

def machine_busy_seconds():
    with open("/proc/stat") as stat:
        ticks = [int(field) for field in stat.readline().split()[1:]]
    # Neither idle nor iowait, and no guest time, which is in user time already.
    return (sum(ticks[:3]) + sum(ticks[5:8])) / os.sysconf("SC_CLK_TCK")

report = int(sys.argv[1])
os.set_inheritable(report, False)
busy = machine_busy_seconds()
start = time.perf_counter()
pid = os.posix_spawn("/bin/sh", ["sh", "-c", sys.argv[2]], os.environ)
_, status, usage = os.wait4(pid, 0)
wall = time.perf_counter() - start
others = machine_busy_seconds() - busy - usage.ru_utime - usage.ru_stime
fields = (os.waitstatus_to_exitcode(status), wall, usage.ru_utime, usage.ru_stime,
          usage.ru_maxrss, usage.ru_inblock, max(0.0, others))
os.write(report, " ".join(map(str, fields)).encode())
"""


@dataclass(frozen=True)
class Usage:
    """What one command and its descendants used."""
    exit_code: int  # None: killed because it took too long
    wall_s: float
    user_s: float
    sys_s: float
    max_rss_kib: int
    blocks_read: int
    others_cpu_s: float  # used by everything else on the machine, kernel threads included

    @property
    def cpu_s(self):
        return self.user_s + self.sys_s


def run_measured(command, cwd, env, stdin, stdout, stderr, timeout_s):
    """Runs `sh -c COMMAND` and returns its Usage."""
    receive, send = os.pipe()
    argv = [sys.executable, "-I", "-S", "-c", LAUNCHER, str(send), command]
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
    if len(fields) != 7:
        raise BenchError(f"{command}: could not be started")
    code, wall, user, system, rss, blocks, others = fields
    return Usage(int(code), float(wall), float(user), float(system), int(rss), int(blocks),
                 float(others))


def rss_floor_kib(env):
    """Max RSS of a command that does nothing: smaller peaks cannot be told apart from it."""
    null = subprocess.DEVNULL
    return run_measured("true", "/", env, null, null, null, 60).max_rss_kib


# ---------------------------------------------------------------------------------------------
# Endless lists in, endless comparisons out: for memory measurements, where no file may hold either


def pieces(block, items):
    """The bytes of ITEMS lines, BLOCK over and over, a good 1 MiB at a time."""
    whole, rest = divmod(items, len(block))
    text = b"".join(block)
    at_once = max(1, MIB // len(text))
    many = text * at_once
    for _ in range(whole // at_once):
        yield many
    yield text * (whole % at_once) + b"".join(block[:rest])


@contextmanager
def feeding(block, items):
    """The read end of a pipe that a thread fills with the list."""
    read, write = os.pipe()

    def feed():
        try:
            with os.fdopen(write, "wb") as pipe:
                for piece in pieces(block, items):
                    pipe.write(piece)
        except BrokenPipeError:
            pass  # the reader gave up; its exit code says so

    thread = threading.Thread(target=feed, daemon=True)
    thread.start()
    try:
        yield read
    finally:
        os.close(read)
        thread.join()


class Comparison:
    def __init__(self):
        self.wrong = None


@contextmanager
def comparing(block, items):
    """The write end of a pipe whose other end is compared with what must come out."""
    read, write = os.pipe()
    comparison = Comparison()

    def compare():
        with os.fdopen(read, "rb") as pipe:
            for expected in pieces(block, items):
                if pipe.read(len(expected)) != expected:
                    comparison.wrong = "does not print the expected lines in the expected order"
                    break
            while pipe.read(MIB):
                comparison.wrong = comparison.wrong or "prints more than one line per item"

    thread = threading.Thread(target=compare, daemon=True)
    thread.start()
    try:
        with os.fdopen(write, "wb") as pipe:
            yield pipe, comparison
    finally:
        thread.join()


# ---------------------------------------------------------------------------------------------
# Facts for the report


def machine_facts():
    info = Path("/proc/cpuinfo").read_text()
    flags = set(" ".join(re.findall(r"^(?:flags|Features)\s*:(.*)$", info, re.M)).split())
    known = ["sha_ni", "sha2", "ssse3", "avx2", "avx512f", "neon", "asimd"]
    memory_kib = int(re.search(r"^MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text()).group(1))
    return {"Kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
            "CPU": f"{cpu_model()} ({' '.join(flag for flag in known if flag in flags)})",
            "Cores usable": str(len(os.sched_getaffinity(0))),
            "Memory": f"{memory_kib / (1 << 20):.1f} GiB",
            "Distribution": distribution()}


def cpu_model():
    match = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    return match.group(1).strip() if match else platform.machine()


def cpu_short():
    """The CPU as a piece of a directory name, for example `intel-xeon-2c`."""
    text = re.sub(r"\((r|tm)\)|@.*|\b(cpu|processor)\b", " ", cpu_model().lower())
    name = "-".join(re.findall(r"[a-z0-9]+", text))
    return f"{name}-{len(os.sched_getaffinity(0))}c"


def distribution():
    path = Path("/etc/os-release")
    match = path.exists() and re.search(r'^PRETTY_NAME="?(.*?)"?$', path.read_text(), re.M)
    return match.group(1) if match else "unknown"


def git_describe():
    text = tool("git", "-C", REPOSITORY, "describe", "--always", "--dirty", "--tags", check=False)
    return f"git describe: {text.strip() or 'no commit'}"


def version_line(argv, env):
    """The first line a program says about its version, wherever it prints it."""
    try:
        done = subprocess.run(argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace", timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return next((line.strip() for line in done.stdout.splitlines() if line.strip()), "unknown")


# ---------------------------------------------------------------------------------------------
# Numbers and files


def median(values):
    return statistics.median(values)


def spread(values, form="{:.2f}"):
    """`min / median / max` as one table cell."""
    return " / ".join(form.format(value) for value in (min(values), median(values), max(values)))


def markdown_table(header, rows):
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(cell(value) for value in line) + " |\n" for line in lines)


def cell(value):
    return str(value).replace("|", "\\|")


class ResultDirectory:
    """`PARENT/<date>-<cpu>-<name>/` with raw.csv and summary.md, made when there is something to
    write. No path of the machine gets in."""

    def __init__(self, parent, name, columns, private_paths):
        self.path = None
        self._parent = parent
        self._stem = f"{time.strftime('%Y-%m-%d')}-{cpu_short()}-{name}"
        self._columns = columns
        texts = {str(path) for path in private_paths} - {"/", "."}
        self._private = sorted(texts, key=len, reverse=True)  # a directory after what is in it

    def _make(self):
        """A second run on one day gets a number rather than overwriting the first."""
        number = 1
        while self.path is None:
            path = self._parent / (self._stem if number == 1 else f"{self._stem}-{number}")
            try:
                path.mkdir(parents=True)
                self.path = path
            except FileExistsError:
                number += 1

    def row(self, values):
        """Written at once, so that an interrupted benchmark keeps what it measured."""
        first = self.path is None
        self._make()
        with open(self.path / "raw.csv", "a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if first:
                writer.writerow(self._columns)
            writer.writerow(self._scrub(str(values.get(column, ""))) for column in self._columns)

    def summary(self, text):
        self._make()
        (self.path / "summary.md").write_text(self._scrub(text), encoding="utf-8")

    def _scrub(self, text):
        for path in self._private:
            text = text.replace(path, "…")
        return text
