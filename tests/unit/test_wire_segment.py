# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.wire.segment}, by what is wrong with a packet.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from btcp.wire.build import compose, header_size
from btcp.wire.segment import (
    ACK,
    FIN,
    SYN,
    Malformed,
    Segment,
    flow_key,
    reversed_key,
)

FOUR = flow_key(bytes((198, 51, 100, 7)), 51515, bytes((192, 0, 2, 11)), 80)
SIX = flow_key(b"\x20\x01\x0d\xb8" + bytes(11) + b"\x07", 51515, bytes(15) + b"\x01", 80)


def packet(key: bytes = FOUR, **changes: object) -> bytearray:
    """
    A segment with data; C{changes} set an octet of the packet, as in C{at_9=17}.
    """
    made = compose(key, 1000, 2000, ACK, 500, b"\1\1\1\1", b"hello").buffer
    for name, value in changes.items():
        assert isinstance(value, int)
        made[int(name.removeprefix("at_"))] = value
    return made


class MalformedTests(SynchronousTestCase):
    """
    What is no segment says why, by the name of a counter.
    """

    def refused(self, buffer: bytearray, counter: str, end: int | None = None) -> None:
        """
        The packet is no segment, and this counter moves.
        """
        length = len(buffer) if end is None else end
        raised = self.assertRaises(Malformed, Segment, buffer, 0, length)
        self.assertEqual(raised.counter, counter)

    def test_nothing(self) -> None:
        self.refused(bytearray(), "truncated")

    def test_cut_anywhere(self) -> None:
        for key in (FOUR, SIX):
            whole = packet(key)
            for end in range(len(whole)):
                self.refused(whole[:end], "truncated")

    def test_end_of_what_was_received(self) -> None:
        """
        What a buffer holds beyond it is of some other packet.
        """
        whole = packet()
        self.refused(whole, "truncated", end=len(whole) - 1)

    def test_version(self) -> None:
        self.refused(packet(at_0=0x55), "bad-ip-header")

    def test_ip_header_too_short(self) -> None:
        self.refused(packet(at_0=0x44), "bad-ip-header")

    def test_ip_header_beyond_the_packet(self) -> None:
        self.refused(packet(at_0=0x4F), "truncated")

    def test_other_protocols(self) -> None:
        self.refused(packet(at_9=17), "not-tcp")
        self.refused(packet(SIX, at_6=0), "not-tcp")

    def test_fragments(self) -> None:
        self.refused(packet(at_6=0x20), "fragment")
        self.refused(packet(at_7=1), "fragment")

    def test_length_beyond_the_packet(self) -> None:
        self.refused(packet(at_3=200), "truncated")
        self.refused(packet(SIX, at_5=200), "truncated")

    def test_length_before_the_tcp_header_ends(self) -> None:
        self.refused(packet(at_3=39), "truncated")
        self.refused(packet(SIX, at_5=19), "truncated")

    def test_data_offset(self) -> None:
        self.refused(packet(at_32=0x40), "bad-tcp-header")
        self.refused(packet(at_32=0xF0), "bad-tcp-header")


class SegmentTests(SynchronousTestCase):
    """
    What a segment says of itself.
    """

    def test_ends(self) -> None:
        for key, size in ((FOUR, 4), (SIX, 16)):
            buffer = packet(key)
            segment = Segment(buffer, 0, len(buffer))
            self.assertEqual(segment.key, key)
            self.assertEqual(segment.source, key[:size])
            self.assertEqual(segment.destination, key[size : 2 * size])
            self.assertEqual((segment.source_port, segment.destination_port), (51515, 80))

    def test_padding_is_not_payload(self) -> None:
        buffer = packet() + bytes(6)
        segment = Segment(buffer, 0, len(buffer))
        self.assertEqual(segment.payload, b"hello")
        self.assertTrue(segment.intact())

    def test_next_counts_data_and_flags(self) -> None:
        for flags, count in ((ACK, 5), (ACK | FIN, 6), (SYN, 6), (SYN | FIN, 7)):
            buffer = compose(FOUR, 2**32 - 5, 0, flags, 0, payload=b"hello").buffer
            segment = Segment(buffer, 0, len(buffer))
            self.assertEqual(segment.next, count - 5)

    def test_any_octet_changed_is_not_intact(self) -> None:
        """
        Every octet that the checksum covers: addresses and all of TCP.
        """
        for key, ip in ((FOUR, range(12, 20)), (SIX, range(8, 40))):
            whole = packet(key)
            start = 20 if key is FOUR else 40
            for at in (*ip, *range(start, len(whole))):
                changed = bytearray(whole)
                changed[at] ^= 0x10 if at == start + 12 else 0x01
                try:
                    segment = Segment(changed, 0, len(changed))
                except Malformed:
                    continue
                self.assertFalse(segment.intact(), at)

    def test_copy_stands_alone(self) -> None:
        buffer = bytearray(24) + packet() + bytes(6)
        segment = Segment(buffer, 24, len(buffer), frame=0, trusted=True, gso_size=3)
        copy = segment.copy()
        buffer[24:] = bytes(len(buffer) - 24)
        self.assertEqual(copy.payload, b"hello")
        self.assertEqual((copy.frame, copy.ip, copy.end), (-1, 0, 49))
        self.assertEqual((copy.key, copy.seq, copy.gso_size), (FOUR, 1000, 3))
        self.assertTrue(copy.trusted)

    def test_reversed_key(self) -> None:
        client, front = bytes((198, 51, 100, 7)), bytes((192, 0, 2, 11))
        self.assertEqual(reversed_key(FOUR), flow_key(front, 80, client, 51515))
        for key in (FOUR, SIX):
            self.assertEqual(reversed_key(reversed_key(key)), key)

    def test_header_size(self) -> None:
        self.assertEqual(header_size(4, 12), 52)
        self.assertEqual(header_size(6, 0), 60)
