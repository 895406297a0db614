# SPDX-License-Identifier: MIT
"""
A time that is asked for, not waited for.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush

from attrs import define, field

Job = Callable[[], None]


@define(slots=True, eq=False)
class Call:
    """
    Something that is going to happen.

    @ivar job: C{None} once it happened or was cancelled.
    """

    job: Job | None

    def cancel(self) -> None:
        """
        It is not going to happen.
        """
        self.job = None


@define(slots=True)
class Clock:
    """
    @ivar now: seconds.
    """

    now: float = 1000.0
    # No two calls have the same time and number, so that calls are never compared.
    _queue: list[tuple[float, int, Call]] = field(factory=list)
    _count: int = 0

    def seconds(self) -> float:
        """
        @return: the time.
        """
        return self.now

    def call_later(self, delay: float, job: Job) -> Call:
        """
        Have C{job} called after C{delay} seconds; in the order of these calls if
        several are due at once.
        """
        self._count += 1
        call = Call(job)
        heappush(self._queue, (self.now + delay, self._count, call))
        return call

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """
        Let time pass, no longer than is something to do.

        @param until: whether to stop early, asked after each call.
        @return: whether it was stopped early.
        """
        end, queue = self.now + seconds, self._queue
        while queue and queue[0][0] <= end:
            at, _, call = heappop(queue)
            job, call.job = call.job, None
            if job is None:
                continue
            self.now = at
            job()
            if until():
                return True
        self.now = end
        return False
