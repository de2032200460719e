"""The suite of `ringmill http`: requests to nginx on the same machine."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

from benchmark.bench import Run, WrongOutput
from benchmark.files.scene import require_success
from benchmark.host.tools import BenchError
from benchmark.jobs.dns.server import free_port
from benchmark.measure import run_measured
from benchmark.model import Case, Contender, MemoryTarget, RatioTarget, Suite

METHOD = """\
- The server is nginx on the same machine, with one worker and keep-alive; it and the programs share
  the processors. `$URL` is the one URL that the list `$LIST` repeats; `$CONFIG` is the list as curl
  reads it.
- Every response of every run was counted by status, and by size where the program prints it. ab and
  oha read no list and print no rows.
"""

SIZES = {"1k": 1024, "1m": 1 << 20}
IN_FLIGHT = 64


@contextmanager
def serving(directory):
    """A running nginx; yields its port."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if program is None:
        raise BenchError("nginx: not installed; scripts/test --setup installs it")
    files = directory / "files"
    files.mkdir(parents=True, exist_ok=True)
    for name, size in SIZES.items():
        (files / name).write_bytes(random.Random(size).randbytes(size))
    port = free_port()
    temporary = "".join(f"{what}_temp_path {directory}/{what};"
                        for what in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    user = "user root;" if os.geteuid() == 0 else ""
    (directory / "nginx.conf").write_text(
        f"{user} daemon off; worker_processes 1; pid {directory}/pid;\n"
        "events { worker_connections 4096; }\n"
        f"http {{ {temporary} access_log off; root {files}; sendfile on; tcp_nopush on;\n"
        "keepalive_requests 1000000000; open_file_cache max=100 inactive=1h;\n"
        f"server {{ listen 127.0.0.1:{port} backlog=4096; }} }}\n")
    server = subprocess.Popen([program, "-e", str(directory / "error.log"), "-c",
                               str(directory / "nginx.conf")], stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until_it_answers(f"http://127.0.0.1:{port}/1k")
        yield port
    finally:
        server.terminate()
        server.wait()


def wait_until_it_answers(url):
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            urllib.request.urlopen(url, timeout=1).read()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise BenchError("nginx does not answer")


class UrlScene:
    """A list that repeats one URL."""

    def __init__(self, items, size, url, place, timeout_s):
        self.items, self.bytes = items, 0
        self._size, self._place, self._timeout_s = size, place, timeout_s
        place.list.write_text(f"{url}\n" * items)
        config = place.output / "curl.config"
        config.write_text(f'url = "{url}"\noutput = "/dev/null"\n' * items)
        self._env = {**place.env, "URL": url, "ITEMS": str(items), "CONFIG": str(config)}

    def run(self, contender):
        output = self._place.output
        with open(self._place.list) as urls, open(output / "out", "wb") as stdout, \
                open(output / "err", "wb") as stderr:
            usage = run_measured(contender.command, output, self._env, urls, stdout, stderr,
                                 self._timeout_s)
        try:
            require_success(usage, output / "err")
            good = GOOD[contender.form](output / "out", self._size)
            if good != self.items:
                raise WrongOutput(f"{good:,} good responses, not {self.items:,}")
        except WrongOutput as error:
            return Run(usage, wrong=str(error))
        return Run(usage)


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
    with serving(place.output / "nginx") as port:
        for case in cases:
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
]

TARGETS = [
    RatioTarget("requests/s, 1 KiB: ≥ 1.1 × oha", "get-1k", OHA.label, 1.1),
    RatioTarget("requests/s, 1 KiB: ≥ 0.9 × ab", "get-1k", AB.label, 0.9),
    RatioTarget("requests/s, 1 KiB: ≥ 5 × curl -Z", "get-1k", CURL.label, 5.0),
    RatioTarget("processor time per request, 1 KiB: ≤ oha's", "get-1k", OHA.label, 1.0,
                figure="cpu"),
    MemoryTarget("max RSS, {variant}: ≤ 64 MiB", 64, "get-1k"),
]

SUITES = [Suite("http", "ringmill http", CASES, perform, TARGETS, {"urls": 1_000_000},
                method=METHOD)]
