# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.handoff.route}: the account of one direction.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from btcp.handoff.route import ENDING, REACH, Route
from btcp.wire.build import compose
from btcp.wire.segment import ACK, FIN, RST

KEY = bytes(12)
ACKED, SENT = 2**32 - 10, 2**32 - 20
"""So that both wrap."""


class RouteTests(SynchronousTestCase):
    """
    Numbers are those before rewriting; what is old changes nothing.
    """

    def setUp(self) -> None:
        self.route = Route(KEY, None, local=True, punt=ENDING, ack=ACKED, end=SENT, now=1.0)

    def take(
        self, seq: int, ack: int, flags: int = ACK, payload: bytes = b"", now: float = 2.0
    ) -> None:
        """
        A packet passes; C{seq} and C{ack} are what is added to the numbers above.
        """
        numbers = (SENT + seq) % 2**32, (ACKED + ack) % 2**32
        self.route.take(compose(KEY, *numbers, flags, 9, payload=payload), now)

    def account(self) -> tuple[int, int]:
        """
        How far data and acknowledgments got.
        """
        return (self.route.end - SENT) % 2**32, (self.route.ack - ACKED) % 2**32

    def test_nothing(self) -> None:
        self.assertEqual((self.route.used, self.route.packets, self.route.octets), (1.0, 0, 0))
        self.assertFalse(self.route.progress)

    def test_data(self) -> None:
        self.take(0, 0, payload=bytes(30))
        self.take(30, 0, payload=bytes(5), now=3.0)
        self.assertEqual(self.account(), (35, 0))
        self.assertEqual((self.route.used, self.route.packets, self.route.octets), (3.0, 2, 35))
        self.assertFalse(self.route.progress)

    def test_data_again(self) -> None:
        """
        Counts as what passed, but is no news.
        """
        for _ in range(2):
            self.take(0, 0, payload=bytes(30))
        self.take(3, 0, payload=bytes(3))
        self.assertEqual((self.account(), self.route.octets), ((30, 0), 63))

    def test_acknowledgments(self) -> None:
        self.take(0, 20)
        self.assertEqual(self.account(), (0, 20))
        self.assertTrue(self.route.progress)

    def test_late_acknowledgments(self) -> None:
        self.take(0, 20)
        for late in (19, 0, -5):
            self.take(0, late)
        self.assertEqual(self.account(), (0, 20))

    def test_late_acknowledgments_are_no_progress(self) -> None:
        self.take(0, 0)
        self.take(0, -5)
        self.assertFalse(self.route.progress)

    def test_field_without_the_flag(self) -> None:
        self.take(0, 20, flags=RST)
        self.assertEqual(self.account()[1], 0)
        self.assertFalse(self.route.progress)

    def test_fin_counts(self) -> None:
        self.take(0, 0, flags=FIN | ACK, payload=b"x")
        self.assertEqual(self.account(), (2, 0))
        self.assertEqual(self.route.octets, 1)

    def test_number_out_of_reach_moves_nothing(self) -> None:
        """
        An attacker that knows only addresses and ports cannot write what a reset is compared with.
        """
        for seq, ack in ((REACH, 0), (-REACH - 1, 0), (1 << 31, 0), (0, REACH), (0, 1 << 31)):
            self.take(seq, ack, payload=b"x")
            self.assertEqual((self.account(), self.route.octets), ((0, 0), 0), (seq, ack))
        self.assertFalse(self.route.progress)
        self.assertEqual(self.route.packets, 5)

    def test_number_within_reach_moves_both(self) -> None:
        self.take(REACH - 1, REACH - 1, payload=b"x")
        self.assertEqual(self.account(), (REACH, REACH - 1))
