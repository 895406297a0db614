# SPDX-License-Identifier: MIT
"""
Queue of notifications about express connections for other nodes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from btcp.control.express import MAX_RECORDS, Subject, Word
from btcp.handoff.messages import Reason

MOST_UNTOLD = 65_536
"""Maximum number of connections in one queue.  The other node ends further ones by its idle
timeout."""

Say = Callable[[str, Word, Callable[[], None]], bool]
"""Sends a message to a node; returns whether it was sent, and calls back when it was confirmed."""


class News:
    """
    Bounded queues of notifications: one for each node, kind and reason.
    """

    def __init__(self, say: Say) -> None:
        self._say = say
        self._untold: dict[tuple[str, Subject, Reason], deque[bytes]] = {}

    def add(
        self, node: str, what: Subject, records: Iterable[bytes], why: Reason = Reason.CLOSED
    ) -> None:
        """
        Queue notifications.

        @param records: the receiving node's names of the connections.
        @param why: the reason, see L{Word}.
        """
        waiting = self._untold.get((node, what, why))
        if waiting is None:
            waiting = self._untold[node, what, why] = deque(maxlen=MOST_UNTOLD)
        waiting.extend(records)

    def tell(self) -> None:
        """
        Send all queued notifications, in batches, to the nodes that can be reached.
        """
        for (node, what, why), waiting in self._untold.items():
            while waiting:
                part = [waiting.popleft() for _ in range(min(len(waiting), MAX_RECORDS))]
                if not self._say(node, Word(what, b"".join(part), why), lambda: None):
                    waiting.extendleft(reversed(part))
                    break

    def forget(self, node: str) -> None:
        """
        Drop all notifications for a node that has lost its connections.
        """
        for key in [key for key in self._untold if key[0] == node]:
            del self._untold[key]
