"""The endpoints of a list, and what each of them does."""

from __future__ import annotations

import random
from dataclasses import dataclass

OPEN, REFUSED, TIMEOUT = "open", "refused", "timeout"

# None of them is a local port of a connection, by the kernel's default range.
PORTS = range(10_000, 10_100)


@dataclass(frozen=True)
class Endpoints:
    truth: list  # (endpoint, status) in the order of the list
    accepted: bool = False  # a server accepts the connections; else they stay in the queue

    @property
    def hosts(self):
        return sorted({endpoint.partition(":")[0] for endpoint, _ in self.truth})

    @property
    def ports(self):
        return sorted({endpoint.partition(":")[2] for endpoint, _ in self.truth})


def mixed(count, seed, timeout_percent=1):
    """Every port of many hosts, since nmap scans hosts × ports; COUNT is rounded to whole hosts. Half
    of them are open, TIMEOUT_PERCENT do not reply, and the others refuse."""
    hosts = max(1, round(count / len(PORTS)))
    endpoints = [f"{host(number)}:{port}" for number in range(hosts) for port in PORTS]
    total = len(endpoints)
    statuses = [OPEN] * (total // 2) + [TIMEOUT] * (total * timeout_percent // 100)
    statuses += [REFUSED] * (total - len(statuses))
    chance = random.Random(seed)
    chance.shuffle(endpoints)
    chance.shuffle(statuses)
    return Endpoints(list(zip(endpoints, statuses)))


def answered(count, seed):
    return mixed(count, seed, timeout_percent=0)


def one_port(count, _seed):
    """The same open endpoint again and again, a fifth more often than COUNT."""
    return Endpoints([(f"{host(0)}:{PORTS[0]}", OPEN)] * (count * 6 // 5), accepted=True)


def host(number):
    return f"127.1.{number // 250}.{number % 250 + 1}"
