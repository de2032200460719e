"""The servers of the hosts, started anew for each run in a network of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmark.host.tools import BenchError
from benchmark.jobs.dns import server as name_server
from benchmark.jobs.http import server as nginx
from benchmark.jobs.http.imperfect.hosts import (FAILING, GOOD, PADDING, PORT,
                                                 RETRY_AFTER_S, SILENT, SLOW)
from benchmark.jobs.http.imperfect.network import LOST, own_network

LATE_HOSTS = Path(__file__).with_name("late_hosts.py")

# More than ringmill opens.
NGINX_CONNECTIONS = 16_384


@dataclass
class Serving:
    """Running servers, and what dropping and silent hosts received, which is known at the end."""
    resolver: str  # address and port of the name server
    requests: dict = field(default_factory=dict)  # {address: paths}
    connects: dict = field(default_factory=dict)  # {address: how many}


@contextmanager
def serving(hosts, directory):
    with own_network(), name_server.serving_zone(zone(hosts), directory / "nsd") as names, \
            nginx.serving(directory / "nginx", virtual_hosts(hosts), NGINX_CONNECTIONS):
        state = Serving(names["SERVER"])
        with late_hosts(hosts, state):
            yield state


def zone(hosts):
    return name_server.HEAD + "".join(f"{host.label} A {host.address}\n" for host in hosts)


def virtual_hosts(hosts):
    """What a body says is what nginx has seen; it is compared with what was asked for."""
    good = f'return 200 "$host $server_addr$request_uri {PADDING}";'
    parts = [server([host for host in hosts if host.kind == GOOD], good)]
    failing = [host for host in hosts if host.kind == FAILING]
    for status in sorted({host.status for host in failing}):
        header = f"add_header Retry-After {RETRY_AFTER_S} always; " if status == 503 else ""
        parts.append(server([host for host in failing if host.status == status],
                            f"{header}return {status};"))
    return "".join(parts)


def server(hosts, does):
    listens = " ".join(f"listen {host.address}:{PORT} backlog=4096;" for host in hosts)
    return f"server {{ {listens} location / {{ {does} }} }}\n"


@contextmanager
def late_hosts(hosts, state):
    config = {"port": PORT, "padding": PADDING, "lost": LOST,
              "delays": {host.address: host.delay_s for host in hosts
                         if host.kind in (SILENT, SLOW)}}
    server = subprocess.Popen([sys.executable, "-I", "-S", str(LATE_HOSTS)], text=True,
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              start_new_session=True)
    try:
        json.dump(config, server.stdin)
        server.stdin.close()
        if not server.stdout.readline():
            raise BenchError(f"{LATE_HOSTS.name}: does not start")
        yield
    finally:
        server.terminate()
        report = server.stdout.read()
        server.wait()
    if server.returncode != 0:
        raise BenchError(f"{LATE_HOSTS.name}: ends with exit code {server.returncode}")
    received = json.loads(report)
    state.requests, state.connects = received["requests"], received["connects"]


