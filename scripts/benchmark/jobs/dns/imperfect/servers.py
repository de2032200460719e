"""The servers of a situation, started anew for each run."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
from contextlib import ExitStack, contextmanager

from benchmark.host.tools import BenchError
from benchmark.jobs.dns.imperfect.situations import DEAD, GOOD
from benchmark.jobs.dns.server import free_port

PROGRAM = "imperfect_dns"


class Serving:
    """Running servers."""

    def __init__(self):
        self.addresses = []
        self.counts = None  # those of the good server, after its end


@contextmanager
def serving(situation, env):
    state = Serving()
    with ExitStack() as stack:
        for kind in situation.servers:
            if kind == GOOD:
                options = situation.options.split()
                address = stack.enter_context(answering(options, env, state))
            elif kind == DEAD:
                address = f"127.0.0.1:{free_port()}"
            else:
                address = f"127.0.0.1:{stack.enter_context(silent_port())}"
            state.addresses.append(address)
        yield state


@contextmanager
def answering(options, env, state):
    path = shutil.which(PROGRAM, path=env["PATH"])
    if path is None:
        raise BenchError(f"{PROGRAM}: not built")
    server = subprocess.Popen([path, *options], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              text=True, start_new_session=True)
    try:
        address = server.stdout.readline().strip()
        if not address:
            raise BenchError(f"{PROGRAM} {' '.join(options)}: does not start")
        yield address
    finally:
        server.send_signal(signal.SIGTERM)
        output, _ = server.communicate()
    state.counts = json.loads(output)


@contextmanager
def silent_port():
    """A port that receives queries and never answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]
