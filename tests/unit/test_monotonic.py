# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.daemon.monotonic}.
"""

from __future__ import annotations

import time

from twisted.internet import task
from twisted.internet.base import ReactorBase
from twisted.trial.unittest import SynchronousTestCase

from btcp.daemon.monotonic import use_monotonic_clock


class StillReactor(ReactorBase):
    """
    A reactor that waits for nothing; its clock starts as the wall's.
    """

    def installWaker(self) -> None:
        """
        Not needed by one thread.
        """

    def removeAll(self) -> list[object]:  # type: ignore[override]
        """
        There are no descriptors.
        """
        return []


class MonotonicTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.now = 1000.0
        self.wall = 1_800_000_000.0
        self.patch(time, "monotonic", lambda: self.now)
        self.reactor = StillReactor()
        self.reactor.seconds = lambda: self.wall
        self.ran: list[str] = []

    def later(self, seconds: float, name: str) -> None:
        self.reactor.callLater(seconds, self.ran.append, name)

    def test_wall_clock_is_set_back(self) -> None:
        """
        A delayed call runs when its delay is over, though the wall clock went back an hour.
        """
        use_monotonic_clock(self.reactor)
        self.later(2, "call")
        self.wall -= 3600
        self.now += 2
        self.reactor.runUntilCurrent()
        self.assertEqual(self.ran, ["call"])

    def test_wall_clock_is_set_forward(self) -> None:
        """
        A delayed call does not run before its delay is over.
        """
        use_monotonic_clock(self.reactor)
        self.later(2, "call")
        self.wall += 3600
        self.now += 1
        self.reactor.runUntilCurrent()
        self.assertEqual(self.ran, [])

    def test_calls_already_scheduled_keep_their_delay(self) -> None:
        """
        What was scheduled before the change runs in time and in order, and can be postponed.
        """
        self.later(3, "second")
        self.later(1, "first")
        postponed = self.reactor.callLater(2, self.ran.append, "postponed")
        use_monotonic_clock(self.reactor)
        postponed.reset(5)
        self.now += 3
        self.reactor.runUntilCurrent()
        self.assertEqual(self.ran, ["first", "second"])
        self.now += 2
        self.reactor.runUntilCurrent()
        self.assertEqual(self.ran, ["first", "second", "postponed"])

    def test_looping_call(self) -> None:
        """
        A loop on this reactor keeps its interval.
        """
        use_monotonic_clock(self.reactor)
        loop = task.LoopingCall(self.ran.append, "turn")
        loop.clock = self.reactor
        loop.start(1, now=False)
        self.wall -= 3600
        for _ in range(3):
            self.now += 1
            self.reactor.runUntilCurrent()
        self.assertEqual(self.ran, ["turn"] * 3)
        loop.stop()
