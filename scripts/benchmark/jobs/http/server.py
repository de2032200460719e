"""nginx, as the benchmarks of requests use it."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, contextmanager

from benchmark.host.tools import BenchError, tool
from benchmark.jobs.dns.server import free_port

SIZES = {"1k": 1024, "1m": 1 << 20}


@contextmanager
def serving_with_tls(directory):
    """A running nginx; yields its ports by scheme."""
    directory.mkdir(parents=True, exist_ok=True)
    key, certificate = directory / "key.pem", directory / "certificate.pem"
    tool("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "30", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", key, "-out", certificate)
    tls = free_port()
    server = (f"ssl_certificate {certificate}; ssl_certificate_key {key};"
              f"server {{ listen 127.0.0.1:{tls} ssl backlog=4096; }}")
    with serving(directory, server) as port:
        yield {"http": port, "https": tls}


@contextmanager
def serving(directory, more="", connections=4096):
    """A running nginx, with `more` in its configuration of HTTP; yields its port."""
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
        f"worker_rlimit_nofile {2 * connections}; events {{ worker_connections {connections}; }}\n"
        f"http {{ {temporary} access_log off; root {files}; sendfile on; tcp_nopush on;\n"
        "keepalive_requests 1000000000; open_file_cache max=100 inactive=1h;\n"
        f"server {{ listen 127.0.0.1:{port} backlog=4096; }} {more} }}\n")
    server = subprocess.Popen([program, "-e", str(directory / "error.log"), "-c",
                               str(directory / "nginx.conf")], stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until_it_answers(f"http://127.0.0.1:{port}/1k")
        yield port
    finally:
        server.terminate()
        server.wait()


def free_ports(count):
    with ExitStack() as stack:
        made = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in made]


def wait_until_it_answers(url):
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            urllib.request.urlopen(url, timeout=1).read()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise BenchError("nginx does not answer")
