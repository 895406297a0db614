# SPDX-License-Identifier: MIT
"""
However a stream is cut, doubled and mixed, L{RequestBuffer} puts it together.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from btcp.handoff.reassembly import SLACK, WINDOW, RequestBuffer

STREAM = bytes(range(256)) * 2
spans = st.lists(st.tuples(st.integers(-5, 500), st.integers(0, 300)), max_size=40)


class ReassemblyProperties(SynchronousTestCase):
    """
    Any pieces, in any order.
    """

    @given(spans)
    def test_never_anything_but_the_stream(self, pieces: list[tuple[int, int]]) -> None:
        """
        What is told as new is what is new, each octet once.
        """
        buffer, told = RequestBuffer(), b""
        for start, size in pieces:
            # Octets before the first one are nobody's.
            data = b"?" * -start + STREAM[max(start, 0) : max(start + size, 0)]
            fresh = buffer.add(start, memoryview(data))
            told += fresh or b""
            self.assertEqual(buffer.octets, told)
            self.assertEqual(told, STREAM[: len(told)])

    @given(spans, st.integers(1, 100))
    def test_what_is_sent_again_arrives(self, pieces: list[tuple[int, int]], size: int) -> None:
        """
        Whatever came before, and whatever had no room.
        """
        buffer = RequestBuffer()
        for start, length in pieces:
            if start >= 0:
                buffer.add(start, memoryview(STREAM[start : start + length]))
        for start in range(0, len(STREAM), size):
            buffer.add(start, memoryview(STREAM[start : start + size]))
        self.assertEqual(buffer.octets, STREAM)

    @given(st.lists(st.tuples(st.integers(-9, WINDOW * 2), st.integers(0, WINDOW))))
    def test_bounded(self, pieces: list[tuple[int, int]]) -> None:
        buffer = RequestBuffer()
        for start, size in pieces:
            buffer.add(start, memoryview(bytes(size)))
            self.assertLessEqual(len(buffer.octets), WINDOW + SLACK)
