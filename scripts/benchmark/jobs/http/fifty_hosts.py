"""URLs of fifty hosts, of which one never responds, one limits the rate, one refuses connections, and one
resets every third request."""

from __future__ import annotations

import hashlib
import json
import random
import socket
import struct
import threading
from contextlib import ExitStack, contextmanager

from benchmark.bench import WrongOutput
from benchmark.jobs.http.server import free_ports, serving
from benchmark.list_scene import ListScene
from benchmark.model import Case, Contender

GOOD, STALLED, LIMITED, REFUSING, RESETTING = "good", "stalled", "limited", "refusing", "resetting"
TIMEOUT_S = 2
RETRIES = 2
# URLs of the hosts that take longest: each request of the stalled one takes all its attempts.
RARE = 24


def ringmill(engine, descriptors=None):
    command = (f"ringmill http --engine {engine} -a sha256 --timeout {TIMEOUT_S}s "
               f"--retries {RETRIES}")
    if descriptors:
        command = f"ulimit -n {descriptors}; {command}"
    return Contender(command, command, ("ringmill",), "rows", ordered=True)


CASE = Case("fifty-hosts", "URLs of fifty hosts, four of them in trouble", "hosts", [
    ringmill("uring"), ringmill("threads"), ringmill("uring", descriptors=32),
    ringmill("threads", descriptors=32),
], variants=("urls",), varies="list", unit="URLs",
    note="Every row of every run was compared with what its host did.")


def perform(bench, cases):
    options, place = bench.options, bench.workplace
    with ExitStack() as stack:
        limited, refusing, *good = free_ports(47)
        zone = ("limit_req_zone $server_port zone=one:1m rate=50r/s; limit_req_status 429; "
                f"server {{ listen 127.0.0.1:{limited}; location / {{ limit_req zone=one burst=5 nodelay; "
                "error_page 429 @slow; } location @slow { add_header Retry-After 1 always; return 429; } }")
        listens = "".join(f"listen 127.0.0.1:{port} backlog=4096;" for port in good)
        directory = place.output / "nginx"
        first = stack.enter_context(serving(directory, f"{zone} server {{ {listens} }}"))
        body = (directory / "files" / "1k").read_bytes()
        hosts = [(port, GOOD) for port in (first, *good)]
        hosts.append((limited, LIMITED))
        hosts.append((refusing, REFUSING))
        hosts.append((stack.enter_context(resetting(body)), RESETTING))
        hosts.append((stack.enter_context(stalled()), STALLED))
        for case in cases:
            scene = Scene(options.urls, hosts, hashlib.sha256(body).hexdigest(), place,
                          options.run_timeout)
            bench.run_case(case, f"{options.urls:,} URLs", scene)


class Scene(ListScene):
    def __init__(self, items, hosts, digest, place, timeout_s):
        super().__init__(items, place, place.env, timeout_s)
        self._digest = digest
        chance = random.Random(items)
        rare = [host for host in hosts if host[1] in (STALLED, LIMITED)]
        often = [host for host in hosts if host not in rare]
        lines = [host for host in rare for _ in range(RARE)]
        lines += [often[number % len(often)] for number in range(items - len(lines))]
        chance.shuffle(lines)
        self._kinds = [kind for _, kind in lines]
        place.list.write_text("".join(f"http://127.0.0.1:{port}/1k\n" for port, _ in lines))

    def exit_code(self, _contender):
        return 1  # some items fail

    def check(self, _contender, path):
        check(path, self._kinds, self._digest)


def check(path, kinds, digest):
    """Compares each row with what its host did."""
    count = 0
    with open(path) as rows:
        for index, (line, kind) in enumerate(zip(rows, kinds)):
            row = json.loads(line)
            if row["index"] != index or not is_right(row, kind, digest):
                raise WrongOutput(f"{kind}: {line.strip()}")
            count += 1
    if count != len(kinds):
        raise WrongOutput(f"{count:,} rows, not {len(kinds):,}")


def is_right(row, kind, digest):
    error = row.get("error", {})
    is_good = row.get("status") == 200 and row.get("digest") == digest and not error
    all_failed = row["attempts"] == 1 + RETRIES
    if kind == REFUSING:
        return error.get("operation") == "connect" and "refused" in error["message"] and all_failed
    if kind == STALLED:
        waited_s = row["total_ns"] / 1e9
        return (error.get("operation") == "request" and "timed out" in error["message"] and all_failed
                and waited_s >= TIMEOUT_S * (1 + RETRIES))
    if kind == LIMITED:
        return is_good or (row.get("status") == 429 and all_failed)
    if kind == RESETTING:
        return is_good or (error.get("operation") == "request" and all_failed)
    return is_good


@contextmanager
def listening(serve):
    """Calls `serve` in a thread for each connection; yields the port."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)

    def accept():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def stalled():
    """A server that reads requests and never responds."""
    def serve(connection):
        with connection:
            try:
                while connection.recv(1 << 16):
                    pass
            except OSError:
                pass
    return listening(serve)


def resetting(body):
    """A server that resets every third request."""
    response = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    counter, lock = [0], threading.Lock()

    def serve(connection):
        with connection, connection.makefile("rb") as reader:
            try:
                while read_head(reader):
                    with lock:
                        counter[0] += 1
                        number = counter[0]
                    if number % 3 == 0:
                        linger = struct.pack("ii", 1, 0)
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                        return
                    connection.sendall(response)
            except OSError:
                pass
    return listening(serve)


def read_head(reader):
    """True if a request has come."""
    while True:
        line = reader.readline()
        if line in (b"\r\n", b""):
            return line != b""
