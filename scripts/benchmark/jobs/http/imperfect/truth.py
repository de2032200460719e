"""Compares each row of ringmill with what the host of its URL did."""

from __future__ import annotations

import hashlib
import json

from benchmark.bench import WrongOutput
from benchmark.host.tools import say
from benchmark.jobs.http.imperfect.hosts import (DROPPING, FAILING, GOOD, PORT, REFUSING, SILENT,
                                                 SLOW)

FALSE = "false rows"
UNSENT = "timeouts without a request"
TIMEOUTS = "timeouts"

TIMEOUT_S = 5  # of an attempt, and by default of a connect

SHOWN_MAX = 5  # false rows


def is_served(row, host):
    body = host.body(row["index"]).encode()
    return (row.get("status") == 200 and "error" not in row and row["size"] == len(body)
            and row["digest"] == hashlib.sha256(body).hexdigest())


def is_served_late(row, host):
    return is_served(row, host) and row["first_byte_ns"] >= host.delay_s * 1e9


def has_its_status(row, host):
    return row.get("status") == host.status and "error" not in row


def is_refused(row, host):
    return fails(row, "connect", f"{host.address}:{PORT}: Connection refused")


def is_not_connected(row, host):
    return (fails(row, "connect", f"{host.address}:{PORT}: no reply within {TIMEOUT_S}s")
            and row["connect_ns"] >= TIMEOUT_S * 1e9)


def is_not_answered(row, _host):
    before = sum(row.get(key, 0) for key in ("resolve_ns", "park_ns", "connect_ns"))
    return (fails(row, "request", f"timed out after {TIMEOUT_S}s")
            and row["total_ns"] - before >= TIMEOUT_S * 1e9)


def fails(row, operation, message):
    return "status" not in row and row.get("error") == {"operation": operation, "message": message}


TRUTH = {GOOD: is_served, SLOW: is_served_late, FAILING: has_its_status, REFUSING: is_refused,
         DROPPING: is_not_connected, SILENT: is_not_answered}

HAS_NO_CONNECTION = (REFUSING, DROPPING)


def is_true(row, host):
    """Without retries, each row has one attempt."""
    remote = None if host.kind in HAS_NO_CONNECTION else f"{host.address}:{PORT}"
    return (row["url"] == host.url(row["index"]) and row["attempts"] == 1
            and row.get("remote") == remote and TRUTH[host.kind](row, host))


class TruthCheck:
    """Checks that each URL has one row, in order if that is promised, and counts false rows."""

    def __init__(self, hosts):
        """HOSTS: that of each URL"""
        self._hosts = hosts
        self.counts = {FALSE: 0, UNSENT: 0, TIMEOUTS: 0}
        self.last_good_end = None  # the offset of the end of the last row of a good host

    def check(self, contender, path, served):
        """SERVED: what silent hosts have received."""
        requests = {address: set(paths) for address, paths in served.requests.items()}
        connects = dict(served.connects)
        seen, count, end = bytearray(len(self._hosts)), 0, 0
        with open(path, "rb") as rows:
            for line in rows:
                end += len(line)
                row = parsed(line)
                index = row["index"]
                if index >= len(seen) or seen[index] or contender.ordered and index != count:
                    raise WrongOutput(f"prints a row twice or not in its order: {line!r}")
                seen[index] = 1
                count += 1
                host = self._hosts[index]
                self._note(row, host, line)
                if host.kind == GOOD:
                    self.last_good_end = end
                elif host.kind == SILENT:
                    self._note_timeout(f"/{index}" in requests[host.address])
                elif host.kind == DROPPING:
                    connects[host.address] = connects.get(host.address, 0) - 1
                    self._note_timeout(connects[host.address] >= 0)
        if count != len(self._hosts):
            raise WrongOutput(f"prints {count:,} rows, not {len(self._hosts):,}")

    def _note(self, row, host, line):
        try:
            if is_true(row, host):
                return
        except KeyError:
            pass  # a member is missing
        self.counts[FALSE] += 1
        if self.counts[FALSE] <= SHOWN_MAX:
            say(f"false row of a {host.kind} host at {host.address}: {line.decode().rstrip()}")

    def _note_timeout(self, was_sent):
        self.counts[TIMEOUTS] += 1
        self.counts[UNSENT] += not was_sent


def parsed(line):
    try:
        row = json.loads(line)
        if isinstance(row["index"], int):
            return row
    except (ValueError, KeyError, TypeError):
        pass
    raise WrongOutput(f"prints a line that is not a row: {line!r}")
