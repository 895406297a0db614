# SPDX-License-Identifier: MIT
"""
Views of the kernel's flow entries of express connections.
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
    A flow entry of an express connection: one direction at one node.

    @ivar key: the packed key of its packets.
    @ivar packed: the entry, a C{struct btcp_route}.
    """

    key: bytes
    packed: bytes

    @property
    def front(self) -> bool:
        """
        C{True} for the front-end's entry; otherwise it is one of the two of the back-end.
        """
        return bool(self.packed[abi.EXPRESS_AT] & abi.FRONT_HALF)

    @property
    def to_client(self) -> bool:
        """
        C{True} for the back-end's entry of the response.
        """
        return not self.front and not self.route.local

    @property
    def joined(self) -> bool:
        """
        C{True} if this node is both front-end and back-end of the connection.
        """
        return bool(self.packed[abi.EXPRESS_AT] & abi.JOINED)

    @property
    def client(self) -> Endpoint:
        """
        The client's endpoint.
        """
        key = abi.unpack_key(self.key)
        return receiver(key) if self.to_client else sender(key)

    @property
    def listener(self) -> Endpoint:
        """
        The endpoint that the client connected to.
        """
        if self.front:
            return receiver(abi.unpack_key(self.key))
        return sender(abi.unpack_key(self.packed[_TO]))

    @property
    def origin(self) -> int:
        """
        The origin's port; for L{to_client} only.
        """
        return sender(abi.unpack_key(self.key)).port

    @property
    def state(self) -> str:
        """
        The name of the state that the core would have for the flow.
        """
        if self.front:
            return (Accept.CLOSED if self.over else Accept.FORWARDING).value
        if self.over:
            return Adopt.CLOSED.value
        return (Adopt.CLOSING if self.closing else Adopt.SPLICED).value

    @property
    def node(self) -> int:
        """
        The number of the back-end, for the front-end's entry; otherwise that of the front-end's
        lease.
        """
        return self.packed[_LEASE]

    @property
    def route(self) -> Route:
        """
        The entry as the core represents it.
        """
        return abi.unpack_route(self.key, self.packed)

    @property
    def done(self) -> bytes:
        """
        The connection's name on this node, a C{struct btcp_done}.
        """
        return self.key + self.packed[_NUMBERS]

    @property
    def closing(self) -> bool:
        """
        C{True} once a FIN or RST was seen; a new connection may then use the same ports.
        """
        return bool(self.packed[_CLOSING])

    @property
    def over(self) -> bool:
        """
        C{True} once the kernel has reported the end.
        """
        return self.packed[_CLOSING] == abi.OVER

    @property
    def holds(self) -> bool:
        """
        C{True} if the request is not acknowledged before the response begins, so that the client
        retransmits it if the back-end is lost.
        """
        return bool(self.packed[abi.EXPRESS_AT] & abi.HOLDS)

    @property
    def unanswered(self) -> bool:
        """
        C{True} if the client has acknowledged nothing of a response; for L{front} only.
        """
        return self.route.ack == (self.iss + 1) & 0xFFFFFFFF

    @property
    def iss(self) -> int:
        """
        The front-end's initial sequence number.
        """
        return int.from_bytes(self.packed[_ISS], "little")

    @property
    def used(self) -> float:
        """
        The time of the last packet, in monotonic seconds.
        """
        return abi.Account.unpack(self.packed).used

    def octets(self, closed: bool) -> tuple[int, int]:
        """
        Count the octets of both directions from sequence numbers, as in L{btcp.handoff.record};
        for L{front} only.

        @param closed: whether the connection was closed normally, with two FINs.
        @return: octets from the client, and octets to it.
        """
        account = abi.Account.unpack(self.packed)
        received = account.end - int.from_bytes(self.packed[_FIRST], sys.byteorder) - closed
        sent = account.ack - self.iss - 1 - closed
        return received & 0xFFFFFFFF, sent & 0xFFFFFFFF

    @property
    def told(self) -> bytes:
        """
        The connection's name on the other node: on the front-end for L{to_client}, on the back-end
        for L{front}.
        """
        to = self.packed[_TO]
        return (to if self.front else abi.reversed_packed(to)) + self.packed[_NUMBERS]

    @property
    def opposite(self) -> bytes:
        """
        The packed key of the entry of the other direction on this node.
        """
        to = self.packed[_TO] if self.joined else self.key
        return abi.reversed_packed(to)


def reset_client(entry: Entry, other: Route | None) -> list[Action]:
    """
    Compose resets to the client.  It accepts only the sequence number that it expects, which is the
    one after all data sent or, if packets were lost, the one that it last acknowledged.

    @param entry: the flow entry of the response, or the front-end's entry.
    @param other: the flow entry of the other direction, if it is on this node.
    @return: a reset with each possible number.
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
    Compose a reset to the local TCP, with the sequence number that it expects.

    @param entry: the flow entry of the response.
    """
    return [Deliver(compose(reversed_key(entry.route.key), entry.route.ack, 0, RST, 0))]
