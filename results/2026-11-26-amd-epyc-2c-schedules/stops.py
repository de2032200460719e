"""Times from SIGINT to the end of runs that only wait: stops.py BINARY ROUNDS"""

import signal
import socket
import statistics
import subprocess
import sys
import time

BINARY, ROUNDS = sys.argv[1], int(sys.argv[2])
NAME = b"/etc/hostname\n"

server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 0))
RESOLVER = ["-r", "127.0.0.1:%d" % server.getsockname()[1]]

# Arguments, input, and the rows to wait for. Standard input stays open.
CASES = {
    "hash, input pending": (["hash"], NAME, 1),
    "hash, rate of one in 100 s": (["hash", "--rate", "0.01"], NAME * 9, 1),
    "dns, silent server": (["dns", *RESOLVER], b"a.example\nb.example\n", 0),
    "dns, input pending": (["dns", *RESOLVER], b"", 0),
}


def stop_ms(arguments, given, rows, round_number):
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [BINARY, *arguments], stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL
    )
    process.stdin.write(given)
    process.stdin.flush()
    for _ in range(rows):
        process.stdout.readline()
    # At any moment between two looks of a run that looks now and then.
    time.sleep(0.03 + round_number * 13 % 97 / 1000)
    began = time.perf_counter()
    process.send_signal(signal.SIGINT)
    process.wait()
    took = time.perf_counter() - began
    process.stdin.close()
    assert process.returncode == -signal.SIGINT, process.returncode
    return took * 1e3


for engine in ["uring", "threads"]:
    for name, (arguments, given, rows) in CASES.items():
        arguments = [*arguments, "--engine", engine]
        times = [stop_ms(arguments, given, rows, number) for number in range(ROUNDS)]
        print(f"| {name} | {engine} | {statistics.median(times):.1f} | {max(times):.1f} |", flush=True)
