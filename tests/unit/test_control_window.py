# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.control.window}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from btcp.control.window import FIRST, LEAST, MOST, Window

TARGET = 0.25


class Peer:
    """
    A peer that answers so many handoffs a second, one after the other.
    """

    def __init__(self, rate: float) -> None:
        self.window = Window(TARGET, 0.0)
        self.rate = rate
        self.now = 0.0
        self.slowest = 0.0
        self.refused = 0
        self._queue: list[float] = []
        self._credit = 0.0

    def offer(self, rate: float, seconds: float, step: float = 0.01) -> None:
        """
        Hand off at a rate for a time.
        """
        owed = 0.0
        self.slowest = 0.0
        end = self.now + seconds
        while self.now < end:
            self.now += step
            owed += rate * step
            while owed >= 1:
                owed -= 1
                if self.window.take(self.now):
                    self._queue.append(self.now)
                else:
                    self.refused += 1
            self._credit = min(self._credit + self.rate * step, self.rate * step + 1)
            while self._credit >= 1 and self._queue:
                self._credit -= 1
                asked = self._queue.pop(0)
                self.slowest = max(self.slowest, self.now - asked)
                self.window.give(asked, self.now)


class WindowTests(SynchronousTestCase):
    def test_flood(self) -> None:
        """
        Ten times what the peer can do: nothing that is sent waits long, and the peer is busy.
        """
        peer = Peer(400)
        peer.offer(4000, 10)
        peer.offer(4000, 10)
        self.assertLess(peer.slowest, 3 * TARGET)
        self.assertGreater(peer.window.limit, LEAST)
        self.assertGreater(peer.refused, 0)

    def test_recovery(self) -> None:
        """
        A peer that was slow for a while gets as much as it can do once it is not.
        """
        peer = Peer(50)
        peer.offer(2000, 20)
        self.assertEqual(peer.window.limit, LEAST)
        peer.rate = 5000
        peer.offer(4000, 20)
        before = peer.refused
        peer.offer(4000, 5)
        self.assertEqual(peer.refused, before)

    def test_fast(self) -> None:
        """
        A limit that nothing needs does not grow.
        """
        peer = Peer(5000)
        peer.offer(1000, 10)
        self.assertEqual((peer.window.limit, peer.refused), (FIRST, 0))

    def test_silent(self) -> None:
        """
        Of a peer that answers nothing, few handoffs are outstanding, whatever is offered.
        """
        peer = Peer(0)
        peer.offer(4000, 20)
        self.assertEqual(peer.window.limit, LEAST)
        self.assertEqual(peer.window.outstanding, FIRST)

    def test_bound(self) -> None:
        """
        The limit has a bound.
        """
        window = Window(TARGET, 0.0)
        now = 0.0
        for _ in range(100):
            now += TARGET
            while window.take(now):
                pass
            while window.outstanding:
                window.give(now, now)
        self.assertEqual(window.limit, MOST)
