"""The suite of `ringmill http`: requests to nginx on the same machine."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

from benchmark.bench import WrongOutput
from benchmark.jobs.http import exactness, fifty_hosts
from benchmark.jobs.http.rows import good_rows
from benchmark.jobs.http.server import SIZES, serving_with_tls
from benchmark.list_scene import ListScene
from benchmark.model import Case, Contender, MemoryTarget, RatioTarget, Suite

IN_FLIGHT = 64

# The data of cases with one URL: its scheme, and the file.
URLS = {"1k": ("http", "1k"), "1m": ("http", "1m"), "tls": ("https", "1k")}

METHOD = f"""\
- The server is nginx on the same machine, with one worker and keep-alive; it and the programs share
  the processors. `$URL` is the one URL that the list `$LIST` repeats; `$CONFIG` is the list as curl
  reads it.
- Every response of every run was counted by status, and by size where the program prints it. ab, oha
  and wrk read no list and print no rows. wrk is stopped after so many responses, and may count up to
  {IN_FLIGHT} more.
- No program verifies the server's certificate: that takes time only in the {IN_FLIGHT} handshakes.
"""

class UrlScene(ListScene):
    """A list that repeats one URL."""

    def __init__(self, items, size, url, place, timeout_s):
        config = place.output / "curl.config"
        env = {**place.env, "URL": url, "ITEMS": str(items), "CONFIG": str(config),
               "CONNECTIONS": str(IN_FLIGHT), "STOP": str(Path(__file__).with_name("stop.lua"))}
        super().__init__(items, place, env, timeout_s)
        self._size = size
        place.list.write_text(f"{url}\n" * items)
        config.write_text(f'url = "{url}"\noutput = "/dev/null"\n' * items)

    def check(self, contender, path):
        good = GOOD[contender.form](path, self._size)
        more = IN_FLIGHT if contender.form == "wrk" else 0
        if not self.items <= good <= self.items + more:
            raise WrongOutput(f"{good:,} good responses, not {self.items:,}")


def good_lines(path, size):
    with open(path) as lines:
        return sum(line == f"200 {size}\n" for line in lines)


def good_of_ab(path, _size):
    text = path.read_text()
    complete = int(re.search(r"Complete requests:\s+(\d+)", text)[1])
    failed = int(re.search(r"Failed requests:\s+(\d+)", text)[1])
    return 0 if "Non-2xx" in text else complete - failed


def good_of_oha(path, _size):
    return json.loads(path.read_text())["statusCodeDistribution"].get("200", 0)


def good_of_wrk(path, _size):
    text = path.read_text()
    has_failed = "Non-2xx" in text or "Socket errors" in text
    return 0 if has_failed else int(re.search(r"(\d+) requests in", text)[1])


GOOD = {"rows": good_rows, "lines": good_lines, "ab": good_of_ab, "oha": good_of_oha,
        "wrk": good_of_wrk}


def perform(bench, cases):
    options, place = bench.options, bench.workplace
    one_host = [case for case in cases if case.data in URLS]
    exact = [case for case in cases if case in exactness.CASES]
    if exact:
        exactness.perform(bench, exact)
    if fifty_hosts.CASE in cases:
        fifty_hosts.perform(bench, [fifty_hosts.CASE])
    if not one_host:
        return
    with serving_with_tls(place.output / "nginx") as ports:
        for case in one_host:
            scheme, file = URLS[case.data]
            # Large bodies take as much longer as they are larger.
            items = options.urls if file == "1k" else max(100, options.urls // 50)
            url = f"{scheme}://127.0.0.1:{ports[scheme]}/{file}"
            scene = UrlScene(items, SIZES[file], url, place, options.run_timeout)
            bench.run_case(case, f"{items:,} URLs", scene)


def ringmill(*flags):
    limits = f"--per-host {IN_FLIGHT} --in-flight {IN_FLIGHT}"
    command = " ".join(["ringmill http", limits, *flags])
    return Contender(command, command, ("ringmill",), "rows", ordered=True)


def with_flag(contender, flag):
    def flagged(text):
        program, rest = text.split(" ", 1)
        return f"{program} {flag} {rest}"

    return replace(contender, label=flagged(contender.label), command=flagged(contender.command))


AB = Contender(f"ab -k -c {IN_FLIGHT}", f"ab -q -k -c {IN_FLIGHT} -n $ITEMS $URL", ("ab",), "ab",
               peer=True)
OHA = Contender(f"oha -c {IN_FLIGHT}",
                f"oha --no-tui --output-format json -c {IN_FLIGHT} -n $ITEMS $URL", ("oha",), "oha",
                peer=True)
WRK = Contender(f"wrk -t 1 -c {IN_FLIGHT}", f"wrk -t 1 -c {IN_FLIGHT} -d 1h -s $STOP $URL", ("wrk",),
                "wrk", peer=True)
CURL = Contender(f"curl -Z --parallel-max {IN_FLIGHT}",
                 f"curl -s -Z --parallel-max {IN_FLIGHT} -w '%{{http_code}} %{{size_download}}\\n' "
                 "-K $CONFIG", ("curl",), "lines", peer=True)

CASES = [
    Case("get-1k", "Requests for 1 KiB", "1k", [
        ringmill(), ringmill("--loops 1"), ringmill("--engine threads"), AB, WRK, OHA, CURL,
    ], variants=("urls",), varies="list", unit="URLs"),
    Case("get-1m", "Requests for 1 MiB", "1m", [
        ringmill(), ringmill("--loops 1"), ringmill("--engine threads"), AB, WRK, OHA, CURL,
    ], variants=("urls",), varies="list", unit="URLs"),
    Case("get-tls", "Requests for 1 KiB over TLS", "tls", [
        ringmill("--insecure"), ringmill("--insecure --loops 1"), AB, WRK, with_flag(OHA, "--insecure"),
        with_flag(CURL, "--insecure"),
    ], variants=("urls",), varies="list", unit="URLs"),
    fifty_hosts.CASE,
    *exactness.CASES,
]

TARGETS = [
    RatioTarget("requests/s, 1 KiB: ≥ 1.1 × oha", "get-1k", OHA.label, 1.1),
    RatioTarget("requests/s, 1 KiB: ≥ 0.9 × ab", "get-1k", AB.label, 0.9),
    RatioTarget("requests/s, 1 KiB: ≥ 0.9 × wrk", "get-1k", WRK.label, 0.9),
    RatioTarget("requests/s, 1 MiB: ≥ 0.9 × wrk", "get-1m", WRK.label, 0.9),
    RatioTarget("requests/s, TLS: ≥ 1.0 × oha", "get-tls", with_flag(OHA, "--insecure").label, 1.0),
    RatioTarget("requests/s, 1 KiB: ≥ 5 × curl -Z", "get-1k", CURL.label, 5.0),
    RatioTarget("processor time per request, 1 KiB: ≤ oha's", "get-1k", OHA.label, 1.0,
                figure="cpu"),
    MemoryTarget("max RSS, {variant}: ≤ 64 MiB", 64, "get-1k"),
    MemoryTarget("max RSS, fifty hosts, {variant}: ≤ 64 MiB", 64, fifty_hosts.CASE.name),
    *exactness.TARGETS,
]

SUITES = [Suite("http", "ringmill http", CASES, perform, TARGETS, {"urls": 1_000_000},
                method=METHOD)]
