# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.handoff.reassembly}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from btcp.handoff.reassembly import SLACK, WINDOW, RequestBuffer


class RequestBufferTests(SynchronousTestCase):
    """
    Putting octets into order.
    """

    def setUp(self) -> None:
        self.buffer = RequestBuffer()

    def add(self, offset: int, data: bytes) -> bytes | None:
        """
        As the buffer's own.
        """
        return self.buffer.add(offset, memoryview(data))

    def test_in_order(self) -> None:
        self.assertEqual(self.add(0, b"ab"), b"ab")
        self.assertEqual(self.add(2, b"cd"), b"cd")
        self.assertEqual(self.buffer.octets, b"abcd")

    def test_backwards(self) -> None:
        for offset in (4, 3, 2, 1):
            self.assertEqual(self.add(offset, b"01234"[offset : offset + 1]), b"")
        self.assertEqual(self.add(0, b"0"), b"01234")

    def test_again(self) -> None:
        self.add(0, b"abcd")
        self.assertEqual(self.add(0, b"abcd"), b"")
        self.assertEqual(self.add(1, b"bc"), b"")
        self.assertEqual(self.buffer.octets, b"abcd")

    def test_overlap_with_what_is_there(self) -> None:
        """
        What was read is what counts.
        """
        self.add(0, b"abcd")
        self.assertEqual(self.add(2, b"XXef"), b"ef")
        self.assertEqual(self.buffer.octets, b"abcdef")

    def test_before_the_first_octet(self) -> None:
        """
        As a keep-alive probe has it.
        """
        self.assertEqual(self.add(-1, b"?ab"), b"ab")
        self.assertEqual(self.add(-5, b"?????"), b"")

    def test_early_pieces_that_overlap(self) -> None:
        self.add(2, b"cd")
        self.add(3, b"def")
        self.add(2, b"c")
        self.assertEqual(self.add(0, b"ab"), b"abcdef")

    def test_longer_piece_at_the_same_place(self) -> None:
        self.add(2, b"c")
        self.add(2, b"cdef")
        self.assertEqual(self.add(0, b"ab"), b"abcdef")

    def test_gap_that_is_closed_by_a_large_piece(self) -> None:
        self.add(2, b"c")
        self.add(6, b"g")
        self.assertEqual(self.add(0, b"abcdef"), b"abcdefg")

    def test_what_is_kept_is_a_copy(self) -> None:
        data = bytearray(b"cd")
        self.buffer.add(2, memoryview(data))
        data[:] = b"XX"
        self.assertEqual(self.add(0, b"ab"), b"abcd")

    def test_beyond_the_window(self) -> None:
        self.assertEqual(self.add(WINDOW + SLACK - 1, b"z"), b"")
        self.assertIsNone(self.add(WINDOW + SLACK, b"z"))
        self.assertIsNone(self.add(0, bytes(WINDOW + SLACK + 1)))
        self.assertEqual(self.buffer.octets, b"")

    def test_many_pieces(self) -> None:
        """
        More than so many small ones have no room; what closes the gap always has.
        """
        kept = sum(self.add(2 * n, b"x") is not None for n in range(1, 200))
        self.assertLess(kept, 100)
        self.assertEqual(self.add(0, b"ab"), b"abx")

    def test_large_pieces_that_overlap(self) -> None:
        """
        Whoever sends them, no more is kept than a window holds.
        """
        size = WINDOW // 2
        kept = sum(self.add(n, bytes(size)) is not None for n in range(1, 60))
        self.assertLessEqual(kept * size, WINDOW + SLACK)
        self.assertGreater(kept, 0)
