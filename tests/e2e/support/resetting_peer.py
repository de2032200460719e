"""Runs a command beside a peer that resets each connection while it is being established.

    resetting_peer.py COMMAND [ARGUMENT]...

The peer is 10.0.0.2, in the network of this process, which should be one of its own. It replies to a request with a
request of its own (a simultaneous open, RFC 9293, section 3.5), and then with a reset.
"""

import fcntl
import os
import socket
import struct
import subprocess
import sys
import threading

# From <linux/if_tun.h>.
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
SYN, RST, ACK = 0x02, 0x04, 0x10
SEQUENCE = 1000


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def segment(source, target, ports, sequence, acknowledged, flags):
    """A TCP segment without data, in an IPv4 packet."""
    def tcp(check):
        return struct.pack("!2H2I4H", *ports, sequence, acknowledged, 5 << 12 | flags, 65535, check, 0)

    def ip(check):
        return struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40, 0, 0, 64, socket.IPPROTO_TCP, check, source, target)

    pseudo = source + target + struct.pack("!HH", socket.IPPROTO_TCP, 20)
    return ip(checksum(ip(0))) + tcp(checksum(pseudo + tcp(0)))


def reply(tun):
    while True:
        packet = os.read(tun, 65536)
        if packet[0] >> 4 != 4 or packet[9] != socket.IPPROTO_TCP:
            continue
        target, source = packet[12:16], packet[16:20]
        start = (packet[0] & 0xF) * 4
        *ports, sequence = struct.unpack_from("!2HI", packet, start)
        ports.reverse()
        if packet[start + 13] == SYN:
            os.write(tun, segment(source, target, ports, SEQUENCE, 0, SYN))
            os.write(tun, segment(source, target, ports, SEQUENCE + 1, sequence + 1, RST | ACK))


tun = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", b"peer", IFF_TUN | IFF_NO_PI))
for command in ("link set lo up", "address add 10.0.0.1/24 dev peer", "link set peer up"):
    subprocess.run(["ip", *command.split()], check=True)
threading.Thread(target=reply, args=(tun,), daemon=True).start()
sys.exit(subprocess.run(sys.argv[1:]).returncode)
