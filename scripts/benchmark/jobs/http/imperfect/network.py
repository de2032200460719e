"""A network that nothing leaves: a network namespace with a link on which every packet is lost."""

from __future__ import annotations

import ctypes
import os
from contextlib import contextmanager

from benchmark.host.tools import BenchError, tool

CLONE_NEWNET = 0x40000000  # of linux/sched.h

# A pair of virtual links. What is sent on the first arrives on the second, which has no address and
# does not answer ARP; the first one asks nobody for a link-layer address.
LOSSY, LOST = "lossy", "lost"
NETWORK = "192.0.2.254/24"


@contextmanager
def own_network():
    """Meanwhile, the calling thread and the processes that it starts are in a network of their own.
    The kernel removes it with the last of them."""
    if os.geteuid() != 0:
        raise BenchError("it takes root to make a network namespace")
    earlier = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        call("unshare", CLONE_NEWNET)
        try:
            make_links()
            yield
        finally:
            call("setns", earlier, CLONE_NEWNET)
    finally:
        os.close(earlier)


def make_links():
    tool("ip", "link", "set", "lo", "up")
    tool("ip", "link", "add", LOSSY, "type", "veth", "peer", "name", LOST)
    for link in (LOSSY, LOST):
        tool("ip", "link", "set", link, "arp", "off", "addrgenmode", "none")
    tool("ip", "address", "add", NETWORK, "dev", LOSSY)
    for link in (LOSSY, LOST):
        tool("ip", "link", "set", link, "up")


def call(function, *arguments):
    """A call of the C library. Python has these two since 3.12."""
    if getattr(ctypes.CDLL(None, use_errno=True), function)(*arguments) != 0:
        raise BenchError(f"{function}: {os.strerror(ctypes.get_errno())}")
