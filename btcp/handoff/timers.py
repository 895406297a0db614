# SPDX-License-Identifier: MIT
"""
Timers of flows.  The time is always an argument; this module reads no clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush
from math import inf
from typing import Any, Generic, Protocol, TypeVar

HORIZON = 30.0
"""Maximum seconds that an entry stays in the queue before its flow is examined, however far its
deadline is.  Thus entries of freed flows disappear soon, and moving a deadline further away costs
nothing."""


class Timed(Protocol):
    """
    An object with a timer.

    @ivar deadline: when the timer expires; C{inf} if it is not set.
    @ivar look: the object's entry in the queue; owned by L{Timers}.
    """

    deadline: float
    look: Look[Any] | None


T = TypeVar("T", bound=Timed)


class Look(Generic[T]):
    """
    An entry of the queue.

    @ivar at: when to examine the flow.
    @ivar flow: the flow; C{None} once the entry is obsolete.
    """

    __slots__ = ("_order", "at", "flow")

    def __init__(self, at: float, order: int, flow: T) -> None:
        self.at = at
        self._order = order
        self.flow: T | None = flow

    def __lt__(self, other: Look[T]) -> bool:
        return (self.at, self._order) < (other.at, other._order)


class Timers(Generic[T]):
    """
    A queue with one timer for each flow.
    """

    def __init__(self) -> None:
        self._queue: list[Look[T]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._queue)

    def set(self, flow: T, deadline: float, now: float) -> None:
        """
        Set a flow's timer, in place of its last deadline.
        """
        flow.deadline = deadline
        if flow.look is None or deadline < flow.look.at:
            self._push(flow, min(deadline, now + HORIZON))

    def cancel(self, flow: T) -> None:
        """
        Cancel a flow's timer and drop all references to the flow.
        """
        flow.deadline = inf
        if flow.look is not None:
            flow.look.flow = None
            flow.look = None

    def next(self) -> float:
        """
        Return the time at which L{expired} has to be called next; C{inf} if there is no timer.
        """
        queue = self._queue
        while queue and queue[0].flow is None:
            heappop(queue)
        return queue[0].at if queue else inf

    def expired(self, now: float) -> Iterator[T]:
        """
        Iterate over the flows whose timers have expired; their timers are unset.
        """
        queue = self._queue
        while queue and queue[0].at <= now:
            flow = heappop(queue).flow
            if flow is None:
                continue
            flow.look = None
            if flow.deadline <= now:
                flow.deadline = inf
                yield flow
            elif flow.deadline != inf:
                self._push(flow, min(flow.deadline, now + HORIZON))

    def _push(self, flow: T, at: float) -> None:
        if flow.look is not None:
            flow.look.flow = None
        self._count += 1
        flow.look = Look(at, self._count, flow)
        heappush(self._queue, flow.look)
