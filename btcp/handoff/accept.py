# SPDX-License-Identifier: MIT
"""
The front-end half: accepts connections below the local TCP, reads the request, hands the
connection over, and forwards the client's packets.
"""

from __future__ import annotations

from btcp.content.contract import ContentError
from btcp.handoff.actions import Blame, Event
from btcp.handoff.context import Context
from btcp.handoff.cookie import Established
from btcp.handoff.flows import AcceptedFlow
from btcp.handoff.forward import Forwarding, Local
from btcp.handoff.messages import DOUBTFUL_RTT, LONGEST_RTT, Adopted, Reason, Terminate
from btcp.handoff.reassembly import WINDOW
from btcp.handoff.states import Accept, Arrival
from btcp.handoff.timers import Timers
from btcp.wire.options import SynOptions, locate
from btcp.wire.segment import ACK, FIN, RST, SYN, Segment, reversed_key
from btcp.wire.seqnum import add, distance, in_window

_LATE = 10
"""Number of handoff timeouts for which the front-end waits for a node that may have executed the
request, before it resets the client.  The loss of the node's link ends the wait earlier."""

_MAYBE_DELIVERED = frozenset(
    {Reason.RESET_BY_ORIGIN, Reason.STOPPING, Reason.LINK_LOST, Reason.ABANDONED}
)
"""Refusals of a back-end that had begun to adopt: its origin may have received the request."""

_GIVE_WAY = (Accept.CLOSED, Accept.SYN_RECEIVED)
"""States of flows that a new connection with the same addresses and ports may replace."""

_FIRST_OCTETS_TIME = 4.0
"""Seconds within which a client retransmits lost first octets, unless they are lost three times."""

_MAX_WAITING = 1024
"""Maximum number of connections whose first octets are missing; the oldest are evicted."""


class Acceptor(Forwarding):
    """
    The front-end half of the core: all flows of which this node is the front-end.

    Methods that begin with an underscore and take a flow are actions of the state table
    L{btcp.handoff.states.ACCEPT}.

    @ivar flows: the table of these flows.
    """

    def __init__(self, context: Context, timers: Timers[AcceptedFlow], local: Local) -> None:
        super().__init__(context, timers, local)
        self._last_number = context.settings.first_number - 1
        self._stopping = False
        self._waiting: dict[bytes, float] = {}

    # -- events -----------------------------------------------------------------

    def receive(self, segment: Segment) -> None:
        """
        Process a packet from a client that the datapath does not forward by itself.
        """
        flow = self.flows.by_key.get(segment.key)
        if (flow is None or flow.route is None) and not segment.intact():
            self.context.count("dropped.bad-checksum")
        elif flow is None:
            self._listen(segment)
        else:
            locate(segment)  # raises Malformed: such a packet must not be queued either
            self.step(flow, _arrival(flow, segment), segment)

    def established(self, segment: Segment, beginning: bool, rtt: int) -> None:
        """
        Process a packet of a connection whose handshake the datapath performed.

        @param beginning: whether the packet has the client's first octets.
        @param rtt: the duration of the handshake in milliseconds, if C{beginning}.
        """
        flow = self.flows.by_key.get(segment.key)
        # The client of a half-open flow has proven nothing yet; this one has returned the cookie.
        over = flow is not None and flow.state in _GIVE_WAY and beginning
        if flow is not None and not (over and not _begins(flow, segment)):
            self.receive(segment)
        elif not beginning and not self._stopping:
            self._wait_for_beginning(segment)
        elif not segment.intact():
            self.context.count("dropped.bad-checksum")
        else:
            if flow is not None:
                self._free(flow)
            self._resume(segment, rtt)

    def adopted(self, node: str, message: Adopted) -> None:
        """
        Process a back-end's confirmation that it has adopted the connection.
        """
        flow = self.flows.by_number.get(message.id)
        if flow is None or flow.node != node:
            self._abandon_at(node, message.id)
        elif flow.state is not Accept.HANDING_OFF:
            self.context.count("handoff.repeated-adoption")
        elif len(message.address) == len(flow.client.address):
            self.step(flow, Arrival.ADOPTED, message)
        else:  # the other address family: packets cannot be forwarded to it
            self._abandon_at(node, message.id)
            self._leave_node(flow, Reason.UNREACHABLE)

    def refused(self, node: str, number: int, reason: Reason) -> None:
        """
        Process a refusal, by a back-end or because the back-end cannot be reached.

        @param number: the handoff's number.
        """
        flow = self.flows.by_number.get(number)
        if flow is None or flow.node != node or flow.state is not Accept.HANDING_OFF:
            self.context.count("handoff.late-refusal")
            return
        self.context.count(f"handoff.refused.{reason.value}")
        self.context.actions.append(Blame(node, flow.listener, reason))
        self.context.note(
            Event.REFUSED,
            "{node} refused {client}: {reason}",
            node=node,
            client=flow.client,
            reason=reason.value,
        )
        if reason in _MAYBE_DELIVERED:
            self._leave_node(flow, reason)
        else:
            self.step(flow, Arrival.REFUSED, reason)

    def terminate(self, node: str, message: Terminate) -> bool:
        """
        Process a back-end's notification that the connection has ended.

        @return: whether the flow is known.
        """
        flow = self.flows.by_number.get(message.id)
        if flow is None or flow.node != node:
            return False
        flow.ends = message.client_next, message.server_next
        if message.reason in (Reason.STOPPING, Reason.LINK_LOST):
            begun = message.server_next not in (0, add(flow.iss, 1))
            self._lose(flow, message.reason, begun)
        else:
            closed = message.reason is Reason.CLOSED
            self.step(flow, Arrival.TERMINATED if closed else Arrival.ABORTED, message.reason)
        return True

    def node_lost(self, node: str) -> None:
        """
        Process the loss of a back-end with all its flows.
        """
        for flow in self.flows.at(node):
            self.lose(flow)

    def lose(self, flow: AcceptedFlow) -> None:
        """
        Process the loss of a flow's back-end, or of the flow at its back-end.
        """
        self._lose(flow, Reason.LINK_LOST)

    def stop(self) -> None:
        """
        End all flows because this node is stopping.  Packets that arrive from now on are answered
        with a reset that has the sequence number that the sender expects.
        """
        self._stopping = True
        for flow in list(self.flows.by_key.values()):
            self.step(flow, Arrival.STOP, Reason.ABANDONED)

    def expire(self, flow: AcceptedFlow) -> None:
        """
        Process the expiry of a flow's timer.
        """
        if self.flows.by_key.get(flow.key) is not flow:
            return
        if flow.state is not Accept.HANDING_OFF or not (
            flow.response_seen or not self._may_retry(flow)
        ):
            self.step(flow, Arrival.TIMEOUT, Reason.ABANDONED)
        elif flow.tries < _LATE:
            # The node may have adopted the connection without the confirmation having arrived, so
            # no other node may execute the request.
            flow.tries += 1
            self.context.count("handoff.late")
            now = self.context.now
            self.timers.set(flow, now + self.context.settings.periods.handoff, now)
        else:
            self.step(flow, Arrival.RESPONSE_LOST, Reason.ABANDONED)

    def _lose(self, flow: AcceptedFlow, why: Reason, begun: bool = False) -> None:
        """
        Process the loss of a flow's back-end: retry on another node if that is safe, else reset.

        @param begun: whether a part of the response was sent, even if the client has not
            acknowledged any of it.
        """
        restart = not begun and _restartable(flow) and self._may_retry(flow)
        if why is Reason.LINK_LOST and flow.node is not None:
            # The node may only be unreachable; it must drop the flow when its link is back.
            self._abandon_at(flow.node, flow.number)
        self.step(flow, Arrival.NODE_LOST if restart else Arrival.RESPONSE_LOST, why)

    def _leave_node(self, flow: AcceptedFlow, reason: Reason) -> None:
        """
        Hand the flow to the next node, or reset the client, as its request allows.
        """
        may = self._may_retry(flow)
        self.step(flow, Arrival.REFUSED if may else Arrival.RESPONSE_LOST, reason)

    def _may_retry(self, flow: AcceptedFlow) -> bool:
        """
        Return whether another node may execute the request, which an origin may have received.
        """
        key = flow.request_key
        return key is None or self.context.settings.may_retry(flow.listener, key)

    # -- LISTEN, SYN-RECEIVED -------------------------------------------------

    def _listen(self, segment: Segment) -> None:
        if segment.flags & RST:
            self.context.count("dropped.stray-rst")
        elif segment.flags & (SYN | ACK | FIN) == SYN and not self._stopping:
            settings = self.context.settings
            if len(self.flows) >= settings.max_flows:
                self.context.count("dropped.flow-table-full")
            elif self.flows.half_open >= settings.max_half_open:
                self.context.count("dropped.half-open-table-full")
            else:
                self._answer_syn(segment)
        else:
            self._reset_stranger(segment)

    def _reset_stranger(self, segment: Segment) -> None:
        self.context.count("reset.no-such-flow")
        self._tcp.reset(segment)

    def _answer_syn(self, segment: Segment) -> None:
        context = self.context
        self._last_number += 1
        listener = context.settings.listeners[_local_end(segment)]
        flow = AcceptedFlow(
            number=self._last_number,
            key=segment.key,
            back=reversed_key(segment.key),
            listener=listener,
            irs=segment.seq,
            iss=context.initial_sequence_number(segment.key),
            window=segment.window,
            offered=SynOptions.read(segment),
            reader=context.settings.reader(listener),
            started=context.now,
        )
        self._tcp.open(flow)
        self.flows.add(flow)
        context.count("accept.syn")
        self.timers.set(flow, context.now + context.settings.periods.handshake, context.now)
        self._repeat_syn_ack(flow, segment)

    def _wait_for_beginning(self, segment: Segment) -> None:
        """
        Drop a packet that has overtaken the client's first octets; the client retransmits it.

        If the first octets do not arrive in time, the packet belongs to an unknown connection whose
        acknowledgment number happens to be a valid cookie, and is answered with a reset.
        """
        waiting, now = self._waiting, self.context.now
        since = waiting.setdefault(segment.key, now)
        if now - since > _FIRST_OCTETS_TIME and segment.intact():
            del waiting[segment.key]
            self._reset_stranger(segment)
            return
        self.context.count("dropped.overtook-beginning")
        if len(waiting) > _MAX_WAITING:
            del waiting[next(iter(waiting))]

    def _resume(self, segment: Segment, rtt: int) -> None:
        context, cookie = self.context, Established.read(segment)
        if self._stopping or len(self.flows) >= context.settings.max_flows:
            context.count("dropped.flow-table-full")
            self._tcp.reset(segment)
            return
        self._last_number += 1
        listener = context.settings.listeners[_local_end(segment)]
        flow = AcceptedFlow(
            number=self._last_number,
            key=segment.key,
            back=reversed_key(segment.key),
            listener=listener,
            irs=cookie.irs,
            iss=cookie.iss,
            window=cookie.window,
            offered=cookie.offered,
            reader=context.settings.reader(listener),
            started=context.now,
            state=Accept.ESTABLISHED,
            rtt=rtt,
        )
        self._waiting.pop(flow.key, None)
        self._tcp.resume(flow, cookie.front_tsval)
        self.flows.add(flow)
        self._establish(flow, segment)

    def _repeat_syn_ack(self, flow: AcceptedFlow, _: Segment) -> None:
        flow.syn_acks += 1
        self._tcp.syn_ack(flow)

    def _measure(self, flow: AcceptedFlow) -> None:
        """
        Measure the round-trip time of the handshake.  If several SYN/ACKs were sent, the sample is
        ambiguous (RFC 6298, 3): the time since the first one is an upper bound.
        """
        passed = min(int((self.context.now - flow.started) * 1000), LONGEST_RTT)
        flow.rtt = passed if flow.syn_acks == 1 else min(passed, DOUBTFUL_RTT)

    def _establish(self, flow: AcceptedFlow, segment: Segment) -> None:
        now = self.context.now
        if flow.syn_acks:
            self._measure(flow)
        self.context.count("accept.established")
        flow.open = True
        self.timers.set(flow, now + self.context.settings.periods.request, now)
        self._collect(flow, segment)

    def _reset_handshake(self, flow: AcceptedFlow, segment: Segment) -> None:
        self.context.count("accept.bad-handshake-ack")
        if segment.flags & (ACK | RST) == ACK:
            self._tcp.reset(segment)

    def _give_up_handshake(self, flow: AcceptedFlow, _: None) -> None:
        self.context.count("accept.handshake-timeout")
        self._free(flow)

    # -- ESTABLISHED ----------------------------------------------------------

    def _collect(self, flow: AcceptedFlow, segment: Segment) -> None:
        if not self._tcp.acceptable(flow, segment):
            return
        offset = distance(add(flow.irs, 1), segment.seq)
        have = len(flow.request.octets)
        if not segment.size and not segment.flags & FIN:
            if offset < have:  # a keep-alive probe
                self._tcp.acknowledge(flow)
            return
        fresh = flow.request.add(offset, segment.payload)
        if fresh is None:
            self.context.count("dropped.outside-window")
            return
        self._read(flow, fresh, segment)

    def _read(self, flow: AcceptedFlow, fresh: bytes, segment: Segment) -> None:
        """
        Feed new octets to the reader.  Octets that leave the request incomplete are acknowledged;
        those that complete it are not, because the back-end's TCP acknowledges them.
        """
        try:
            key = flow.reader.feed(fresh) if fresh else None
        except ContentError as error:
            self.step(flow, Arrival.REJECTED, (error.status, error.reason))
            return
        finished = segment.flags & FIN and segment.next == add(flow.received, 1)
        if key is not None:
            flow.request_key = key
            if finished:
                flow.queue.append(segment.copy())
            self.step(flow, Arrival.REQUEST, None)
        elif finished:
            flow.client_fin = True
            status = 400 if flow.request.octets else 0
            reason = "the connection was closed before the request was complete"
            self.step(flow, Arrival.REJECTED, (status, reason))
        else:
            flow.acked = len(flow.request.octets)
            self._tcp.acknowledge(flow)

    def _challenge(self, flow: AcceptedFlow, segment: Segment) -> None:
        self.context.count("accept.challenge")
        self._tcp.acknowledge(flow)

    def _doubt_reset(self, flow: AcceptedFlow, segment: Segment) -> None:
        """
        Process a RST whose sequence number is not RCV.NXT (RFC 5961, 3.2): send a challenge ACK
        if it is in the window.
        """
        if in_window(segment.seq, flow.received, WINDOW):
            self._challenge(flow, segment)
        else:
            self.context.count("dropped.outside-window")

    def _forget(self, flow: AcceptedFlow, _: object) -> None:
        self._record_end(flow, Reason.RESET_BY_CLIENT)
        self._free(flow)

    # -- ANSWERED -------------------------------------------------------------

    def _answer(self, flow: AcceptedFlow, what: tuple[int, str]) -> None:
        self.flows.give(flow, None)
        self._answering.begin(flow, *what)

    def _answer_late(self, flow: AcceptedFlow, _: None) -> None:
        self._answering.begin(flow, 408, "the request did not come in time")

    def _repeat_answer(self, flow: AcceptedFlow, _: None) -> None:
        if not self._answering.repeat(flow):
            self._record_end(flow, Reason.CLOSED if flow.answer_taken else Reason.IDLE)
            self._free(flow)

    def _drain(self, flow: AcceptedFlow, segment: Segment) -> None:
        if self._answering.drain(flow, segment):
            self.step(flow, Arrival.FINISHED, None)


def _arrival(flow: AcceptedFlow, segment: Segment) -> Arrival:
    """
    Classify a packet of an existing flow as an event of the state table.
    """
    flags = segment.flags
    if flow.state is Accept.SYN_RECEIVED and flags & ACK and segment.ack != add(flow.iss, 1):
        return Arrival.BAD_ACK
    if flags & RST:
        exact = segment.seq == add(flow.received, flow.client_fin)
        # If the flow has a back-end, the back-end's TCP validates the RST.
        return Arrival.RST if exact or flow.route is not None else Arrival.STRAY_RST
    if flags & (SYN | ACK) == SYN:
        return Arrival.REPEATED_SYN if segment.seq == flow.irs else Arrival.SYN
    if flow.state is Accept.SYN_RECEIVED and not flags & ACK:
        return Arrival.BAD_ACK
    return Arrival.SEGMENT


def _restartable(flow: AcceptedFlow) -> bool:
    """
    Return whether another node can take over the flow: the client has received nothing of the
    response, and has sent nothing but the request, which the front-end still has.
    """
    route = flow.route
    if route is not None:
        route.refresh()
    return (
        flow.state is not Accept.CLOSED
        and not flow.response_seen
        and (route is None or distance(flow.received, route.end) <= 0)
    )


def _begins(flow: AcceptedFlow, segment: Segment) -> bool:
    """
    Return whether a segment is the first that the client can send after the handshake.
    """
    return segment.seq == add(flow.irs, 1) and segment.ack == add(flow.iss, 1)


def _local_end(segment: Segment) -> bytes:
    return segment.destination + segment.key[-2:]
