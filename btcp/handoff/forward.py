# SPDX-License-Identifier: MIT
"""
The front-end half from the handoff to the end of the connection.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

from btcp.handoff import memo, record
from btcp.handoff.actions import Event, Install, Remember, Remove
from btcp.handoff.answering import Answering
from btcp.handoff.context import Context
from btcp.handoff.flows import AcceptedFlow
from btcp.handoff.fronttcp import FrontTcp
from btcp.handoff.messages import Adopted, Reason, Terminate
from btcp.handoff.route import OPENING, Route
from btcp.handoff.splice import Rewriter, Splice
from btcp.handoff.states import ACCEPT, Accept, Arrival
from btcp.handoff.tables import AcceptedFlows, bound
from btcp.handoff.timers import Timers
from btcp.wire.options import locate
from btcp.wire.segment import ACK, FIN, RST, Segment, flow_key
from btcp.wire.seqnum import add, distance, in_window

_QUEUED = 64
"""Maximum number of packets queued per flow during its handoff; a window of full-sized segments has
24.  Packets that do not fit are not acknowledged, so the client retransmits them."""

_QUEUED_OCTETS = 1 << 17
"""Maximum octets queued per flow, because a packet may be a super-packet."""

_REACH = 1 << 20
"""Maximum distance of a packet's sequence and acknowledgment numbers from those that the front-end
knows during the handoff, when the back-end may be exchanging packets with the client already.
Packets beyond it are forged: they must neither fill the queue nor count as acknowledging a
response."""


class Local(Protocol):
    """
    The back-end half of the same node.
    """

    def join(self, number: int, route: Route) -> None:
        """
        Provide the flow entry of the client's packets for flow C{number}.
        """

    def deliver(self, number: int, segment: Segment) -> None:
        """
        Process a rewritten packet of the client for flow C{number}.
        """


class Forwarding:
    """
    The part of L{btcp.handoff.accept.Acceptor} that begins with the handoff: the states
    HANDING-OFF, FORWARDING and CLOSED.
    """

    def __init__(self, context: Context, timers: Timers[AcceptedFlow], local: Local) -> None:
        self.context = context
        self.timers = timers
        self._local = local
        self.flows = AcceptedFlows()
        self._tcp = FrontTcp(context)
        self._answering = Answering(context, timers, self._tcp)
        self._table = bound(ACCEPT, self)

    def step(self, flow: AcceptedFlow, event: Arrival, detail: object) -> None:
        """
        Apply an event to a flow by the state table L{btcp.handoff.states.ACCEPT}.
        """
        transition = self._table[flow.state].get(event)
        if transition is None:
            self.context.count(f"accept.unexpected.{event.value.replace(' ', '-')}")
            return
        following, action = transition
        if following is not flow.state:
            self.flows.move(flow, following)
        action(flow, detail)

    def _listen(self, segment: Segment) -> None:
        """
        Process a packet that belongs to no flow.
        """
        raise NotImplementedError

    def _start_over(self, flow: AcceptedFlow, segment: Segment) -> None:
        self.context.count("accept.reused-port")
        self._free(flow)
        self._listen(segment)

    # -- HANDING-OFF ----------------------------------------------------------

    def _hand_off(self, flow: AcceptedFlow, _: None) -> None:
        assert flow.request_key is not None
        flow.decided = self.context.now
        flow.rule = self.context.settings.rule(flow.request_key)
        candidates = self.context.settings.place(flow.request_key)
        if candidates is None:
            self.context.count("rejected.no-such-content")
            self.step(flow, Arrival.REJECTED, (404, "no node holds this"))
            return
        flow.candidates = deque(candidates)
        self._try_next(flow, None)

    def _try_next(self, flow: AcceptedFlow, _: object) -> None:
        if flow.node is not None:
            self._tcp.keep_time(flow)
            self.flows.give(flow, None)
        if not flow.candidates:
            self.context.count("rejected.no-live-node")
            self.step(flow, Arrival.REJECTED, (503, "no node that holds this can answer now"))
            return
        context = self.context
        node = flow.candidates.popleft()
        flow.tries = 0
        self.flows.give(flow, node)
        self.timers.set(flow, context.now + context.settings.periods.handoff, context.now)
        message = flow.handoff()
        context.count("handoff.local" if node == context.settings.node else "handoff.sent")
        context.to_back(node, message)

    def back_again(self, node: str) -> None:
        """
        Repeat outstanding handoffs to a back-end whose link came up: handoffs and answers may have
        been lost with the last link.
        """
        for flow in self.flows.at(node):
            if flow.state is Accept.HANDING_OFF:
                self.ask_again(flow)

    def ask_again(self, flow: AcceptedFlow) -> None:
        """
        Repeat a flow's outstanding handoff.
        """
        assert flow.node is not None
        self.context.count("handoff.asked-again")
        self.context.to_back(flow.node, flow.handoff())

    def _give_up_node(self, flow: AcceptedFlow, _: None) -> None:
        assert flow.node is not None
        context, now = self.context, self.context.now
        context.count("handoff.timeout")
        context.note(
            Event.SILENT,
            "{node} did not answer the handoff of {client} in time",
            node=flow.node,
            client=flow.client,
        )
        if not flow.candidates and now < flow.decided + context.settings.periods.request:
            # No other node holds it, and this one may only have been busy for a moment.  It knows
            # the number of a handoff that it has, so asking again does nothing twice.
            self.timers.set(flow, now + context.settings.periods.handoff, now)
            self.ask_again(flow)
            return
        self._abandon_at(flow.node, flow.number)
        self._try_next(flow, None)

    def _abandon(self, flow: AcceptedFlow, _: object) -> None:
        assert flow.node is not None
        self._abandon_at(flow.node, flow.number)
        self._record_end(flow, Reason.RESET_BY_CLIENT)
        self._free(flow)

    def _abandon_at(self, node: str, number: int, why: Reason = Reason.ABANDONED) -> None:
        own = self.context.settings.node
        message = Terminate(front=own, id=number, reason=why, client_next=0, server_next=0)
        self.context.to_back(node, message)

    def _queue(self, flow: AcceptedFlow, segment: Segment) -> None:
        ahead = distance(flow.received, segment.seq)
        answered = in_window(segment.ack, add(flow.iss, 1), _REACH)
        if abs(ahead) > _REACH or not (answered or not segment.flags & ACK):
            self.context.count("dropped.outside-window")
            return
        # An ACK without data is kept even if its sequence number is old: it may have SACK blocks.
        news = not segment.size or distance(flow.received, segment.next) > 0
        flow.sacked |= locate(segment)[2] > 0
        if segment.flags & ACK and distance(flow.client_ack, segment.ack) > 0:
            flow.client_ack, news = segment.ack, True
        if news and flow.queue and _supersedes(segment, flow.queue[-1]):
            flow.queue.pop()
        if not news:  # retransmitted because the front-end has not acknowledged it
            self.context.count("accept.repeated-request")
        elif len(flow.queue) >= _QUEUED or sum(s.size for s in flow.queue) >= _QUEUED_OCTETS:
            self.context.count("dropped.handoff-queue-full")
        else:
            flow.queue.append(segment.copy())

    # -- FORWARDING -----------------------------------------------------------

    def _splice(self, flow: AcceptedFlow, adopted: Adopted) -> None:
        context = self.context
        client = flow.client
        flow.route = route = Route(
            flow.key,
            Rewriter(
                Splice(
                    old=flow.key,
                    new=flow_key(client.address, client.port, adopted.address, adopted.port),
                    ack=adopted.isn - flow.iss,
                    tsecr=-adopted.ts_delta,
                )
            ),
            local=flow.node == context.settings.node,
            punt=OPENING,
            ack=add(flow.iss, 1),
            end=flow.received,
            now=context.now,
        )
        if route.local:
            self._local.join(flow.number, route)
        context.count("handoff.done")
        flow.cookie = adopted.isn == flow.iss
        context.note(
            Event.HANDED_OFF,
            "handed off {client} {request} to {node} in {handoff_seconds:.6f} s",
            **record.decision(flow, context.now),
        )
        self._remember(flow)
        self.timers.set(flow, context.now + context.settings.periods.established, context.now)
        # Before the datapath has the flow entry, so that later packets cannot overtake these.
        while flow.queue:
            self._forward(flow, flow.queue.popleft())
        context.actions.append(Install(route))

    def _forward(self, flow: AcceptedFlow, segment: Segment) -> None:
        route = flow.route
        assert route is not None
        route.take(segment, self.context.now)
        if route.local:
            self._local.deliver(flow.number, segment)
        else:
            self.context.pass_on(segment, local=False)

    def _hold_syn(self, flow: AcceptedFlow, segment: Segment) -> None:
        """
        Process a SYN of a spliced connection: keep it in case the termination is on its way, and
        forward it, so that the back-end's TCP answers with a challenge ACK (RFC 5961, 4) if the
        connection exists.
        """
        if segment.intact():
            flow.held_syn = segment.copy()
            self._forward(flow, segment)

    def _move_on(self, flow: AcceptedFlow, _: Reason) -> None:
        """
        Hand the connection to another node: the client has received nothing of the lost node's
        response.
        """
        assert flow.node is not None
        lost = flow.node
        self.context.count("handoff.moved-on")
        self._unroute(flow)
        assert flow.request_key is not None
        candidates = self.context.settings.place(flow.request_key) or ()
        flow.candidates = deque(node for node in candidates if node != lost)
        self._try_next(flow, None)

    def _reset_client(self, flow: AcceptedFlow, why: Reason) -> None:
        if why not in (Reason.LINK_LOST, Reason.STOPPING) and flow.node is not None:
            self._abandon_at(flow.node, flow.number, why)
        if flow.route is not None:
            flow.route.halt()
        ack = flow.route.ack if flow.route is not None else flow.client_ack
        self.context.transmit(flow.back, ack, 0, RST)
        self._finish(flow, why)
        self._free(flow)

    def _linger(self, flow: AcceptedFlow, why: Reason | None) -> None:
        self._finish(flow, why or Reason.CLOSED)
        if flow.held_syn is not None:
            self._start_over(flow, flow.held_syn)
            return
        self._remember(flow)
        now = self.context.now
        self.timers.set(flow, now + self.context.settings.periods.linger, now)

    def _end(self, flow: AcceptedFlow, why: Reason) -> None:
        self._finish(flow, why)
        held = flow.held_syn
        self._free(flow)
        if held is not None:
            self._listen(held)

    def _finish(self, flow: AcceptedFlow, why: Reason) -> None:
        self.context.count(f"ended.{why.value}")
        self._record_end(flow, why)

    def _record_end(self, flow: AcceptedFlow, why: Reason) -> None:
        if flow.open:
            flow.open = False
            self.context.note(
                Event.ENDED,
                "ended {client} {reason} after {seconds:.3f} s",
                **record.ending(flow, why, self.context.now),
            )

    def _check_idle(self, flow: AcceptedFlow, _: None) -> None:
        assert flow.route is not None
        flow.route.refresh()
        now, idle = self.context.now, self.context.settings.periods.established
        if flow.route.used + idle > now:
            self.timers.set(flow, flow.route.used + idle, now)
            return
        self._reset_client(flow, Reason.IDLE)

    def _forward_late(self, flow: AcceptedFlow, segment: Segment) -> None:
        if flow.route is not None:
            self._forward(flow, segment)
        elif segment.flags & FIN:
            self._tcp.acknowledge(flow)

    # -- the end --------------------------------------------------------------

    def _remember(self, flow: AcceptedFlow) -> None:
        if flow.route is not None and self.context.settings.remembers:
            self.context.actions.append(Remember(flow.key, memo.of_accepted(flow)))

    def _unroute(self, flow: AcceptedFlow) -> None:
        if flow.route is not None:
            self.context.actions.append(Remove(flow.key))
            flow.route = None

    def _free(self, flow: AcceptedFlow) -> None:
        self.flows.move(flow, Accept.CLOSED)
        self.flows.remove(flow)
        self.timers.cancel(flow)
        self._unroute(flow)


def _supersedes(segment: Segment, before: Segment) -> bool:
    """
    Return whether a queued segment is a pure ACK whose information the next one includes, as in
    most short responses, where an ACK precedes the FIN.
    """
    return (
        before.flags == ACK
        and not before.size
        and not locate(before)[2]
        and bool(segment.flags & ACK)
        and segment.seq == before.seq
        and distance(before.ack, segment.ack) >= 0
    )
