# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.wire.options}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from btcp.wire.build import compose
from btcp.wire.options import SynOptions, locate, pack_timestamps, timestamps, walk
from btcp.wire.segment import ACK, SYN, Malformed, Segment
from tests.unit.test_wire_segment import FOUR

STAMPS = b"\x08\n" + bytes(range(8))
START = 40
"""Where options start in an IPv4 packet."""


def segment(options: bytes, flags: int = ACK, payload: bytes = b"data") -> Segment:
    """
    A segment with these options.
    """
    return compose(FOUR, 1, 2, flags, 3, options, payload)


class WalkTests(SynchronousTestCase):
    """
    One walker for all.
    """

    def test_nothing(self) -> None:
        self.assertEqual(list(walk(segment(b""))), [])

    def test_kinds_places_and_lengths(self) -> None:
        found = list(walk(segment(b"\x02\x04\x05\xb4\x01\x03\x03\x07\x04\x02\x01\x01")))
        self.assertEqual(found, [(2, START + 2, 2), (3, START + 7, 1), (4, START + 10, 0)])

    def test_ends_where_the_end_is(self) -> None:
        self.assertEqual(list(walk(segment(b"\x01\x00\x08\x00"))), [])

    def refused(self, options: bytes) -> None:
        """
        The options are malformed.
        """
        raised = self.assertRaises(Malformed, list, walk(segment(options)))
        self.assertEqual(raised.counter, "bad-tcp-options")

    def test_lengths_that_cannot_be(self) -> None:
        self.refused(b"\x02\x00\x01\x01")
        self.refused(b"\x02\x01\x01\x01")
        self.refused(b"\x02\x05\x01\x01")
        self.refused(b"\x01\x01\x01\x02")

    def test_payload_is_no_option(self) -> None:
        """
        Nor is the length of an option ever read from it.
        """
        self.refused(b"\x01\x01\x01\x08")
        raised = self.assertRaises(
            Malformed, list, walk(segment(b"\x01\x01\x01\x08", payload=b"\x0a" * 20))
        )
        self.assertEqual(raised.counter, "bad-tcp-options")


class LocateTests(SynchronousTestCase):
    """
    What a splice rewrites.
    """

    def test_timestamps_as_everybody_writes_them(self) -> None:
        self.assertEqual(locate(segment(b"\1\1" + STAMPS)), (START + 4, 0, 0))

    def test_timestamps_anywhere(self) -> None:
        self.assertEqual(locate(segment(b"\1" + STAMPS + b"\1")), (START + 3, 0, 0))
        self.assertEqual(locate(segment(STAMPS + b"\0\0")), (START + 2, 0, 0))

    def test_sack(self) -> None:
        for blocks in (1, 2, 3, 4):
            option = bytes((5, 2 + 8 * blocks)) + bytes(8 * blocks)
            found = locate(segment(b"\1\1" + option))
            self.assertEqual(found, (0, START + 4, 2 * blocks))

    def test_lengths_that_mean_nothing(self) -> None:
        """
        A timestamps option of another length is none, nor is half a SACK block.
        """
        self.assertEqual(locate(segment(b"\x08\x04\x01\x01")), (0, 0, 0))
        self.assertEqual(locate(segment(b"\x05\x06" + bytes(4) + b"\1\1")), (0, 0, 0))

    def test_timestamps_values(self) -> None:
        self.assertEqual(timestamps(segment(pack_timestamps(7, 2**32 - 1))), (7, 2**32 - 1))
        self.assertEqual(timestamps(segment(b"\1" * 12)), None)


class SynOptionsTests(SynchronousTestCase):
    """
    What a SYN offers.
    """

    def read(self, options: bytes) -> SynOptions:
        """
        What a SYN with these options offers.
        """
        return SynOptions.read(segment(options, SYN))

    def test_nothing(self) -> None:
        self.assertEqual(self.read(b""), SynOptions())

    def test_as_linux_writes_them(self) -> None:
        octets = b"\x02\x04\x05\xb4\x04\x02" + STAMPS + b"\x01\x03\x03\x07"
        offered = self.read(octets)
        self.assertEqual(offered, SynOptions(1460, 7, True, 0x00010203, 0x04050607))
        self.assertEqual(offered.pack(), octets)

    def test_window_scale_above_14_counts_as_14(self) -> None:
        """
        RFC 7323, 2.3.
        """
        self.assertEqual(self.read(b"\x03\x03\xff\x01").scale, 14)

    def test_options_of_other_lengths_are_passed_over(self) -> None:
        octets = b"\x02\x03\x05\x03\x04\x07\x07\x04\x03\x01\x01\x01"
        self.assertEqual(self.read(octets), SynOptions())

    def test_unknown_options_are_passed_over(self) -> None:
        fast_open = b"\x22\x0a" + bytes(8)
        self.assertEqual(self.read(fast_open + b"\x02\x04\x02\x18\x01\x01"), SynOptions(mss=536))
