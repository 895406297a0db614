# SPDX-License-Identifier: MIT
"""
What refused connections say of an origin, to the front-end that sees them.
"""

from __future__ import annotations

from collections import deque

from attrs import define, field, frozen

from btcp.handoff.messages import Reason

BLAMED = frozenset((Reason.NO_LISTENER, Reason.RESET_BY_ORIGIN, Reason.ACCEPT_QUEUE_FULL))
"""Refusals that the origin is to be blamed for, and not its node."""


@frozen
class Patience:
    """
    How much is borne.

    @ivar refusals: as many are too many,
    @ivar window: in so many seconds.
    """

    refusals: int
    window: float


@define(eq=False)
class Blame:
    """
    Refusals of one node.  After too many it is left alone for as long as they took at
    most, and then tried again.
    """

    _seen: deque[float] = field(factory=deque)
    _until: float | None = None

    @property
    def standing(self) -> bool:
        """
        Whether the node is left alone.
        """
        return self._until is not None

    @property
    def why(self) -> str:
        """
        What to tell people.
        """
        return "it refused too many connections" if self.standing else ""

    def add(self, now: float, patience: Patience) -> bool:
        """
        One more was refused.

        @return: whether that was the one too many.
        """
        if self.standing:
            return False
        self._seen.append(now)
        while self._seen[0] <= now - patience.window:
            self._seen.popleft()
        if len(self._seen) < patience.refusals:
            return False
        self._seen.clear()
        self._until = now + patience.window
        return True

    def forget(self) -> None:
        """
        The origin was ill, and is well now.
        """
        self._seen.clear()
        self._until = None

    def over(self, now: float) -> None:
        """
        Time has passed: perhaps the node is to be tried again.
        """
        if self._until is not None and now >= self._until:
            self._until = None
