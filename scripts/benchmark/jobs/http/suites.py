"""The suite of `ringmill http`: requests to nginx on the same machine."""

from __future__ import annotations

import json
import re

from benchmark.bench import WrongOutput
from benchmark.jobs.http import fifty_hosts
from benchmark.jobs.http.server import SIZES, serving
from benchmark.list_scene import ListScene
from benchmark.model import Case, Contender, MemoryTarget, RatioTarget, Suite

METHOD = """\
- The server is nginx on the same machine, with one worker and keep-alive; it and the programs share
  the processors. `$URL` is the one URL that the list `$LIST` repeats; `$CONFIG` is the list as curl
  reads it.
- Every response of every run was counted by status, and by size where the program prints it. ab and
  oha read no list and print no rows.
"""

IN_FLIGHT = 64


class UrlScene(ListScene):
    """A list that repeats one URL."""

    def __init__(self, items, size, url, place, timeout_s):
        config = place.output / "curl.config"
        env = {**place.env, "URL": url, "ITEMS": str(items), "CONFIG": str(config)}
        super().__init__(items, place, env, timeout_s)
        self._size = size
        place.list.write_text(f"{url}\n" * items)
        config.write_text(f'url = "{url}"\noutput = "/dev/null"\n' * items)

    def check(self, contender, path):
        good = GOOD[contender.form](path, self._size)
        if good != self.items:
            raise WrongOutput(f"{good:,} good responses, not {self.items:,}")


def good_rows(path, size):
    """Rows of ringmill in the order of the list with status 200 and this size."""
    part = f'"status":200,"size":{size},'
    with open(path) as rows:
        return sum(row.startswith(f'{{"index":{index},') and part in row
                   for index, row in enumerate(rows))


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


GOOD = {"rows": good_rows, "lines": good_lines, "ab": good_of_ab, "oha": good_of_oha}


def perform(bench, cases):
    options, place = bench.options, bench.workplace
    one_host = [case for case in cases if case.data in SIZES]
    if len(one_host) < len(cases):
        fifty_hosts.perform(bench, [case for case in cases if case not in one_host])
    if not one_host:
        return
    with serving(place.output / "nginx") as port:
        for case in one_host:
            # Large bodies take as much longer as they are larger.
            items = options.urls if case.data == "1k" else max(100, options.urls // 50)
            scene = UrlScene(items, SIZES[case.data], f"http://127.0.0.1:{port}/{case.data}", place,
                             options.run_timeout)
            bench.run_case(case, f"{items:,} URLs", scene)


def ringmill(*flags):
    limits = f"--per-host {IN_FLIGHT} --in-flight {IN_FLIGHT}"
    command = " ".join(["ringmill http", limits, *flags])
    return Contender(command, command, ("ringmill",), "rows", ordered=True)


AB = Contender(f"ab -k -c {IN_FLIGHT}", f"ab -q -k -c {IN_FLIGHT} -n $ITEMS $URL", ("ab",), "ab",
               peer=True)
OHA = Contender(f"oha -c {IN_FLIGHT}",
                f"oha --no-tui --output-format json -c {IN_FLIGHT} -n $ITEMS $URL", ("oha",), "oha",
                peer=True)
CURL = Contender(f"curl -Z --parallel-max {IN_FLIGHT}",
                 f"curl -s -Z --parallel-max {IN_FLIGHT} -w '%{{http_code}} %{{size_download}}\\n' "
                 "-K $CONFIG", ("curl",), "lines", peer=True)

CASES = [
    Case("get-1k", "Requests for 1 KiB", "1k", [
        ringmill(), ringmill("--loops 1"), ringmill("--engine threads"), AB, OHA, CURL,
    ], variants=("urls",), varies="list", unit="URLs"),
    Case("get-1m", "Requests for 1 MiB", "1m", [
        ringmill(), ringmill("--loops 1"), ringmill("--engine threads"), AB, OHA, CURL,
    ], variants=("urls",), varies="list", unit="URLs"),
    fifty_hosts.CASE,
]

TARGETS = [
    RatioTarget("requests/s, 1 KiB: ≥ 1.1 × oha", "get-1k", OHA.label, 1.1),
    RatioTarget("requests/s, 1 KiB: ≥ 0.9 × ab", "get-1k", AB.label, 0.9),
    RatioTarget("requests/s, 1 KiB: ≥ 5 × curl -Z", "get-1k", CURL.label, 5.0),
    RatioTarget("processor time per request, 1 KiB: ≤ oha's", "get-1k", OHA.label, 1.0,
                figure="cpu"),
    MemoryTarget("max RSS, {variant}: ≤ 64 MiB", 64, "get-1k"),
    MemoryTarget("max RSS, fifty hosts, {variant}: ≤ 64 MiB", 64, fifty_hosts.CASE.name),
]

SUITES = [Suite("http", "ringmill http", CASES, perform, TARGETS, {"urls": 1_000_000},
                method=METHOD)]
