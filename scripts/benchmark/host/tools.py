"""Helper commands, signals and messages."""

from __future__ import annotations

import shutil
import signal
import subprocess
from contextlib import contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]


class BenchError(Exception):
    """A problem of the set-up, with a message for the person who runs the benchmark."""


def tool(*argv, check=True, cwd=None, env=None):
    """Runs a helper command and returns its stdout. The command has a session of its own, so that
    Ctrl-C reaches only this script and never kills an unfinished `umount`."""
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
