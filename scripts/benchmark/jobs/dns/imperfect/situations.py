"""The names of a list and the behaviour of the servers; both decide the correct row of a name."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

ORDINARY = "n"

# The correct status of a name, by its first letter. Names with other letters have an address.
FAILURES = {"x": "TIMEOUT", "s": "SERVFAIL", "r": "REFUSED"}

GOOD, DEAD, SILENT = "good", "dead", "silent"

DELAY_S = 0.020  # the default delay of the server


@dataclass(frozen=True)
class Situation:
    most: int | None  # names; None: as many as the option says
    letter: str = ORDINARY
    percent: int = 100  # the share of names that begin with LETTER, spread evenly
    options: str = ""  # those of the server
    servers: tuple = (GOOD,)

    def length(self, names):
        return names if self.most is None else min(names, self.most)

    def names(self, count):
        return [name(self._letter_of(number), number) for number in range(count)]

    def _letter_of(self, number):
        return self.letter if number * self.percent % 100 < self.percent else ORDINARY

    def truth(self, found):
        """(status, address) of a name; the status None stands for any but NOERROR."""
        if GOOD not in self.servers:
            return None, None
        status = FAILURES.get(found[0], "NOERROR")
        return status, address_of(found) if status == "NOERROR" else None


def name(letter, number):
    return f"{letter}{number:07}.example"


def address_of(found):
    """The address that the server returns: from the checksum of the name in wire form."""
    labels = [label.encode() for label in found.split(".")]
    wire = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    checksum = zlib.crc32(wire)
    return f"10.{checksum >> 16 & 255}.{checksum >> 8 & 255}.{checksum & 255}"


SITUATIONS = {
    "never-1": Situation(20_000, "x", 1),
    "late-1": Situation(20_000, "w", 1, "--slow-ms 1000"),
    "later-1": Situation(20_000, "w", 1, "--slow-ms 3000"),
    "later-all": Situation(2_000, "w", 100, "--slow-ms 3000"),
    "servfail-3": Situation(20_000, "s", 3),
    "servfail-10": Situation(20_000, "s", 10),
    "servfail-20": Situation(20_000, "s", 20),
    "refused-3": Situation(20_000, "r", 3),
    "loss-10": Situation(20_000, "l", 100, "--loss-percent 10"),
    "loss-30": Situation(5_000, "l", 100, "--loss-percent 30"),
    "queue": Situation(20_000, options="--queue 100"),
    "rate": Situation(20_000, options="--rate 2000"),
    "dead": Situation(5, servers=(DEAD,)),
    "silent": Situation(5, servers=(SILENT,)),
    "one-of-three": Situation(20_000, servers=(DEAD, SILENT, GOOD)),
    "million": Situation(None, "x", 1),
}

QUEUE, RATE = 100, 2000  # as in the options above


def least_time(situation, names):
    """The seconds that a server with a limit needs for this many names."""
    if situation == "queue":
        return names * DELAY_S / QUEUE
    return max(0, names - RATE / 50) / RATE  # the burst is what comes in a fiftieth of a second
