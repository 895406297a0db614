# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.handoff.timers}.
"""

from __future__ import annotations

from math import inf
from typing import Any

from attrs import define
from twisted.trial.unittest import SynchronousTestCase

from btcp.handoff.timers import HORIZON, Look, Timers


@define(eq=False)
class Flow:
    """
    Something with a timer.
    """

    name: str = "flow"
    deadline: float = inf
    look: Look[Any] | None = None


class TimersTests(SynchronousTestCase):
    """
    Deadlines, met and moved.
    """

    def setUp(self) -> None:
        self.timers: Timers[Flow] = Timers()
        self.flow = Flow()

    def expired(self, now: float) -> list[Flow]:
        """
        What is due.
        """
        return list(self.timers.expired(now))

    def test_nothing(self) -> None:
        self.assertEqual(self.timers.next(), inf)
        self.assertEqual(self.expired(1e9), [])

    def test_due_at_the_deadline_and_once(self) -> None:
        self.timers.set(self.flow, 5.0, 0.0)
        self.assertEqual(self.timers.next(), 5.0)
        self.assertEqual(self.expired(4.999), [])
        self.assertEqual(self.expired(5.0), [self.flow])
        self.assertEqual(self.expired(100.0), [])
        self.assertEqual(self.timers.next(), inf)
        self.assertEqual(self.flow.deadline, inf)

    def test_in_order_of_deadlines_then_of_setting(self) -> None:
        flows = [Flow(name) for name in "abcd"]
        for flow, deadline in zip(flows, (3.0, 1.0, 2.0, 1.0), strict=True):
            self.timers.set(flow, deadline, 0.0)
        self.assertEqual([flow.name for flow in self.expired(9.0)], ["b", "d", "c", "a"])

    def test_later(self) -> None:
        """
        The queue looks at the old time, and finds that there is no hurry.
        """
        self.timers.set(self.flow, 5.0, 0.0)
        self.timers.set(self.flow, 8.0, 1.0)
        self.assertEqual(len(self.timers), 1)
        self.assertEqual(self.expired(7.9), [])
        self.assertEqual(self.timers.next(), 8.0)
        self.assertEqual(self.expired(8.0), [self.flow])

    def test_sooner(self) -> None:
        self.timers.set(self.flow, 8.0, 0.0)
        self.timers.set(self.flow, 5.0, 1.0)
        self.assertEqual(self.timers.next(), 5.0)
        self.assertEqual(self.expired(5.0), [self.flow])
        self.assertEqual(self.expired(8.0), [])

    def test_sooner_and_later_again(self) -> None:
        self.timers.set(self.flow, 8.0, 0.0)
        self.timers.set(self.flow, 5.0, 0.0)
        self.timers.set(self.flow, 9.0, 0.0)
        self.assertEqual(self.expired(8.5), [])
        self.assertEqual(self.expired(9.0), [self.flow])
        self.assertEqual(len(self.timers), 0)

    def test_far_away(self) -> None:
        """
        The queue does not wait for it longer than the horizon, but the flow does.
        """
        self.timers.set(self.flow, 900.0, 0.0)
        self.assertEqual(self.timers.next(), HORIZON)
        looks = 0
        while not (found := self.expired(self.timers.next())):
            looks += 1
            self.assertLess(looks, 40)
        self.assertEqual(found, [self.flow])
        self.assertEqual(looks, 29)

    def test_cancelled(self) -> None:
        self.timers.set(self.flow, 5.0, 0.0)
        self.timers.cancel(self.flow)
        self.assertEqual(self.timers.next(), inf)
        self.assertEqual(self.expired(9.0), [])
        self.assertEqual(self.flow.deadline, inf)
        self.timers.cancel(self.flow)

    def test_cancelled_flows_are_not_kept(self) -> None:
        """
        However many came and went, nothing of them is left once their time is past.
        """
        for _ in range(1000):
            flow = Flow()
            self.timers.set(flow, 900.0, 0.0)
            self.timers.cancel(flow)
            self.assertIsNone(flow.look)
        self.timers.set(self.flow, HORIZON + 1, 0.0)
        self.assertEqual(self.expired(HORIZON), [])
        self.assertEqual(len(self.timers), 1)

    def test_set_while_expired(self) -> None:
        """
        Who is called because of its deadline may have another one, even one that is
        past already.
        """
        self.timers.set(self.flow, 5.0, 0.0)
        times = 0
        for flow in self.timers.expired(6.0):
            times += 1
            if times < 3:
                self.timers.set(flow, 5.5, 6.0)
        self.assertEqual(times, 3)

    def test_cancelled_while_another_expires(self) -> None:
        other = Flow("other")
        self.timers.set(self.flow, 1.0, 0.0)
        self.timers.set(other, 2.0, 0.0)
        found = []
        for flow in self.timers.expired(3.0):
            found.append(flow)
            self.timers.cancel(other)
        self.assertEqual(found, [self.flow])
