# SPDX-License-Identifier: MIT
"""
A TCP client whose every segment is as a test wants it.
"""

from __future__ import annotations

import itertools
import random
import socket
from collections.abc import Iterable, Sequence
from typing import Any

from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.packet import Raw

from btcp.lab.cluster import Lab
from btcp.lab.topology import CLIENT, LISTEN_PORT
from tests.claims.stage import inside

PORTS = range(25000, 30000)
"""Those of the client's ports that its own TCP never has, not even in TIME-WAIT."""

MODULUS = 1 << 32
_PATIENCE = 10.0
_port = itertools.cycle(PORTS)
_ETHERTYPES = {4: 0x0800, 6: 0x86DD}
OPTIONS: Sequence[tuple[Any, Any]] = [("MSS", 1400), ("SAckOK", b""), ("NOP", None), ("WScale", 7)]
_GUARD = f"""
table inet handmade {{
    chain output {{
        type filter hook output priority 0;
        tcp sport {PORTS.start}-{PORTS.stop - 1} tcp flags rst drop
    }}
}}
"""


def guard(lab: Lab) -> None:
    """
    Keep the client's own TCP from resetting what it does not know.
    """
    lab.exec(CLIENT, ["nft", "-f", "-"], stdin=_GUARD.encode())


class Client:
    """
    One connection.  Nothing is sent again: it is for networks that lose nothing.
    """

    def __init__(self, lab: Lab, family: int, host: str) -> None:
        """
        @param family: 4 or 6.
        @param host: the front-end.
        """
        self._layer = IP if family == 4 else IPv6
        self._ends = lab.address(CLIENT, family), lab.address(host, family)
        self._port = next(_port)
        kind = socket.AF_INET if family == 4 else socket.AF_INET6
        self._out = inside(
            lab, CLIENT, lambda: socket.socket(kind, socket.SOCK_RAW, socket.IPPROTO_RAW)
        )
        ethertype = socket.htons(_ETHERTYPES[family])
        self._in = inside(
            lab, CLIENT, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, ethertype)
        )
        self._in.settimeout(_PATIENCE)
        self._first = random.randrange(MODULUS)
        self._sent = 0
        self._next = 0

    def close(self) -> None:
        """
        Close the sockets.
        """
        self._out.close()
        self._in.close()

    def say_hello(self, flags: str = "S", options: Sequence[tuple[Any, Any]] = OPTIONS) -> Any:
        """
        Send the SYN.

        @return: the TCP layer of the answer.
        """
        self._send(flags, self._first, 0, options=options)
        return self._receive()

    def connect(self) -> None:
        """
        SYN, SYN/ACK, ACK.
        """
        answer = self.say_hello()
        assert str(answer.flags) == "SA", answer.summary()
        assert answer.ack == (self._first + 1) % MODULUS, answer.summary()
        self._next = (answer.seq + 1) % MODULUS
        self.send(0, b"")

    def send(self, offset: int, data: bytes, flags: str = "A") -> None:
        """
        @param offset: of the data in all that the client says.
        """
        self._sent = max(self._sent, offset + len(data))
        self._send(flags, (self._first + 1 + offset) % MODULUS, self._next, data)

    def ask(self, segments: Iterable[tuple[int, bytes]]) -> bytes:
        """
        Connect, send segments as they come, and close after the server.

        @param segments: offset and data each.
        @return: all that the server said.
        """
        self.connect()
        for offset, data in segments:
            self.send(offset, data)
        received = self._listen()
        self.send(self._sent, b"", "FA")
        while self._receive().ack != (self._first + 2 + self._sent) % MODULUS:
            pass
        return received

    def _listen(self) -> bytes:
        received, early = bytearray(), dict[int, Any]()
        while True:
            segment = self._receive()
            assert "R" not in str(segment.flags), segment.summary()
            data = bytes(segment.payload)
            if not data and "F" not in str(segment.flags):
                continue
            early[segment.seq] = segment
            while (found := early.pop(self._next, None)) is not None:
                received += bytes(found.payload)
                self._next = (self._next + len(found.payload)) % MODULUS
                if "F" in str(found.flags):
                    self._next = (self._next + 1) % MODULUS
                    self.send(self._sent, b"")
                    return bytes(received)
            self.send(self._sent, b"")

    def _send(
        self,
        flags: str,
        seq: int,
        ack: int,
        data: bytes = b"",
        options: Sequence[tuple[Any, Any]] = (),
    ) -> None:
        source, destination = self._ends
        tcp = TCP(sport=self._port, dport=LISTEN_PORT, seq=seq, ack=ack, flags=flags, window=512)
        tcp.options = list(options)
        packet = self._layer(src=source, dst=destination) / tcp
        self._out.sendto(bytes(packet / Raw(data) if data else packet), (destination, 0))

    def _receive(self) -> Any:
        """
        @return: the TCP layer of the next packet for this client.
        """
        while True:
            packet = self._layer(self._in.recv(1 << 17))
            if TCP in packet and packet[TCP].dport == self._port:
                return packet[TCP]


def reversed_segments(request: bytes, size: int) -> list[tuple[int, bytes]]:
    """
    The last first.
    """
    return segments(request, size)[::-1]


def segments(request: bytes, size: int) -> list[tuple[int, bytes]]:
    """
    @param size: octets in each, but perhaps the last.
    """
    return [(start, request[start : start + size]) for start in range(0, len(request), size)]


def doubled(request: bytes, size: int) -> list[tuple[int, bytes]]:
    """
    Each twice.
    """
    return [each for each in segments(request, size) for _ in range(2)]


def overlapping(request: bytes, size: int) -> list[tuple[int, bytes]]:
    """
    Each begins in the middle of the one before.
    """
    starts = range(0, len(request), max(size // 2, 1))
    return [(start, request[start : start + size]) for start in starts]
