"""A network namespace in which the endpoints of a list are open, closed or silent."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack, contextmanager

from benchmark.host.tools import BenchError
from benchmark.jobs.connect import listeners
from benchmark.jobs.connect.endpoints import OPEN, TIMEOUT

BEFORE_SERVER = 'ip link set lo up && exec "$@"'

# A silent socket has two descriptors, and not everyone may have many.
SOCKETS_PER_SERVER = 8000


@contextmanager
def serving(endpoints):
    """Yields the words that, put before a command, run it in the namespace. At the end the namespace
    is removed, with all connections in TIME_WAIT."""
    is_root = os.geteuid() == 0
    lines = list(sockets(endpoints))
    first, *others = [lines[start:start + SOCKETS_PER_SERVER]
                      for start in range(0, max(1, len(lines)), SOCKETS_PER_SERVER)]
    unshare = ["unshare", *([] if is_root else ["--user", "--map-root-user"]), "--net",
               "sh", "-c", BEFORE_SERVER, "sh"]
    with ExitStack() as stack:
        owner = stack.enter_context(listening(unshare, first))
        users = [] if is_root else ["--user", "--preserve-credentials"]
        inside = ["nsenter", "--target", str(owner.pid), "--net", *users]
        for more in others:
            stack.enter_context(listening(inside, more))
        yield inside


@contextmanager
def listening(before, lines):
    """A process with the sockets of LINES, started by the words BEFORE."""
    argv = [*before, sys.executable, "-I", "-S", listeners.__file__]
    try:
        server = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, text=True, start_new_session=True)
    except FileNotFoundError:
        raise BenchError(f"{argv[0]}: not installed") from None
    try:
        start(server, lines)
        yield server
    finally:
        server.kill()
        server.communicate()


def start(server, lines):
    try:
        server.stdin.write("".join(f"{line}\n" for line in lines) + "\n")
        server.stdin.flush()
    except BrokenPipeError:
        pass  # what it says on stderr is the reason
    if server.stdout.readline() != "ready\n":
        messages = server.stderr.read().strip().splitlines() or ["no message"]
        raise BenchError(f"cannot listen in a network namespace: {messages[-1]}")


def sockets(endpoints):
    """The lines for listeners.py, each once."""
    kinds = {OPEN: "accepting" if endpoints.accepted else "queueing", TIMEOUT: "silent"}
    lines = [f"{kinds[status]} {endpoint.replace(':', ' ')}"
             for endpoint, status in endpoints.truth if status in kinds]
    return dict.fromkeys(lines)
