"""How exactly rates and pauses are kept, by nginx's log, and whether there may be more connections to a
port than there are local ports."""

from __future__ import annotations

import dataclasses
import os
import time

from benchmark.bench import WrongOutput
from benchmark.jobs.http.rows import good_rows
from benchmark.jobs.http.server import SIZES, free_ports, serving
from benchmark.list_scene import ListScene
from benchmark.model import Case, Contender, CountTarget

RATE, RATE_ITEMS = 100, 1100
PAUSE_S, PAUSE_ITEMS = 1, 30
CONNECTIONS = 60_000

DEVIATION = "deviation from the rate, 1/1000"
BUSIEST = "requests in the busiest second"
LONGEST = "largest deviation of a pause, ms"


def ringmill(*flags):
    def with_engine(engine):
        command = " ".join(["ringmill http", f"--engine {engine}", *flags])
        return Contender(command, command, ("ringmill",), "rows", ordered=True)

    return [with_engine("uring"), with_engine("threads")]


def case(name, title, flags, *counts):
    return Case(name, title, name, ringmill(*flags), variants=("urls",), varies="list", unit="URLs",
                counts=counts, timed=not counts)


RATES = case("request-rate", f"{RATE_ITEMS} URLs at {RATE} requests per second",
             [f"--rate-per-host {RATE}"], DEVIATION, BUSIEST)
PAUSES = case("pauses", f"{PAUSE_ITEMS} URLs of a host with Retry-After: {PAUSE_S}", ["--retries 50"],
              LONGEST)
PORTS = case("connections", f"{CONNECTIONS:,} connections to a port",
             ["--per-host 256", "--in-flight 256"])

CASES = [RATES, PAUSES, PORTS]

TARGETS = [
    CountTarget("rate: ± 1 %", RATES.name, DEVIATION, 10),
    # A second in the log, which has milliseconds, may contain both its bounds.
    CountTarget("rate: no burst above it", RATES.name, BUSIEST, RATE + 1),
    CountTarget("Retry-After: ± 50 ms", PAUSES.name, LONGEST, 50),
]


def perform(bench, cases):
    place = bench.workplace
    log = place.output / "access.log"
    kept, closed = free_ports(2)
    servers = (
        f"log_format times '$msec $status'; limit_req_zone $server_port zone=one:1m rate=20r/s;"
        f"server {{ listen 127.0.0.1:{kept} backlog=4096; access_log {log} times;"
        f" location /limited {{ alias {place.output}/nginx/files/1k; limit_req zone=one;"
        f" limit_req_status 429; error_page 429 @slow; }}"
        f" location @slow {{ add_header Retry-After {PAUSE_S} always; return 429; }} }}"
        f"server {{ listen 127.0.0.1:{closed} backlog=4096; keepalive_timeout 0; }}")
    lists = {RATES.name: (RATE_ITEMS, f"{kept}/1k", of_rate),
             PAUSES.name: (PAUSE_ITEMS, f"{kept}/limited", of_pauses),
             PORTS.name: (CONNECTIONS, f"{closed}/1k", None)}
    with serving(place.output / "nginx", servers):
        for one in cases:
            items, url, counts = lists[one.name]
            scene = Scene(items, f"http://127.0.0.1:{url}", counts, log, place, bench.options.run_timeout)
            bench.run_case(one, f"{items:,} URLs", scene)


class Scene(ListScene):
    """A list that repeats one URL, and what the log says of the requests."""

    def __init__(self, items, url, counts, log, place, timeout_s):
        super().__init__(items, place, place.env, timeout_s)
        self._counts, self._log = counts, log
        place.list.write_text(f"{url}\n" * items)

    def run(self, contender):
        os.truncate(self._log, 0)
        run = super().run(contender)
        if run.wrong or self._counts is None:
            return run
        return dataclasses.replace(run, counts=self._counts(logged(self._log, self.items)))

    def check(self, _contender, path):
        good = good_rows(path, SIZES["1k"])
        if good != self.items:
            raise WrongOutput(f"{good:,} good responses, not {self.items:,}")


def logged(log, good):
    """Times and statuses, once so many responses with status 200 are in the log."""
    end = time.monotonic() + 10
    while True:
        entries = sorted((float(at), status) for at, status in map(str.split, log.read_text().splitlines()))
        if sum(status == "200" for _, status in entries) == good or time.monotonic() > end:
            return entries
        time.sleep(0.05)


def of_rate(entries):
    times = [at for at, _ in entries]
    rate = (len(times) - 1) / (times[-1] - times[0])
    busiest = max(sum(start <= at < start + 1 for at in times) for start in times)
    return {DEVIATION: round(1000 * abs(rate / RATE - 1), 1), BUSIEST: busiest}


def of_pauses(entries):
    """A pause begins with the last 429, and ends with the next request."""
    pauses = [later - at for (at, status), (later, _) in zip(entries, entries[1:])
              if status == "429" and later - at > PAUSE_S / 2]
    if not pauses:
        return {}
    return {LONGEST: round(1000 * max(abs(pause - PAUSE_S) for pause in pauses), 1)}
