# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.wire.gso}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from btcp.wire.build import compose
from btcp.wire.checksum import pseudo
from btcp.wire.gso import split
from btcp.wire.segment import ACK, FIN, PSH, Segment
from tests.unit.test_wire_segment import FOUR, SIX

DATA = bytes(range(250))


def super_packet(key: bytes, data: bytes, gso_size: int, seq: int = 1000) -> Segment:
    """
    As a kernel hands it out, with a partial checksum.
    """
    made = compose(key, seq, 7, ACK | PSH | FIN, 9, b"\1" * 4, data)
    summed = pseudo(made.source, made.destination, made.end - made.tcp) % 0xFFFF
    made.buffer[made.tcp + 16 : made.tcp + 18] = summed.to_bytes(2, "big")
    buffer = bytearray(5) + made.buffer + b"\xee" * 3
    return Segment(buffer, 5, len(buffer), partial=True, gso_size=gso_size)


def pieces(segment: Segment) -> list[Segment]:
    """
    The segments it stands for.
    """
    return [Segment(bytearray(each), 0, len(each)) for each in split(segment)]


class SplitTests(SynchronousTestCase):
    """
    Cutting super-packets.
    """

    def test_data_is_all_there_in_order(self) -> None:
        for key in (FOUR, SIX):
            for gso_size in (1, 49, 50, 249):
                cut = pieces(super_packet(key, DATA, gso_size))
                self.assertEqual(b"".join(bytes(each.payload) for each in cut), DATA)
                self.assertEqual([each.size for each in cut[:-1]], [gso_size] * (len(cut) - 1))
                self.assertTrue(all(each.intact() for each in cut))

    def test_numbers_go_on_over_the_wrap(self) -> None:
        cut = pieces(super_packet(FOUR, DATA, 100, seq=2**32 - 150))
        self.assertEqual([each.seq for each in cut], [2**32 - 150, 2**32 - 50, 50])

    def test_only_the_last_has_fin_and_push(self) -> None:
        flags = [each.flags for each in pieces(super_packet(FOUR, DATA, 100))]
        self.assertEqual(flags, [ACK, ACK, ACK | PSH | FIN])

    def test_each_has_an_identification_of_its_own(self) -> None:
        whole = super_packet(FOUR, DATA, 100)
        whole.buffer[whole.ip + 4 : whole.ip + 6] = b"\xff\xff"
        cut = [bytes(each.buffer[4:6]) for each in pieces(whole)]
        self.assertEqual(cut, [b"\xff\xff", b"\0\0", b"\0\1"])

    def test_what_fits_is_one_packet(self) -> None:
        for gso_size in (0, 250, 300):
            for data in (DATA, b""):
                (only,) = pieces(super_packet(FOUR, data, gso_size))
                self.assertEqual(only.payload, data)
                self.assertTrue(only.intact())

    def test_a_whole_checksum_is_left_alone(self) -> None:
        made = compose(FOUR, 1, 2, ACK, 3, payload=b"x")
        made.buffer[-1] ^= 1
        (only,) = pieces(made)
        self.assertFalse(only.intact())
