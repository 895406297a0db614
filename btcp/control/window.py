# SPDX-License-Identifier: MIT
"""
The number of handoffs that may be outstanding at a peer.

All commands of a link share one stream, so a handoff that the peer has not read yet delays every
command behind it, L{Ping<btcp.control.commands.Ping>} included.  The window keeps that delay short,
whatever clients ask for: it grows while the peer answers in time and shrinks when it does not.
"""

from __future__ import annotations

from math import inf

FIRST = 256
"""The limit of a new link."""

LEAST = 16
"""The limit never falls below this, so that there are always answers to measure by."""

MOST = 16384
"""As many half-open flows as a node has by default."""

SHRINK = 0.7
"""A limit that was too large is multiplied by this, once an interval."""


class Window:
    """
    A limit that follows the shortest answer time of each interval.

    The shortest one, because a single origin may answer late for reasons of its own; if even the
    fastest answer is late, all of them waited in a queue (as CoDel does, RFC 8289, 3.2).

    @ivar limit: handoffs that may be outstanding.
    @ivar outstanding: handoffs that are.
    """

    def __init__(self, target: float, now: float) -> None:
        """
        @param target: seconds; an answer that takes longer is late.  It is the length of an
            interval as well.
        """
        self.limit = FIRST
        self.outstanding = 0
        self._target = target
        self._next = now + target
        self._shortest = inf
        self._full = False

    def take(self, now: float) -> bool:
        """
        Count one more handoff, if there is room.

        @return: whether there is.
        """
        self._end_interval(now)
        if self.outstanding >= self.limit:
            self._full = True
            return False
        self.outstanding += 1
        return True

    def give(self, asked: float, now: float) -> None:
        """
        Count the answer to a handoff.

        @param asked: when the handoff was sent.
        """
        self.outstanding -= 1
        self._shortest = min(self._shortest, now - asked)
        self._end_interval(now)

    def _end_interval(self, now: float) -> None:
        if now < self._next:
            return
        late = self._shortest > self._target
        if late and (self._shortest < inf or self.outstanding):
            self.limit = max(LEAST, int(self.limit * SHRINK))
        elif self._full:
            self.limit = min(MOST, self.limit + self.limit // 4)
        self._next = now + self._target
        self._shortest = inf
        self._full = False
