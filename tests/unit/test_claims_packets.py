# SPDX-License-Identifier: MIT
"""
Tests for L{tests.claims.packets}: what is read by hand is what scapy reads.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw
from scapy.utils import wrpcap
from twisted.trial.unittest import SynchronousTestCase

from tests.claims.packets import HEADERS, MODULUS, Change, Seen, read

ETHER = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
"""Scapy would ask the network for addresses that it is not given."""

_LAYERS = {4: ("198.51.100.10", "192.0.2.11"), 6: ("2001:db8:100::10", "2001:db8:2::11")}
_OPTIONS: list[list[tuple[str, Any]]] = [
    [],
    [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1, 2)), ("NOP", None), ("WScale", 7)],
    [("NOP", None), ("NOP", None), ("SAck", (10, 20, 4_000_000_000, 5))],
]


def segments() -> Iterator[Any]:
    """
    Of both versions of IP, with all flags, and more and less behind and between the headers.
    """
    numbers: dict[str, Any] = {"sport": 40_000, "dport": 80, "seq": MODULUS - 1, "ack": 7}
    for version, options, data in product((4, 6), _OPTIONS, (b"", b"x", bytes(1000))):
        source, destination = _LAYERS[version]
        ip = IP(id=5, options=[]) if version == 4 else IPv6()
        ip.src, ip.dst = source, destination
        tcp = TCP(flags="PA", options=options, **numbers)
        yield ETHER / ip / tcp / Raw(data) if data else ETHER / ip / tcp
    for flags in range(512):
        yield ETHER / IP(src="192.0.2.1", dst="192.0.2.2") / TCP(flags=flags, **numbers)


class ReadTests(SynchronousTestCase):
    def read(self, frames: list[Any]) -> list[Seen]:
        path = Path(self.mktemp())
        wrpcap(str(path), frames)
        return read(path)

    def test_as_scapy(self) -> None:
        frames = [Ether(bytes(each)) for each in segments()]
        found = self.read(frames)
        self.assertEqual(len(found), len(frames))
        for seen, frame in zip(found, frames, strict=True):
            ip, tcp = frame.payload, frame[TCP]
            self.assertEqual(seen.ends, ((ip.src, tcp.sport), (ip.dst, tcp.dport)))
            self.assertEqual((seen.source, seen.destination), seen.ends)
            self.assertEqual((seen.seq, seen.ack, seen.window), (tcp.seq, tcp.ack, tcp.window))
            self.assertEqual(seen.flags, str(tcp.flags))
            self.assertEqual(seen.payload, bytes(tcp.payload))
            self.assertEqual(seen.length, len(seen.payload))
            self.assertEqual(seen.octets, bytes(ip))
            self.assertEqual(seen.options, {name: value for name, value in tcp.options})
            self.assertTrue(seen.intact())

    def test_header_of_ip_with_options(self) -> None:
        frame = ETHER / IP(options=b"\x07\x07\x04\x00\x00\x00\x00\x00") / TCP(dport=81) / b"data"
        (seen,) = self.read([frame])
        self.assertEqual((seen.destination[1], seen.payload), (81, b"data"))

    def test_padding(self) -> None:
        """
        Is no data.
        """
        (seen,) = self.read([Ether(bytes(ETHER / IP() / TCP()) + bytes(6))])
        self.assertEqual((seen.payload, seen.length), (b"", 0))

    def test_headers_alone(self) -> None:
        """
        Of what was not captured the length is known.
        """
        whole = bytes(ETHER / IP() / TCP() / Raw(bytes(1000)))
        (seen,) = self.read([Ether(whole[:HEADERS])])
        self.assertEqual((seen.length, len(seen.payload)), (1000, HEADERS - 54))

    def test_others(self) -> None:
        inner = IP() / TCP()
        others = [ARP(), IP() / UDP(), IPv6() / UDP(), IP() / ICMP(type=3, code=4) / inner]
        self.assertEqual(self.read([ETHER / each for each in others]), [])

    def test_a_piece(self) -> None:
        """
        Nobody would know what is behind it.
        """
        for piece in ({"flags": "MF"}, {"frag": 3}):
            frames = [ETHER / IP(**piece) / TCP()]
            self.assertRaises(AssertionError, self.read, frames)

    def test_changed(self) -> None:
        """
        Each change makes another packet, every time the same.
        """
        (seen,) = self.read([ETHER / IP(ttl=9) / TCP(seq=5)])
        once, twice = (seen.after(Change(seq=n)) for n in (1, 2))
        self.assertEqual([IP(each)[TCP].seq for each in (once, twice)], [6, 7])
        self.assertEqual(seen.after(Change(seq=1)), once)
        self.assertTrue(seen.intact())
