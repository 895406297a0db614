# SPDX-License-Identifier: MIT
"""
Express connections that have ended: delayed removal of their flow entries, and notifications.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from struct import Struct

from btcp.datapath.ebpf.abi import BOTH_CLOSED, DONE, DOUBTFUL, RESET_BY_CLIENT, RESET_BY_SERVER
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
    Queue of flow entries that linger before they are removed, so that retransmitted FINs are still
    forwarded.
    """

    def __init__(self, tables: ExpressTables, clock: Callable[[], float]) -> None:
        """
        @param clock: returns monotonic seconds.
        """
        self._tables = tables
        self._clock = clock
        self._waiting: deque[tuple[float, bytes, bool, int]] = deque()

    def bury(self, done: bytes, linger: float, both: bool = False, node: int = 0) -> None:
        """
        Queue connections for removal.

        @param done: concatenated C{struct btcp_done} of the connections.
        @param linger: seconds until removal; removals are in the order of the calls.
        @param both: whether to remove the flow entries of both directions.
        @param node: remove only connections that were handed to the node with this number; 0 for
            any.
        """
        self._waiting.append((self._clock() + linger, done, both, node))

    def tick(self) -> None:
        """
        Remove the connections whose time has come.  To be called periodically.
        """
        now = self._clock()
        due: dict[tuple[bool, int], list[bytes]] = {}
        while self._waiting and self._waiting[0][0] <= now:
            _, done, both, node = self._waiting.popleft()
            due.setdefault((both, node), []).append(done)
        for (both, node), parts in due.items():
            self._tables.reap(b"".join(parts), both, node)


def is_doubtful(ending: bytes) -> bool:
    """
    Return whether the connection is not known to be over: its client sent a reset, of which the
    kernel's program could not tell whether the local TCP would believe it.
    """
    _, why = _PAIR.unpack(ending[_FRONT_AND_WHY])
    return bool(why == DOUBTFUL)


def own_name(ending: bytes) -> bytes:
    """
    Return the connection's name on this node, a C{struct btcp_done}.
    """
    return ending[_OWN]


def of_back_end(endings: Iterable[bytes]) -> bytes:
    """
    Extract the back-end's names of connections.

    @param endings: a C{struct btcp_ending} for each connection.
    @return: concatenated C{struct btcp_done}.
    """
    return b"".join([ending[_OWN] for ending in endings])


def by_front(endings: Iterable[bytes]) -> dict[tuple[int, Reason], list[bytes]]:
    """
    Group connections that ended by front-end and reason.

    @return: the number of the front-end's lease and the reason, to the front-end's names of the
        connections.
    """
    found: dict[bytes, list[bytes]] = {}
    for ending in endings:
        found.setdefault(ending[_FRONT_AND_WHY], []).append(ending[_CLIENT])
    pairs = ((_PAIR.unpack(packed), told) for packed, told in found.items())
    return {(number, _REASONS[why]): told for (number, why), told in pairs}
