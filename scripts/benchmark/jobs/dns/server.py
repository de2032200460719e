"""The name servers: NSD, with a zone of numbered names, and Unbound in front of it."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager

from benchmark.host.tools import BenchError

# adns can only use port 53; no other program is likely to listen at this address.
PLAIN_ADDRESS = "127.9.9.9"

HEAD = """\
$ORIGIN example.
$TTL 86400
@ SOA ns hostmaster 1 3600 600 86400 86400
@ NS ns
ns A 127.0.0.1
"""


# Labels before the one with the number, so that names differ in length, as real ones do.
PREFIXES = ["", "www.", "a.", "mail.", "cdn.eu-west-1.", "api.", "", "static.assets.", "www.",
            "autodiscover.", "x7."]


def name(number):
    return f"{label(number)}.example"


def label(number):
    return f"{PREFIXES[number % len(PREFIXES)]}n{number:07}"


def answer(number):
    """(status, alias, address) of a numbered name. In ten names, one is missing, one is an alias of
    the next that has an address, and one has only records of another type."""
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
        status, alias, found = answer(number)
        if status == "NODATA":
            lines.append(f'{label(number)} TXT "no address"\n')
        elif alias:
            lines.append(f"{label(number)} CNAME {alias}.\n")
        elif found:
            lines.append(f"{label(number)} A {found}\n")
    return "".join(lines)


def free_port():
    """A port for datagrams and connections."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams, \
                socket.socket(socket.AF_INET, socket.SOCK_STREAM) as connections:
            datagrams.bind(("127.0.0.1", 0))
            try:
                connections.bind(datagrams.getsockname())
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                return datagrams.getsockname()[1]


def can_have_plain_address():
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((PLAIN_ADDRESS, 53))
            return True
    except OSError:
        return False


def serving(names, directory):
    """A running server with this many numbered names; yields variables for the environment of the
    contenders."""
    return serving_zone(zone(names), directory)


@contextmanager
def serving_zone(text, directory):
    """The same with a zone of its own: `example`."""
    directory.mkdir(exist_ok=True)
    (directory / "example.zone").write_text(text)
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
    with running("nsd", directory / "nsd.conf", port):
        env = environment(port, directory / "servers")
        if len(addresses) > 1:
            env["ADNS_CONFIG"] = f"nameserver {PLAIN_ADDRESS}"
        yield env


@contextmanager
def caching(server, directory):
    """A running cache in front of SERVER; yields variables for the environment of the contenders."""
    port = free_port()
    (directory / "unbound.conf").write_text("\n".join([
        "server:", f" interface: 127.0.0.1@{port}", " access-control: 127.0.0.0/8 allow",
        ' username: ""', ' chroot: ""', f" directory: {directory}", ' pidfile: ""',
        " use-syslog: no", " num-threads: 1", ' module-config: "iterator"',
        " do-not-query-localhost: no", " msg-cache-size: 512m", " rrset-cache-size: 1g",
        " so-rcvbuf: 4m",
        "remote-control:", " control-enable: no",
        "stub-zone:", " name: example", f" stub-addr: {server.replace(':', '@')}", ""]))
    with running("unbound", directory / "unbound.conf", port):
        yield environment(port, directory / "cache")


def environment(port, servers):
    servers.write_text(f"127.0.0.1:{port}\n")
    return {"SERVER": f"127.0.0.1:{port}", "PORT": str(port), "SERVERS": str(servers)}


@contextmanager
def running(name, configuration, port):
    program = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if program is None:
        raise BenchError(f"{name}: not installed; scripts/bench setup installs it")
    server = subprocess.Popen([program, "-d", "-c", configuration],
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        wait_until_it_answers(name, port)
        yield
    finally:
        server.terminate()
        server.wait()


def wait_until_it_answers(name, port):
    query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x07example\0\0\x06\0\x01"
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
    raise BenchError(f"{name} does not answer")
