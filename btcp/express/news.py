# SPDX-License-Identifier: MIT
"""
What other nodes have to hear of express connections, kept until it can be said.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from btcp.control.express import MAX_RECORDS, Subject, Word
from btcp.handoff.messages import Reason

MOST_UNTOLD = 65_536
"""Connections of which a node has to hear one thing; what is beyond them it finds by their idle
time."""

Say = Callable[[str, Word, Callable[[], None]], bool]
"""Says something to a node, if it can be told; calls back when it was taken in."""


class News:
    """
    For each node, each thing to say, and each reason.
    """

    def __init__(self, say: Say) -> None:
        self._say = say
        self._untold: dict[tuple[str, Subject, Reason], deque[bytes]] = {}

    def add(
        self, node: str, what: Subject, records: Iterable[bytes], why: Reason = Reason.CLOSED
    ) -> None:
        """
        @param records: of each connection, what the node calls it.
        @param why: see L{Word}.
        """
        waiting = self._untold.get((node, what, why))
        if waiting is None:
            waiting = self._untold[node, what, why] = deque(maxlen=MOST_UNTOLD)
        waiting.extend(records)

    def tell(self) -> None:
        """
        Say to each node what it has to hear, many things at once.
        """
        for (node, what, why), waiting in self._untold.items():
            while waiting:
                part = [waiting.popleft() for _ in range(min(len(waiting), MAX_RECORDS))]
                if not self._say(node, Word(what, b"".join(part), why), lambda: None):
                    waiting.extendleft(reversed(part))
                    break

    def forget(self, node: str) -> None:
        """
        Its half of all these is gone.
        """
        for key in [key for key in self._untold if key[0] == node]:
            del self._untold[key]
