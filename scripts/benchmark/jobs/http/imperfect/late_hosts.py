"""A program that stands for the hosts that respond late or never, or that packets do not reach. It
reads a JSON object from standard input, prints an empty line when it listens, and at SIGTERM what
it has received, as JSON. It needs nothing but the standard library.

    port, padding    of all hosts
    delays           {address: seconds until the response, or null for none}
    lost             the link on which the packets of other hosts are lost, or null

    requests         {address: the paths of requests that get no response}
    connects         {address: connects whose packets were lost}
"""

import heapq
import itertools
import json
import resource
import select
import signal
import socket
import sys
import time
from functools import partial

ETH_P_IP = 0x0800
TCP, SYN, FLAGS_AT = 6, 0x02, 13


class Terminated(Exception):
    pass


def terminate(*_):
    raise Terminated


class Server:
    def __init__(self, port, padding, delays, lost):
        self._padding = padding.encode()
        self._delays = delays
        self._poll = select.epoll()
        self._handlers = {}  # {descriptor: called when it is readable}
        self._due = []  # (time, number, connection, response), a heap
        self._numbers = itertools.count()
        self._connects = set()  # (address, port of the client, first sequence number)
        self.requests = {address: [] for address, delay in delays.items() if delay is None}
        for address in delays:
            listener = socket.create_server((address, port), backlog=4096)
            listener.setblocking(False)
            self._watch(listener, partial(self._accept, listener, address))
        if lost is not None:
            packets = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_IP))
            packets.bind((lost, ETH_P_IP))
            packets.setblocking(False)
            self._watch(packets, partial(self._note_packet, packets))

    @property
    def connects(self):
        counts = {}
        for address, *_ in self._connects:
            counts[address] = counts.get(address, 0) + 1
        return counts

    def run(self):
        while True:
            wait_s = max(0, self._due[0][0] - time.monotonic()) if self._due else None
            for descriptor, _ in self._poll.poll(wait_s):
                handler = self._handlers.get(descriptor)
                if handler is not None:
                    handler()
            now = time.monotonic()
            while self._due and self._due[0][0] <= now:
                _, _, connection, response = heapq.heappop(self._due)
                self._send(connection, response)

    def _watch(self, found, handler):
        self._handlers[found.fileno()] = handler
        self._poll.register(found, select.EPOLLIN)

    def _accept(self, listener, address):
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        connection.setblocking(False)
        self._watch(connection, partial(self._read, connection, address, bytearray()))

    def _read(self, connection, address, received):
        try:
            data = connection.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            return self._close(connection)
        received += data
        while (end := received.find(b"\r\n\r\n")) >= 0:
            self._note_request(connection, address, bytes(received[:end]))
            del received[:end + 4]

    def _note_request(self, connection, address, head):
        path = head.split(b" ", 2)[1]
        delay = self._delays[address]
        if delay is None:
            self.requests[address].append(path.decode())
            return
        body = b"%s %s%s %s" % (host_of(head), address.encode(), path, self._padding)
        response = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        due = (time.monotonic() + delay, next(self._numbers), connection, response)
        heapq.heappush(self._due, due)

    def _send(self, connection, response):
        """A response fits into the buffer of a connection."""
        is_open = connection.fileno() >= 0
        try:
            connection.sendall(response)
        except OSError:
            if is_open:
                self._close(connection)

    def _close(self, connection):
        del self._handlers[connection.fileno()]
        connection.close()

    def _note_packet(self, packets):
        """A connect is repeated with the same ports and the same sequence number."""
        packet = packets.recv(1 << 16)
        header = 4 * (packet[0] & 15)
        segment = packet[header:]
        if packet[9] == TCP and segment[FLAGS_AT] & SYN:
            self._connects.add((socket.inet_ntoa(packet[16:20]), segment[:2], segment[4:8]))


def host_of(head):
    at = head.lower().index(b"\r\nhost:") + len(b"\r\nhost:")
    return head[at:].split(b"\r\n", 1)[0].strip()


def main():
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    signal.signal(signal.SIGTERM, terminate)
    server = Server(**json.load(sys.stdin))
    print(flush=True)
    try:
        server.run()
    except Terminated:
        json.dump({"requests": server.requests, "connects": server.connects}, sys.stdout)


if __name__ == "__main__":
    main()
