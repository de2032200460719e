"""How exactly `ringmill http` keeps --rate-per-host and Retry-After, by nginx's log, and whether 60,000 connections
to one port work: python3 polite.py RINGMILL"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

RINGMILL = shutil.which(sys.argv[1])
CONFIG = """
user root; daemon off; worker_processes 1; pid pid; error_log error.log;
events { worker_connections 65000; }
http {
  log_format times '$msec $status'; access_log log times; root .; keepalive_requests 100000000;
  client_body_temp_path a; proxy_temp_path b; fastcgi_temp_path c; uwsgi_temp_path d; scgi_temp_path e;
  limit_req_zone $server_port zone=one:1m rate=20r/s;
  server { listen 127.0.0.1:KEPT backlog=4096;
    location /limited { alias page; limit_req zone=one; limit_req_status 429; error_page 429 @slow; }
    location @slow { add_header Retry-After 1 always; return 429; } }
  server { listen 127.0.0.1:CLOSED backlog=65000; access_log off; keepalive_timeout 0; }
}
"""


def requests(urls, *options):
    """Requests URLS; returns the rows, the time in seconds and the peak of the memory in KiB."""
    began = time.monotonic()
    command = ["/usr/bin/time", "-f", "%M", RINGMILL, "http", *options]
    done = subprocess.run(command, input=urls, capture_output=True, text=True)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["index"] for row in rows] == list(range(urls.count("\n")))
    return rows, time.monotonic() - began, int(done.stderr.split()[-1])


def logged():
    """What nginx has logged since the last call."""
    entries = [line.split() for line in Path("log").read_text().splitlines()]
    os.truncate("log", 0)
    return sorted((float(at), status) for at, status in entries)


def rate(url, engine):
    requests(url * 1100, "--engine", engine, "--rate-per-host", "100")
    times = [at for at, _ in logged()]
    mean = (len(times) - 1) / (times[-1] - times[0])
    starts = [times[0] + tenth / 10 for tenth in range(100)]
    per_second = [sum(start <= at < start + 1 for at in times) for start in starts]
    gaps = [1000 * (later - at) for at, later in zip(times, times[1:])]
    print(f"{engine}: --rate-per-host 100: {mean:.2f}/s over {times[-1] - times[0]:.2f} s; in a second "
          f"{min(per_second)} to {max(per_second)}; gaps {min(gaps):.0f} to {max(gaps):.0f} ms")


def pauses(url, engine):
    rows, _, _ = requests(url * 30, "--engine", engine, "--retries", "50")
    statuses = Counter(row["status"] for row in rows)
    lengths, last = [], None
    for at, status in logged():
        if last is not None and at - last > 0.2:
            lengths.append(at - last)
        last = at if status == "429" else None
    print(f"{engine}: Retry-After: 1: statuses {dict(statuses)}; {len(lengths)} pauses of "
          f"{min(lengths):.3f} to {max(lengths):.3f} s")


def connections(url, engine):
    rows, seconds, kib = requests(url * 60_000, "--engine", engine, "--per-host", "256", "--in-flight", "256")
    statuses = Counter(row.get("status") for row in rows)
    print(f"{engine}: 60,000 connections to one port: statuses {dict(statuses)}; {seconds:.1f} s, {kib / 1024:.0f} MiB")


with tempfile.TemporaryDirectory() as directory, socket.socket() as one, socket.socket() as other:
    os.chdir(directory)
    os.chmod(directory, 0o755)
    Path("page").write_bytes(bytes(1024))
    ports = []
    for held in (one, other):
        held.bind(("127.0.0.1", 0))
        ports.append(str(held.getsockname()[1]))
        held.close()
    Path("nginx.conf").write_text(CONFIG.replace("KEPT", ports[0]).replace("CLOSED", ports[1]))
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    server = subprocess.Popen([nginx, "-p", directory, "-e", "error.log", "-c", "nginx.conf"])
    time.sleep(2)
    for engine in ("uring", "threads"):
        rate(f"http://127.0.0.1:{ports[0]}/page\n", engine)
        pauses(f"http://127.0.0.1:{ports[0]}/limited\n", engine)
        connections(f"http://127.0.0.1:{ports[1]}/page\n", engine)
    server.terminate()
    server.wait()
