# SPDX-License-Identifier: MIT
"""
What becomes of express connections that are over.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from btcp.datapath.ebpf.abi import ENDING, KEY, reversed_packed
from btcp.datapath.ebpf.express import ExpressTables

_ISS = slice(2 * KEY.size, 2 * KEY.size + 4)
_FRONT = slice(2 * KEY.size + 4, 2 * KEY.size + 6)
_OWN, _CLIENT = slice(KEY.size), slice(KEY.size, 2 * KEY.size)


class Graveyard:
    """
    Routes that linger, so that a FIN sent again still finds its way, and then go.
    """

    def __init__(self, tables: ExpressTables, clock: Callable[[], float]) -> None:
        """
        @param clock: monotonic seconds.
        """
        self._tables = tables
        self._clock = clock
        self._waiting: deque[tuple[float, bytes]] = deque()

    def bury(self, done: bytes, linger: float) -> None:
        """
        @param done: of each route a C{struct btcp_done}.
        @param linger: seconds; always the same, or the later may wait for the earlier.
        """
        self._waiting.append((self._clock() + linger, done))

    def tick(self) -> None:
        """
        Have those forgotten whose time has come.  To be called every now and then.
        """
        now, due = self._clock(), []
        while self._waiting and self._waiting[0][0] <= now:
            due.append(self._waiting.popleft()[1])
        if due:
            self._tables.reap(b"".join(due))


def graves(endings: list[bytes]) -> bytes:
    """
    @param endings: of each a C{struct btcp_ending}.
    @return: of each route that the back-end has of them, a C{struct btcp_done}.
    """
    parts: list[bytes] = []
    for ending in endings:
        own, iss = ending[_OWN], ending[_ISS]
        parts += (own, iss, reversed_packed(own), iss)
    return b"".join(parts)


def by_front(endings: list[bytes]) -> dict[int, list[bytes]]:
    """
    @return: the number of each front-end's lease to what it has to hear: of each connection a
        C{struct btcp_done}.
    """
    found: dict[bytes, list[bytes]] = {}
    for ending in endings:
        found.setdefault(ending[_FRONT], []).append(ending[_CLIENT] + ending[_ISS])
    return {int.from_bytes(number, "little"): told for number, told in found.items()}


assert ENDING.size == 2 * KEY.size + 8
