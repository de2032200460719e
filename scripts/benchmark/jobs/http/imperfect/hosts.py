"""The hosts of a list, and their URLs. What a host does decides the correct rows of its URLs."""

from __future__ import annotations

import random
from array import array
from dataclasses import dataclass

COUNT = 1000

GOOD = "good"
REFUSING = "refusing"  # nothing listens
DROPPING = "dropping"  # its packets are lost
SILENT = "silent"  # it accepts connections and requests, and never responds
FAILING = "failing"  # it responds with a status of STATUSES
SLOW = "slow"  # it responds after DELAYS_S

PERCENT = {REFUSING: 1, DROPPING: 1, SILENT: 1, FAILING: 3, SLOW: 10}  # the others are good

STATUSES = (500, 502, 503)
DELAYS_S = (1.0, 3.0)  # of the first and the last slow host; the others are between them

# A response to 503 without Retry-After is a pause of up to 30 s before the next request: 1,000 URLs
# of such a host would take hours.
RETRY_AFTER_S = 1

PORT = 80

# Behind what a body says about its request, so that it has about 1 KiB.
PADDING = "x" * 980


@dataclass(frozen=True)
class Host:
    number: int  # among all hosts
    kind: str
    place: int  # among the hosts of its kind
    of: int  # which are so many

    @property
    def label(self):
        return f"{self.kind}{self.number:03}"

    @property
    def name(self):
        return f"{self.label}.example"

    @property
    def address(self):
        """Each host has one of its own. Those of dropping hosts are reserved for documentation."""
        if self.kind == DROPPING:
            return f"192.0.2.{self.place + 1}"
        return f"127.1.{self.number // 250}.{self.number % 250 + 1}"

    @property
    def status(self):
        return STATUSES[self.place % len(STATUSES)] if self.kind == FAILING else None

    @property
    def delay_s(self):
        if self.kind != SLOW:
            return None
        first, last = DELAYS_S
        return first + (last - first) * self.place / max(1, self.of - 1)

    def url(self, index):
        """Each line of a list has a URL of its own."""
        return f"http://{self.name}/{index}"

    def body(self, index):
        """It says which host was asked for, which one responded, and for which line."""
        return f"{self.name} {self.address}/{index} {PADDING}"


def all_hosts():
    kinds = [(kind, COUNT * percent // 100) for kind, percent in PERCENT.items()]
    kinds.append((GOOD, COUNT - sum(count for _, count in kinds)))
    each = [(kind, place, count) for kind, count in kinds for place in range(count)]
    return [Host(number, *one) for number, one in enumerate(each)]


def shuffled(urls, seed):
    """The number of the host of each URL. All hosts have equally many, or one more than others."""
    numbers = array("H", (number % COUNT for number in range(urls)))
    random.Random(seed).shuffle(numbers)
    return numbers
