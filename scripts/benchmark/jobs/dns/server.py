"""The name server that is asked: NSD, with a zone of numbered names."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager

from benchmark.host.tools import BenchError

# adns cannot ask at another port than 53; nothing else is likely to listen at this address.
PLAIN_ADDRESS = "127.9.9.9"

HEAD = """\
$ORIGIN example.
$TTL 300
@ SOA ns hostmaster 1 3600 600 86400 60
@ NS ns
ns A 127.0.0.1
"""


def name(number):
    return f"n{number:07}.example"


def answer(number):
    """(status, aliases, address) of a numbered name. Of ten one is missing, one is an alias of the
    next that has an address, and one has records of another type alone."""
    if number % 10 == 0:
        return "NXDOMAIN", None, None
    if number % 10 == 1:
        return "NOERROR", name(number + 2), address(number + 2)
    if number % 10 == 2:
        return "NODATA", None, None
    return "NOERROR", None, address(number)


def address(number):
    return f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"


def zone(names):
    lines = [HEAD]
    for number in range(names):
        label = f"n{number:07}"
        status, alias, found = answer(number)
        if status == "NODATA":
            lines.append(f'{label} TXT "no address"\n')
        elif alias:
            lines.append(f"{label} CNAME {alias}.\n")
        elif found:
            lines.append(f"{label} A {found}\n")
    return "".join(lines)


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def can_have_plain_address():
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((PLAIN_ADDRESS, 53))
            return True
    except OSError:
        return False


@contextmanager
def serving(names, directory):
    """A running server; gives what contenders find in their environment."""
    program = shutil.which("nsd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if program is None:
        raise BenchError("nsd: not installed; scripts/bench setup installs it")
    directory.mkdir(exist_ok=True)
    (directory / "example.zone").write_text(zone(names))
    port = free_port()
    addresses = [f"127.0.0.1@{port}"]
    addresses += [f"{PLAIN_ADDRESS}@53"] if can_have_plain_address() else []
    (directory / "nsd.conf").write_text("\n".join([
        "server:", *(f" ip-address: {address}" for address in addresses),
        f" zonesdir: {directory}", ' database: ""', f" pidfile: {directory}/pid",
        f" xfrdfile: {directory}/xfrd", f" xfrdir: {directory}",
        f" zonelistfile: {directory}/zones", ' username: ""', " server-count: 1",
        " rrl-ratelimit: 0", "remote-control:", " control-enable: no",
        "zone:", " name: example", " zonefile: example.zone", ""]))
    (directory / "servers").write_text(f"127.0.0.1:{port}\n")
    server = subprocess.Popen([program, "-d", "-c", directory / "nsd.conf"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        wait_until_it_answers(port)
        env = {"SERVER": f"127.0.0.1:{port}", "SERVERS": str(directory / "servers")}
        if len(addresses) > 1:
            env["ADNS_CONFIG"] = f"nameserver {PLAIN_ADDRESS}"
        yield env
    finally:
        server.terminate()
        server.wait()


def wait_until_it_answers(port):
    query = b"\x12\x34\0\0\0\x01\0\0\0\0\0\0\x07example\0\0\x06\0\x01"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.settimeout(0.2)
        probe.connect(("127.0.0.1", port))
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                probe.send(query)
                if len(probe.recv(512)) > len(query):
                    return
            except OSError:
                time.sleep(0.05)
    raise BenchError("nsd does not answer")
