# SPDX-License-Identifier: MIT
"""
Deadlines of flows, by argument: nobody here reads a clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush
from math import inf
from typing import Generic, Protocol, TypeVar

HORIZON = 30.0
"""Seconds.  No entry waits longer than this, however far its deadline is: so an
entry that outlived its flow is gone soon, and a deadline that moves on, as with
every packet of an idle timeout, costs nothing until then."""


class Timed(Protocol):
    """
    @ivar deadline: when the flow's timer expires; C{inf} when it has none.
    @ivar checked: when the queue will look at it next; owned by L{Timers}.
    """

    deadline: float
    checked: float


T = TypeVar("T", bound=Timed)


class Timers(Generic[T]):
    """
    One timer for each flow.
    """

    def __init__(self) -> None:
        self._queue: list[tuple[float, int, T]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._queue)

    def set(self, flow: T, deadline: float, now: float) -> None:
        """
        Have L{expired} return the flow once C{deadline} is past.
        """
        flow.deadline = deadline
        if deadline < flow.checked:
            self._push(flow, min(deadline, now + HORIZON))

    def next(self) -> float:
        """
        @return: when L{expired} should be called next, C{inf} for never.
        """
        return self._queue[0][0] if self._queue else inf

    def expired(self, now: float) -> Iterator[T]:
        """
        @return: the flows whose deadline is past; each has none thereafter.
        """
        queue = self._queue
        while queue and queue[0][0] <= now:
            at, _, flow = heappop(queue)
            if at != flow.checked:  # an earlier look was asked for since
                continue
            flow.checked = inf
            if flow.deadline <= now:
                flow.deadline = inf
                yield flow
            elif flow.deadline != inf:
                self._push(flow, min(flow.deadline, now + HORIZON))

    def _push(self, flow: T, at: float) -> None:
        flow.checked = at
        self._count += 1
        heappush(self._queue, (at, self._count, flow))
