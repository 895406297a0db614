# SPDX-License-Identifier: MIT
"""
Deadlines of flows, by argument: nobody here reads a clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush
from math import inf
from typing import Any, Generic, Protocol, TypeVar

HORIZON = 30.0
"""Seconds.  No entry waits longer than this, however far its deadline is: so an
entry that outlived its flow is gone soon, and a deadline that moves on, as with
every packet of an idle timeout, costs nothing until then."""


class Timed(Protocol):
    """
    @ivar deadline: when the flow's timer expires; C{inf} when it has none.
    @ivar look: the queue's entry for the flow; owned by L{Timers}.
    """

    deadline: float
    look: Look[Any] | None


T = TypeVar("T", bound=Timed)


class Look(Generic[T]):
    """
    An entry of the queue.

    @ivar at: when to look at the flow.
    @ivar flow: C{None} once nobody wants to.
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
    One timer for each flow.
    """

    def __init__(self) -> None:
        self._queue: list[Look[T]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._queue)

    def set(self, flow: T, deadline: float, now: float) -> None:
        """
        Have L{expired} return the flow once C{deadline} is past.
        """
        flow.deadline = deadline
        if flow.look is None or deadline < flow.look.at:
            self._push(flow, min(deadline, now + HORIZON))

    def cancel(self, flow: T) -> None:
        """
        The flow is over; nothing of it is kept here.
        """
        flow.deadline = inf
        if flow.look is not None:
            flow.look.flow = None
            flow.look = None

    def next(self) -> float:
        """
        @return: when L{expired} should be called next, C{inf} for never.
        """
        queue = self._queue
        while queue and queue[0].flow is None:
            heappop(queue)
        return queue[0].at if queue else inf

    def expired(self, now: float) -> Iterator[T]:
        """
        @return: the flows whose deadline is past; each has none thereafter.
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
