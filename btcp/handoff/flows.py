# SPDX-License-Identifier: MIT
"""
What each half of the core remembers of a connection.
"""

from __future__ import annotations

from collections import deque
from math import inf
from typing import Any

from attrs import Factory, define

from btcp.content.contract import ContentReader, RequestKey
from btcp.handoff.messages import UNMEASURED, Endpoint, Handoff
from btcp.handoff.reassembly import RequestBuffer
from btcp.handoff.route import BREAKING, ENDING, Route
from btcp.handoff.states import Accept, Adopt
from btcp.handoff.teardown import Teardown
from btcp.handoff.timers import Look
from btcp.wire.options import SynOptions, pack_timestamps
from btcp.wire.segment import FIN, Segment
from btcp.wire.seqnum import add, distance


def sender(key: bytes) -> Endpoint:
    """
    @return: where packets with this key come from.
    """
    half = (len(key) - 4) // 2
    return Endpoint(key[:half], key[-4] << 8 | key[-3])


def receiver(key: bytes) -> Endpoint:
    """
    @return: where packets with this key go.
    """
    half = (len(key) - 4) // 2
    return Endpoint(key[half:-4], key[-2] << 8 | key[-1])


@define(slots=True, kw_only=True, eq=False)
class AcceptedFlow:
    """
    A front-end's view.

    @ivar key: of the client's packets.
    @ivar back: of packets to the client.
    @ivar irs: the client's initial sequence number.
    @ivar iss: ours.
    @ivar window: the window field of the client's SYN.
    @ivar offered: the options of the client's SYN.
    @ivar promised: the options of our SYN/ACK.
    @ivar started: when the SYN came.
    @ivar decided: when the request was complete.
    @ivar rule: what of the map assigned it to its nodes.
    @ivar ends: the next sequence numbers of the client and towards it, as the back-end
        told them; 0 if unknown.
    @ivar open: its handshake is complete and its end not yet on record.
    @ivar tsval: the client's latest, C{-1} without timestamps.
    @ivar front_tsval: the largest we sent, C{-1} without timestamps.
    @ivar clock: what our TSvals are ahead of L{Context.ticks
        <btcp.handoff.context.Context.ticks>}.
    @ivar rtt: milliseconds, see L{Handoff}.
    @ivar syn_acks: how many we sent.
    @ivar acked: how many octets of the request we acknowledged.
    @ivar edge: the right edge of the window we promised.
    @ivar cookie: it was adopted with our own numbers, else by replay.
    @ivar node: which back-end has the connection or is asked to take it.
    @ivar candidates: whom to ask after that.
    @ivar queue: what came while a handoff was under way.
    @ivar client_ack: the latest acknowledgment number that came while a handoff
        was under way.
    @ivar sacked: a SACK block came while a handoff was under way.
    @ivar held_syn: a SYN for this pair of endpoints, with another ISN.
    @ivar answer: a response of our own.
    @ivar answer_octets: sequence numbers the answer takes, its FIN included.
    @ivar discarded: sequence numbers received after the answer and thrown away.
    """

    number: int
    key: bytes
    back: bytes
    listener: str
    irs: int
    iss: int
    window: int
    offered: SynOptions
    reader: ContentReader
    started: float
    promised: SynOptions = SynOptions()
    state: Accept = Accept.SYN_RECEIVED
    tsval: int = -1
    front_tsval: int = -1
    clock: int = 0
    rtt: int = UNMEASURED
    syn_acks: int = 0
    acked: int = 0
    edge: int = 0
    request: RequestBuffer = Factory(RequestBuffer)
    request_key: RequestKey | None = None
    node: str | None = None
    candidates: deque[str] = Factory(deque)
    queue: deque[Segment] = Factory(deque)
    route: Route | None = None
    decided: float = 0.0
    rule: str | None = None
    cookie: bool = False
    ends: tuple[int, int] = (0, 0)
    open: bool = False
    client_ack: int = 0
    sacked: bool = False
    held_syn: Segment | None = None
    answer: bytes = b""
    answer_octets: int = 0
    answer_taken: bool = False
    discarded: int = 0
    client_fin: bool = False
    tries: int = 0
    deadline: float = inf
    look: Look[Any] | None = None

    @property
    def client(self) -> Endpoint:
        """
        The client's end.
        """
        return sender(self.key)

    @property
    def front(self) -> Endpoint:
        """
        The end the client connected to.
        """
        return receiver(self.key)

    @property
    def received(self) -> int:
        """
        RCV.NXT, a FIN left out.
        """
        return add(self.irs, 1 + len(self.request.octets) + self.discarded)

    @property
    def response_seen(self) -> bool:
        """
        The client acknowledged data that we never sent, be it by a SACK block: of a
        back-end's response.
        """
        seen, route = self.sacked, self.route
        if route is not None and route.rewriter is not None:
            seen |= route.progress or route.rewriter.sacked
        return seen or distance(add(self.iss, 1), self.client_ack) > 0

    @property
    def sent(self) -> int:
        """
        SND.NXT.
        """
        return add(self.iss, 1 + self.answer_octets)

    def stamps(self) -> bytes:
        """
        @return: the timestamps option of our next segment.
        """
        return pack_timestamps(self.front_tsval, self.tsval)

    def discard(self, segment: Segment) -> None:
        """
        Count a segment as received that begins at or before RCV.NXT.
        """
        fin = segment.flags & FIN
        fresh = (segment.next - fin - self.received) & 0xFFFFFFFF
        if fresh < 0x80000000:
            self.discarded += fresh
            self.client_fin |= bool(fin)

    def handoff(self) -> Handoff:
        """
        @return: the request to adopt this connection.
        """
        return Handoff(
            id=self.number,
            listener=self.listener,
            client=self.client,
            front=self.front,
            irs=self.irs,
            iss=self.iss,
            window=self.window,
            mss=self.offered.mss,
            client_scale=self.offered.scale if self.promised.scale >= 0 else -1,
            front_scale=self.promised.scale,
            sack=self.promised.sack,
            tsval=self.tsval if self.front_tsval >= 0 else -1,
            front_tsval=self.front_tsval,
            acked=self.acked,
            request=bytes(self.request.octets),
            rtt=self.rtt,
        )


@define(slots=True, kw_only=True, eq=False)
class AdoptedFlow:
    """
    A back-end's view.

    @ivar peer: the front-end's node name.
    @ivar order: the front-end's request.
    @ivar inbound: key of packets to the local TCP.
    @ivar outbound: key of packets of the local TCP.
    @ivar started: when the request came.
    @ivar isn: the initial sequence number of the local TCP.
    @ivar ts_delta: added to the TSval of the local TCP.
    @ivar scale: the window scale of the local TCP, C{-1} for none.
    @ivar mss: what the local TCP takes per segment.
    @ivar tsecr: the latest TSval of the local TCP.
    @ivar to_server: the route of the client's packets.
    @ivar to_client: the route of the response.
    @ivar held: the link to the front-end is down and no response was begun.
    @ivar doubted: when the client sent a RST that the local TCP may not have
        believed; -1 for never.
    @ivar spare_syn_acks: SYN/ACKs of the local TCP that are to come after the first.
    @ivar taken: the local TCP has the connection.
    @ivar follows: the datapath follows its FINs and reports them.
    @ivar admitted: the datapath has been told to L{btcp.handoff.actions.Admit} it.
    @ivar memo: what was last given to L{btcp.handoff.actions.Remember}.
    @ivar request_octets: of the request, which itself is not kept after a takeover.
    """

    peer: str
    order: Handoff
    inbound: bytes
    outbound: bytes
    started: float
    state: Adopt = Adopt.REPLAYING
    isn: int = 0
    ts_delta: int = 0
    scale: int = -1
    mss: int = 536
    tsecr: int = 0
    to_server: Route | None = None
    to_client: Route | None = None
    teardown: Teardown = Factory(Teardown)
    held: bool = False
    doubted: float = -1.0
    admitted: bool = False
    spare_syn_acks: int = 0
    taken: bool = False
    follows: bool = False
    memo: bytes = b""
    tries: int = 0
    deadline: float = inf
    look: Look[Any] | None = None
    request_octets: int = Factory(lambda self: len(self.order.request), takes_self=True)

    @property
    def ending(self) -> int:
        """
        What of a flow whose response has begun the core wants to see.
        """
        return BREAKING if self.follows else ENDING

    @property
    def request_end(self) -> int:
        """
        The client's sequence number after the request.
        """
        return add(self.order.irs, 1 + self.request_octets)

    def refresh(self) -> None:
        """
        Have the accounts of both routes up to date.
        """
        for route in (self.to_client, self.to_server):
            if route is not None:
                route.refresh()

    def halt(self) -> None:
        """
        Have the accounts of both routes as they are going to stay.
        """
        for route in (self.to_client, self.to_server):
            if route is not None:
                route.halt()
