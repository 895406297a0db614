# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.wire.seqnum}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from btcp.wire.seqnum import MASK, add, at_or_before, before, distance, in_window, latest

LAST = MASK


class SeqnumTests(SynchronousTestCase):
    """
    Around 0 and around the half of the circle.
    """

    def test_add_wraps_both_ways(self) -> None:
        self.assertEqual(add(LAST, 1), 0)
        self.assertEqual(add(0, -1), LAST)
        self.assertEqual(add(5, 2**40), 5)

    def test_distance_over_the_wrap(self) -> None:
        self.assertEqual(distance(LAST, 1), 2)
        self.assertEqual(distance(1, LAST), -2)

    def test_distance_of_half_the_circle_is_backwards(self) -> None:
        self.assertEqual(distance(0, 2**31), -(2**31))
        self.assertEqual(distance(0, 2**31 - 1), 2**31 - 1)

    def test_order_over_the_wrap(self) -> None:
        self.assertTrue(before(LAST, 0))
        self.assertFalse(before(0, LAST))
        self.assertFalse(before(7, 7))
        self.assertTrue(at_or_before(7, 7))
        self.assertEqual(latest(LAST, 3), 3)
        self.assertEqual(latest(3, LAST), 3)

    def test_window_over_the_wrap(self) -> None:
        self.assertTrue(in_window(LAST, LAST, 1))
        self.assertTrue(in_window(1, LAST, 3))
        self.assertFalse(in_window(2, LAST, 3))
        self.assertFalse(in_window(LAST - 1, LAST, 3))
        self.assertFalse(in_window(5, 5, 0))
