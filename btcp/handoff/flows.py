# SPDX-License-Identifier: MIT
"""
The state of a connection in each half of the core.
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
    Return the source of packets with this key.
    """
    half = (len(key) - 4) // 2
    return Endpoint(key[:half], key[-4] << 8 | key[-3])


def receiver(key: bytes) -> Endpoint:
    """
    Return the destination of packets with this key.
    """
    half = (len(key) - 4) // 2
    return Endpoint(key[half:-4], key[-2] << 8 | key[-1])


@define(slots=True, kw_only=True, eq=False)
class AcceptedFlow:
    """
    A connection at its front-end.  Sequence numbers are those between client and front-end.

    @ivar number: the number of the handoff, unique for this front-end.
    @ivar key: the key of the client's packets.
    @ivar back: the key of packets to the client.
    @ivar irs: the client's initial sequence number.
    @ivar iss: the front-end's initial sequence number.
    @ivar window: the window field of the client's SYN.
    @ivar offered: the options of the client's SYN.
    @ivar promised: the options of the SYN/ACK.
    @ivar started: when the SYN arrived.
    @ivar decided: when the request was complete.
    @ivar rule: the rule of the partition map that applies, as text.
    @ivar ends: the next sequence numbers from and to the client, as reported by the back-end at
        the end; 0 if unknown.
    @ivar open: whether the handshake is complete and the end has not been logged.
    @ivar tsval: the client's latest TSval, C{-1} without timestamps.
    @ivar front_tsval: the largest TSval sent to the client, C{-1} without timestamps.
    @ivar clock: the difference of the flow's TSval and L{Context.ticks
        <btcp.handoff.context.Context.ticks>}.
    @ivar rtt: round-trip time of the handshake in milliseconds, see L{Handoff}.
    @ivar syn_acks: the number of SYN/ACKs sent.
    @ivar acked: the number of octets of the request that the front-end has acknowledged.
    @ivar edge: the right edge of the window that was offered to the client.
    @ivar cookie: whether the back-end adopted it by cookie, with the front-end's sequence numbers;
        otherwise by replay.
    @ivar node: the back-end that has the connection or was sent the handoff.
    @ivar candidates: the nodes to try after C{node}, in order.
    @ivar queue: packets of the client that arrived during the handoff.
    @ivar route: the flow entry of the client's packets, once the connection is spliced.
    @ivar client_ack: the latest acknowledgment number that arrived during the handoff.
    @ivar sacked: whether a SACK block arrived during the handoff.
    @ivar held_syn: a SYN with the same addresses and ports and another initial sequence number.
    @ivar answer: the front-end's own response.
    @ivar answer_octets: the sequence numbers that the response occupies, including its FIN.
    @ivar answer_taken: whether the client has acknowledged the whole response.
    @ivar discarded: the sequence numbers that were received after the response and discarded.
    @ivar client_fin: whether the client's FIN was received.
    @ivar tries: number of retries in the current state.
    @ivar deadline: when the flow's timer expires.
    @ivar look: the flow's entry in the timer queue.
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
        The client's endpoint.
        """
        return sender(self.key)

    @property
    def front(self) -> Endpoint:
        """
        The endpoint that the client connected to.
        """
        return receiver(self.key)

    @property
    def received(self) -> int:
        """
        RCV.NXT, without the FIN.
        """
        return add(self.irs, 1 + len(self.request.octets) + self.discarded)

    @property
    def response_seen(self) -> bool:
        """
        C{True} if the client has acknowledged, maybe by a SACK block, data that the front-end has
        not sent: a part of a back-end's response.
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
        Serialise the timestamps option of the next segment to the client.
        """
        return pack_timestamps(self.front_tsval, self.tsval)

    def discard(self, segment: Segment) -> None:
        """
        Advance RCV.NXT past a segment that begins at or before it, without keeping its data.
        """
        fin = segment.flags & FIN
        fresh = (segment.next - fin - self.received) & 0xFFFFFFFF
        if fresh < 0x80000000:
            self.discarded += fresh
            self.client_fin |= bool(fin)

    def handoff(self) -> Handoff:
        """
        Compose the handoff message of this connection.
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
    A connection at its back-end.

    @ivar peer: the name of the front-end's node.
    @ivar order: the front-end's handoff message.
    @ivar inbound: the key of packets to the local TCP.
    @ivar outbound: the key of packets from the local TCP.
    @ivar started: when the handoff arrived.
    @ivar isn: the initial sequence number of the local TCP.
    @ivar ts_delta: the difference that is added to the TSval of the local TCP.
    @ivar scale: the window scale of the local TCP, C{-1} for none.
    @ivar mss: the MSS of the local TCP.
    @ivar tsecr: the latest TSval of the local TCP.
    @ivar to_server: the flow entry of the client's packets.
    @ivar to_client: the flow entry of the response.
    @ivar teardown: the progress of the close.
    @ivar held: whether the link to the front-end is down and the response has not begun, so that
        it must not begin.
    @ivar doubted: when the client sent a RST that the local TCP may have ignored; -1 for never.
    @ivar admitted: whether an L{btcp.handoff.actions.Admit} is in effect.
    @ivar spare_syn_acks: the number of further SYN/ACKs that the local TCP may send.
    @ivar taken: whether the local TCP has the connection and the request.
    @ivar follows: whether the datapath follows its FINs and reports them.
    @ivar memo: the saved state last given to L{btcp.handoff.actions.Remember}.
    @ivar tries: number of retries in the current state.
    @ivar deadline: when the flow's timer expires.
    @ivar look: the flow's entry in the timer queue.
    @ivar request_octets: the length of the request, which itself is not kept after a takeover.
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
        The flags of packets that are punted to the core once the response has begun.
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
        Update the statistics of both flow entries from the datapath.
        """
        for route in (self.to_client, self.to_server):
            if route is not None:
                route.refresh()

    def halt(self) -> None:
        """
        Stop forwarding by the datapath, so that the statistics of both flow entries are final.
        """
        for route in (self.to_client, self.to_server):
            if route is not None:
                route.halt()
