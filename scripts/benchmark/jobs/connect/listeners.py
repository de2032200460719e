"""Listening sockets, as a program: network.py runs it in a network namespace. It reads lines of
`KIND HOST PORT` up to an empty one, prints `ready`, and ends when its input does.

    queueing   completes connections and leaves them in its queue
    accepting  accepts them, and closes each after its peer did
    silent     has a full queue: the kernel drops further attempts to connect without a reply
"""

import resource
import socket
import sys
import threading

# Connections from one run: nmap may try an endpoint several times.
QUEUED_MAX = 16

SOMAXCONN = "/proc/sys/net/core/somaxconn"
ACCEPTED_MAX = 1 << 17


def main():
    wanted = [line.split() for line in iter(sys.stdin.readline, "\n")]
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    kept = [KINDS[kind](host, int(port)) for kind, host, port in wanted]
    print("ready", flush=True)
    sys.stdin.read()
    return kept


def listening(host, port, backlog):
    listener = socket.socket()
    listener.bind((host, port))
    listener.listen(backlog)
    return listener


def queueing(host, port):
    return listening(host, port, QUEUED_MAX)


def silent(host, port):
    """A queue for no connections is full with one."""
    listener = listening(host, port, 0)
    return listener, socket.create_connection((host, port))


def accepting(host, port):
    """The queue holds all connections of a run, so no attempt is dropped, however slow this is."""
    with open(SOMAXCONN, "w") as limit:
        limit.write(str(ACCEPTED_MAX))
    listener = listening(host, port, ACCEPTED_MAX)
    threading.Thread(target=accept, args=(listener,), daemon=True).start()
    return listener


def accept(listener):
    while True:
        try:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1)
        except ConnectionError:
            pass  # the peer reset it


KINDS = {"queueing": queueing, "accepting": accepting, "silent": silent}

if __name__ == "__main__":
    main()
