# SPDX-License-Identifier: MIT
"""
Routes of express connections, as the kernel has them.
"""

from __future__ import annotations

import sys

from attrs import frozen

from btcp.datapath.ebpf import abi
from btcp.handoff.actions import Action, Deliver, Transmit
from btcp.handoff.flows import receiver, sender
from btcp.handoff.messages import Endpoint
from btcp.handoff.route import Route
from btcp.handoff.states import Accept, Adopt
from btcp.wire.build import compose
from btcp.wire.segment import RST, reversed_key

_ISS = slice(64, 68)
_NUMBERS = slice(64, 72)
_FIRST = slice(68, 72)
_LEASE = 62
_TO = slice(36)
_CLOSING = abi.RULE.size + 37


@frozen(slots=True)
class Entry:
    """
    One direction.

    @ivar key: packed, of its packets.
    @ivar packed: C{struct btcp_route}.
    """

    key: bytes
    packed: bytes

    @property
    def front(self) -> bool:
        """
        It is the front-end's half; else a direction of the back-end's.
        """
        return bool(self.packed[abi.EXPRESS_AT] & abi.FRONT_HALF)

    @property
    def to_client(self) -> bool:
        """
        Of the response.
        """
        return not self.front and not self.route.local

    @property
    def joined(self) -> bool:
        """
        Both halves are on this node.
        """
        return bool(self.packed[abi.EXPRESS_AT] & abi.JOINED)

    @property
    def client(self) -> Endpoint:
        """
        The client's end.
        """
        key = abi.unpack_key(self.key)
        return receiver(key) if self.to_client else sender(key)

    @property
    def listener(self) -> Endpoint:
        """
        Where the client connected to.
        """
        if self.front:
            return receiver(abi.unpack_key(self.key))
        return sender(abi.unpack_key(self.packed[_TO]))

    @property
    def origin(self) -> int:
        """
        Of L{to_client}: the port that answers.
        """
        return sender(abi.unpack_key(self.key)).port

    @property
    def state(self) -> str:
        """
        As the core would call it.
        """
        if self.front:
            return (Accept.CLOSED if self.over else Accept.FORWARDING).value
        if self.over:
            return Adopt.CLOSED.value
        return (Adopt.CLOSING if self.closing else Adopt.SPLICED).value

    @property
    def node(self) -> int:
        """
        The number of the back-end, or of the front-end's lease.
        """
        return self.packed[_LEASE]

    @property
    def route(self) -> Route:
        """
        As the core would have it.
        """
        return abi.unpack_route(self.key, self.packed)

    @property
    def done(self) -> bytes:
        """
        C{struct btcp_done}.
        """
        return self.key + self.packed[_NUMBERS]

    @property
    def closing(self) -> bool:
        """
        An end of it was seen: another connection may have its ends.
        """
        return bool(self.packed[_CLOSING])

    @property
    def over(self) -> bool:
        """
        Its end was reported.
        """
        return self.packed[_CLOSING] == abi.OVER

    @property
    def holds(self) -> bool:
        """
        The request is not acknowledged before the response begins: the client sends it again.
        """
        return bool(self.packed[abi.EXPRESS_AT] & abi.HOLDS)

    @property
    def unanswered(self) -> bool:
        """
        Of L{front}: the client has acknowledged nothing of a response.
        """
        return self.route.ack == (int.from_bytes(self.packed[_ISS], "little") + 1) & 0xFFFFFFFF

    @property
    def used(self) -> float:
        """
        Monotonic seconds: when its last packet passed.
        """
        return abi.Account.unpack(self.packed).used

    def octets(self, closed: bool) -> tuple[int, int]:
        """
        Of L{front}: by the difference of sequence numbers, as in L{btcp.handoff.record}.

        @param closed: in order, with a FIN of each side.
        @return: of the client, and to it.
        """
        account = abi.Account.unpack(self.packed)
        received = account.end - int.from_bytes(self.packed[_FIRST], sys.byteorder) - closed
        sent = account.ack - int.from_bytes(self.packed[_ISS], sys.byteorder) - 1 - closed
        return received & 0xFFFFFFFF, sent & 0xFFFFFFFF

    @property
    def told(self) -> bytes:
        """
        Of L{to_client}: what the front-end calls the connection; of L{front}, what the
        back-end calls it.
        """
        to = self.packed[_TO]
        return (to if self.front else abi.reversed_packed(to)) + self.packed[_NUMBERS]

    @property
    def opposite(self) -> bytes:
        """
        The packed key of the other direction, on the same node.
        """
        to = self.packed[_TO] if self.joined else self.key
        return abi.reversed_packed(to)


def reset_client(entry: Entry, other: Route | None) -> list[Action]:
    """
    @param entry: of the response, or the front-end's half.
    @param other: the other direction, if it is here.
    @return: resets one of which the client believes: it expects what comes after all that was
        sent, or, if something of that was lost, after what it acknowledged.
    """
    route = entry.route
    assert route.rewriter is not None
    if entry.front:
        key, numbers = reversed_key(entry.route.key), [route.ack]
    else:
        key = route.rewriter.splice.new
        numbers = [route.end] if other is None else [other.ack, route.end]
    return [Transmit(compose(key, seq, 0, RST, 0)) for seq in dict.fromkeys(numbers)]


def reset_server(entry: Entry) -> list[Action]:
    """
    @param entry: of the response.
    @return: what the local TCP believes.
    """
    return [Deliver(compose(reversed_key(entry.route.key), entry.route.ack, 0, RST, 0))]
