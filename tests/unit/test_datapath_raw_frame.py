# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.datapath.raw.frame}.
"""

from __future__ import annotations

from scapy.layers.l2 import Ether
from twisted.trial.unittest import SynchronousTestCase

from btcp.datapath.raw import frame
from btcp.wire.build import compose
from btcp.wire.segment import ACK, Malformed
from tests.unit.test_wire_segment import FOUR, SIX

US, THEM = b"\x02\0\0\0\0\x01", b"\x02\0\0\0\0\x02"
VLAN = b"\x81\0\0\x05"


def made(
    key: bytes = FOUR,
    *,
    flags: int = 0,
    gso: int = 0,
    gso_size: int = 0,
    tag: bytes = b"",
    padding: int = 0,
) -> bytearray:
    """
    A frame as a TAP device gives it, from THEM to US.

    @param flags: of C{struct virtio_net_hdr}.
    """
    vnet = bytes((flags, gso)) + bytes(2) + gso_size.to_bytes(2, "little") + bytes(4)
    ethertype = b"\x08\0" if key is FOUR else b"\x86\xdd"
    packet = compose(key, 1, 2, ACK, 3, payload=b"data").buffer
    return bytearray(vnet + US + THEM + tag + ethertype) + packet + bytes(padding)


class ParseTests(SynchronousTestCase):
    """
    From a frame to a segment.
    """

    def test_segment(self) -> None:
        for key in (FOUR, SIX):
            buffer = made(key)
            segment = frame.parse(buffer, len(buffer))
            self.assertEqual((segment.key, segment.payload), (key, b"data"))
            self.assertEqual((segment.frame, segment.ip), (0, 24))
            self.assertEqual((segment.partial, segment.trusted, segment.gso_size), (False,) * 3)
            self.assertTrue(segment.intact())

    def test_frame_is_shorter_than_the_buffer(self) -> None:
        buffer = made()
        size = len(buffer)
        segment = frame.parse(buffer + b"of an earlier frame", size)
        self.assertEqual(segment.payload, b"data")
        raised = self.assertRaises(Malformed, frame.parse, buffer, size - 1)
        self.assertEqual(raised.counter, "truncated")

    def test_padding(self) -> None:
        buffer = made(padding=6)
        self.assertEqual(frame.parse(buffer, len(buffer)).payload, b"data")

    def test_vlan_tag(self) -> None:
        buffer = made(tag=VLAN)
        segment = frame.parse(buffer, len(buffer))
        self.assertEqual((segment.ip, segment.payload), (28, b"data"))

    def test_partial_checksum(self) -> None:
        buffer = made(flags=1)
        segment = frame.parse(buffer, len(buffer))
        self.assertTrue(segment.partial)
        self.assertTrue(segment.trusted)

    def test_checksum_that_was_verified(self) -> None:
        buffer = made(flags=2)
        segment = frame.parse(buffer, len(buffer))
        self.assertEqual((segment.partial, segment.trusted), (False, True))

    def test_super_packet(self) -> None:
        buffer = made(flags=1, gso=1, gso_size=1448)
        self.assertEqual(frame.parse(buffer, len(buffer)).gso_size, 1448)

    def test_gso_size_of_none(self) -> None:
        """
        Means nothing without a kind.
        """
        buffer = made(gso=0, gso_size=1448)
        self.assertEqual(frame.parse(buffer, len(buffer)).gso_size, 0)

    def test_other_protocols(self) -> None:
        for ethertype in (b"\x08\x06", b"\x88\xcc", b"\0\x26"):
            buffer = made()
            buffer[22:24] = ethertype
            raised = self.assertRaises(Malformed, frame.parse, buffer, len(buffer))
            self.assertEqual(raised.counter, "not-ip")

    def test_cut_anywhere(self) -> None:
        for buffer in (made(), made(SIX), made(tag=VLAN)):
            for size in range(len(buffer)):
                raised = self.assertRaises(Malformed, frame.parse, buffer, size)
                self.assertIn(raised.counter, ("not-ip", "truncated"))


class HeadersTests(SynchronousTestCase):
    """
    What stands before a packet.
    """

    def test_scapy_agrees(self) -> None:
        for version, ethertype in ((4, 0x0800), (6, 0x86DD)):
            header = frame.headers(version, US)
            self.assertEqual(header[: frame.VNET_HEADER], bytes(frame.VNET_HEADER))
            ethernet = Ether(header[frame.VNET_HEADER :])
            self.assertEqual(ethernet.dst, "02:00:00:00:00:01")
            self.assertEqual(ethernet.type, ethertype)
            self.assertEqual(frame.source(bytearray(header)), frame.OURS)

    def test_addresses(self) -> None:
        buffer = made()
        self.assertEqual(frame.source(buffer), THEM)
        self.assertNotEqual(frame.source(buffer), US)
        frame.address_to(buffer, THEM)
        self.assertEqual(Ether(bytes(buffer[10:])).dst, "02:00:00:00:00:02")
