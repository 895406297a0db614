# SPDX-License-Identifier: MIT
"""
What becomes of express connections that are over.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from struct import Struct

from btcp.datapath.ebpf.abi import BOTH_CLOSED, DONE, RESET_BY_CLIENT, RESET_BY_SERVER
from btcp.datapath.ebpf.express import ExpressTables
from btcp.handoff.messages import Reason

_OWN, _CLIENT = slice(DONE.size), slice(DONE.size, 2 * DONE.size)
_FRONT_AND_WHY = slice(2 * DONE.size, None)
_PAIR = Struct("=HH")
_REASONS = {
    BOTH_CLOSED: Reason.CLOSED,
    RESET_BY_CLIENT: Reason.RESET_BY_CLIENT,
    RESET_BY_SERVER: Reason.RESET_BY_ORIGIN,
}


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
        self._waiting: deque[tuple[float, bytes, bool, int]] = deque()

    def bury(self, done: bytes, linger: float, both: bool = False, node: int = 0) -> None:
        """
        @param done: of each connection a C{struct btcp_done}.
        @param linger: seconds; always the same, or the later may wait for the earlier.
        @param both: the routes of both directions.
        @param node: only of those that were handed to this one; 0: whosever.
        """
        self._waiting.append((self._clock() + linger, done, both, node))

    def tick(self) -> None:
        """
        Have those forgotten whose time has come.  To be called every now and then.
        """
        now = self._clock()
        due: dict[tuple[bool, int], list[bytes]] = {}
        while self._waiting and self._waiting[0][0] <= now:
            _, done, both, node = self._waiting.popleft()
            due.setdefault((both, node), []).append(done)
        for (both, node), parts in due.items():
            self._tables.reap(b"".join(parts), both, node)


def of_back_end(endings: Iterable[bytes]) -> bytes:
    """
    @param endings: of each a C{struct btcp_ending}.
    @return: of each what its back-end calls it.
    """
    return b"".join([ending[_OWN] for ending in endings])


def by_front(endings: Iterable[bytes]) -> dict[tuple[int, Reason], list[bytes]]:
    """
    @return: the number of each front-end's lease, and each reason, to what the front-end calls
        these connections.
    """
    found: dict[bytes, list[bytes]] = {}
    for ending in endings:
        found.setdefault(ending[_FRONT_AND_WHY], []).append(ending[_CLIENT])
    pairs = ((_PAIR.unpack(packed), told) for packed, told in found.items())
    return {(number, _REASONS[why]): told for (number, why), told in pairs}
