# SPDX-License-Identifier: MIT
"""
The golden vectors of C{tests/vectors}, through L{btcp.handoff.splice}.
"""

from __future__ import annotations

import json
from typing import Any

from scapy.layers.inet import IP, in4_chksum
from scapy.layers.inet6 import IPv6, in6_chksum
from scapy.utils import checksum
from twisted.trial.unittest import SynchronousTestCase

from btcp.handoff.splice import Rewriter, Splice
from btcp.wire.segment import Segment
from tests.vectors import splice

VECTORS: list[dict[str, Any]] = json.loads(splice.FILE.read_text(encoding="ascii"))
AT = (0, 1, 24)
"""Where in its buffer a packet may start: there is nothing to be said for any place."""


def scapy_intact(packet: bytes) -> bool:
    """
    @return: whether scapy would have written the checksums that the packet has.
    """
    six = packet[0] >> 4 == 6
    ip: Any = IPv6(packet) if six else IP(packet)
    header = 40 if six else ip.ihl * 4
    segment = bytearray(packet[header:])
    check = int.from_bytes(segment[16:18], "big")
    segment[16:18] = b"\0\0"
    work_out: Any = in6_chksum if six else in4_chksum
    summed = work_out(6, ip, bytes(segment))
    return bool(summed == check and (six or checksum(packet[:header]) == 0))


class VectorTests(SynchronousTestCase):
    """
    Each vector, wherever it lies.
    """

    def rewritten(self, vector: dict[str, Any], at: int = 0) -> Segment:
        """
        @return: what the rewriter makes of a packet that starts C{at} octets into
            its buffer.
        """
        rule = Splice(
            old=bytes.fromhex(vector["old"]),
            new=bytes.fromhex(vector["new"]),
            **{name: vector[name] for name in ("seq", "ack", "tsval", "tsecr", "shift")},
        )
        buffer = bytearray(at) + bytes.fromhex(vector["in"])
        segment = Segment(buffer, at, len(buffer), partial=vector["partial"])
        self.assertEqual(segment.key, rule.old)
        Rewriter(rule).apply(segment)
        return segment

    def test_file_is_what_its_program_makes(self) -> None:
        self.assertEqual(splice.FILE.read_text(encoding="ascii"), splice.text())

    def test_octets(self) -> None:
        for at in AT:
            for vector in VECTORS:
                segment = self.rewritten(vector, at)
                self.assertEqual(segment.buffer[at:].hex(), vector["out"], vector["name"])
                self.assertEqual(segment.buffer[:at], bytes(at))

    def test_fields_are_those_of_the_octets(self) -> None:
        """
        What the segment says of itself is what somebody who reads it anew sees.
        """
        names = ("key", "seq", "ack", "flags", "window", "check", "data", "end")
        for vector in VECTORS:
            segment = self.rewritten(vector)
            again = Segment(segment.buffer, 0, len(segment.buffer))
            for name in names:
                self.assertEqual(getattr(segment, name), getattr(again, name), vector["name"])

    def test_checksums(self) -> None:
        """
        A right one stays right, a wrong one wrong, a partial one can be completed.
        """
        for vector in VECTORS:
            segment = self.rewritten(vector)
            wrong = vector["name"].startswith("wrong")
            if segment.partial:
                segment.complete_checksum()
            self.assertEqual(segment.intact(), not wrong, vector["name"])
            packet = bytes(segment.buffer[: segment.end])
            self.assertEqual(scapy_intact(packet), not wrong, vector["name"])

    def test_names_are_unique(self) -> None:
        self.assertEqual(len({vector["name"] for vector in VECTORS}), len(VECTORS))
