# SPDX-License-Identifier: MIT
"""
SYNs from clients that do not exist: addresses set aside for documentation (RFC 5737), inside a
lab, at a bounded rate.  Run on a lab's client; ends when its standard input does.

Arguments: ADDRESS PORT RATE.
"""

from __future__ import annotations

import random
import select
import socket
import sys
import time
from collections.abc import Iterator

from btcp.wire.build import compose
from btcp.wire.segment import SYN

SOURCES = "203.0.113.0/24"
_PREFIX = socket.inet_aton("203.0.113.0")[:3]
_DIFFERENT = 8192
"""Packets that are made before the first is sent, and sent again and again."""

_MOST = 50_000
"""A second; this machine is the victim as well."""

_WINDOW = 64240
_MSS = bytes((2, 4, 1460 >> 8, 1460 & 255))


def packets(address: str, port: int, count: int) -> Iterator[bytes]:
    """
    @return: IPv4 packets, no two from the same address and port.
    """
    drawn = random.Random(0)
    destination = socket.inet_aton(address)
    for number in range(count):
        source = _PREFIX + bytes((number % 254 + 1,))
        ports = (1024 + number // 254).to_bytes(2, "big") + port.to_bytes(2, "big")
        key = source + destination + ports
        made = compose(key, drawn.getrandbits(32), 0, SYN, _WINDOW, _MSS)
        yield bytes(made.buffer[made.ip : made.end])


def main() -> None:
    """
    Say C{ready}, then flood.
    """
    address, port, rate = sys.argv[1], int(sys.argv[2]), min(int(sys.argv[3]), _MOST)
    made = list(packets(address, port, _DIFFERENT))
    sender = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    print("ready", flush=True)
    sent, start = 0, time.monotonic()
    while not select.select([sys.stdin], [], [], 0.002)[0]:
        due = int((time.monotonic() - start) * rate)
        for number in range(sent, due):
            sender.sendto(made[number % _DIFFERENT], (address, 0))
        sent = due
    print(sent)


if __name__ == "__main__":
    main()
