# SPDX-License-Identifier: MIT
"""
The back-end half from the splice to the end of the connection.
"""

from __future__ import annotations

from btcp.handoff import memo
from btcp.handoff.actions import Install, Remember, Remove, Retract, Witness
from btcp.handoff.context import Context
from btcp.handoff.flows import AdoptedFlow
from btcp.handoff.messages import PROBER, Reason, Refused, Terminate
from btcp.handoff.replay import Replay
from btcp.handoff.route import EVERYTHING, Reported, Route
from btcp.handoff.states import ADOPT, Adopt, Progress
from btcp.handoff.tables import AdoptedFlows, bound
from btcp.handoff.timers import Timers
from btcp.wire.segment import ACK, FIN, RST, SYN, Segment
from btcp.wire.seqnum import add, distance, latest

_FIN_REACH = 1 << 22
"""Maximum distance of a FIN's sequence number beyond the local TCP's acknowledgment number."""

TRAIL = 0.5
"""Seconds by which a back-end lingers longer than the front-end, whose linger begins when it is
notified of the end: packets that it still forwards must not reach a TCP without the connection."""

GRAVE = 1.0
"""Seconds for which packets of the local TCP are dropped after a flow was aborted; longer than a
packet stays in a device's queue."""

SECOND_LOOK = 1.0
"""Seconds from the first FIN to a check of the datapath's statistics, in case a report of the end
was lost or a packet was forwarded while forwarding was being stopped."""

DOUBTFUL = 1.0
"""Seconds without a packet, after a RST that the local TCP may have ignored, until the local TCP is
probed; and then until the lack of an answer means that it has dropped the connection."""


class Carrying:
    """
    One half of L{btcp.handoff.adopt.Adopter}, which see.
    """

    def __init__(self, context: Context, timers: Timers[AdoptedFlow]) -> None:
        self.context = context
        self.timers = timers
        self.flows = AdoptedFlows(context.settings.node)
        # clients to reset if the front-end that they wait for has forgotten them
        self._unanswered: dict[str, list[tuple[bytes, int]]] = {}
        self._replay = Replay(context)
        self._table = bound(ADOPT, self)

    def step(self, flow: AdoptedFlow, event: Progress, detail: object) -> None:
        """
        Apply an event to a flow by the state table L{btcp.handoff.states.ADOPT}.
        """
        if flow.state is Adopt.ADMITTING and event is not Progress.TAKEN:
            self._catch_up(flow)
        transition = self._table[flow.state].get(event)
        if transition is None:
            self.context.count(f"adopt.unexpected.{event.value.replace(' ', '-')}")
            return
        flow.state, action = transition
        action(flow, detail)

    def shut(self, flow: AdoptedFlow) -> bool:
        """
        Reset a connection towards both the client and the local TCP.

        @return: whether the flow was spliced.
        """
        self._catch_up(flow)
        if flow.state not in (Adopt.SPLICED, Adopt.CLOSING):
            return False
        flow.refresh()
        self._reset_both(flow, Reason.ABANDONED)
        return True

    def _catch_up(self, flow: AdoptedFlow) -> None:
        """
        Detect from the flow statistics that the local TCP has taken the request: the datapath's
        report of that may be lost or late.
        """
        if flow.state is Adopt.ADMITTING and flow.to_client is not None:
            flow.to_client.refresh()
            if flow.to_client.packets:
                self.context.count("adopt.unreported")
                self.step(flow, Progress.TAKEN, None)

    def _to_client(self, flow: AdoptedFlow, segment: Segment) -> None:
        route = flow.to_client
        if flow.held and route is not None and route.octets:
            # The response had begun before the datapath was told to hold it.
            flow.held = False
            self._punt(route, flow.ending)
        if flow.follows and route is not None:
            self._take_over(flow, segment)
        if route is None or self._keeps(flow, segment):
            self.context.count("adopt.held")
            if route is not None and segment.flags & ACK:
                route.ack = latest(route.ack, segment.ack)  # a reset needs the exact number
            return
        teardown, begun = flow.teardown, flow.teardown.begun
        teardown.from_server(segment)
        self._begin_end(flow, begun)
        route.take(segment, self.context.now)
        self.context.pass_on(segment, False)
        if route.octets and not flow.teardown.begun:
            self._punt(route, flow.ending)
        self._end_if_over(flow)

    def _keeps(self, flow: AdoptedFlow, segment: Segment) -> bool:
        """
        Return whether a packet must be withheld from the client: it would begin the response while
        the front-end may have considered this node lost and handed the connection to another one.
        Packets to the synthetic client of a health check are always withheld.
        """
        if flow.peer == PROBER:
            number = flow.order.id
            self.context.actions.append(Witness(number, bytes(segment.payload)))
            return True
        if flow.held:
            return True
        assert flow.to_client is not None
        begins = not flow.to_client.octets and (segment.size or segment.flags & (FIN | RST))
        settings = self.context.settings
        if not begins or flow.peer == settings.node:
            return False
        return settings.silence(flow.peer) > settings.lease

    def _to_server(self, flow: AdoptedFlow, segment: Segment) -> None:
        """
        Process a packet of the client.  If this node is the front-end as well, the front-end half
        has updated the flow statistics already.
        """
        route = flow.to_server
        if flow.state is Adopt.CLOSED and segment.flags & SYN:
            self.context.count("adopt.syn-after-close")
            return
        if route is None:
            self.context.count("adopt.unexpected.segment")
            return
        if flow.follows:
            self._take_over(flow, segment)
        teardown, begun = flow.teardown, flow.teardown.begun
        if self._plausible(flow, segment):
            teardown.from_client(segment)
        self._begin_end(flow, begun)
        if route.rewriter is None:
            route.take(segment, self.context.now)
        self.context.pass_on(segment, True)
        self._end_if_over(flow)

    def _take_over(self, flow: AdoptedFlow, segment: Segment) -> None:
        """
        Process a packet that the datapath punted.  If it is a FIN, make the datapath punt all
        further packets, so that the core sees the rest of the close.
        """
        flow.refresh()
        if segment.flags & FIN and flow.state is not Adopt.CLOSED:
            flow.follows = False
            # Forwarding stops before the statistics are read: the core would miss packets that
            # were forwarded afterwards.
            for route in (flow.to_client, flow.to_server):
                if route is not None:
                    route.halt()
            self._settle(flow)
            self._watch_closing(flow, None)

    def _settle(self, flow: AdoptedFlow, report: Reported | None = None) -> None:
        """
        Update a flow with the datapath's report or statistics.
        """
        assert flow.to_client is not None and flow.to_server is not None
        if report is not None:
            # The report is final; the kernel's statistics need not be read again.
            flow.to_client.kept_elsewhere = flow.to_server.kept_elsewhere = None
            flow.to_client.fin = flow.to_client.end = report.server_fin
            flow.to_server.fin = flow.to_client.ack = report.client_fin
            flow.to_client.octets = report.octets
        flow.teardown.merge(flow.to_client, flow.to_server)

    def _plausible(self, flow: AdoptedFlow, segment: Segment) -> bool:
        """
        Check that a FIN is near the local TCP's window.  The local TCP would ignore any other one,
        and the core must not treat the flow as closing.
        """
        if not segment.flags & FIN or flow.teardown.client_fin is not None:
            return True
        flow.refresh()
        assert flow.to_client is not None
        near = 0 <= distance(flow.to_client.ack, segment.next) <= _FIN_REACH
        return near and segment.intact()

    def _begin_end(self, flow: AdoptedFlow, begun: bool) -> None:
        """
        Enter the closing state if a packet began the close.  To be called before the FIN is
        forwarded: the datapath must punt packets before the FIN can be acknowledged.
        """
        if flow.teardown.begun and not begun and flow.state is not Adopt.CLOSED:
            self.step(flow, Progress.FIN, None)

    def _end_if_over(self, flow: AdoptedFlow) -> None:
        assert flow.to_client is not None and flow.to_server is not None
        flow.teardown.merge(flow.to_client, flow.to_server)
        if flow.teardown.begun:
            self._remember(flow)
        if flow.teardown.over and flow.state is not Adopt.CLOSED:
            self.step(flow, Progress.BOTH_CLOSED, None)

    def _watch_closing(self, flow: AdoptedFlow, _: None) -> None:
        """
        Have all packets punted from the first FIN on, since any acknowledgment may complete the
        close, unless the datapath follows the close by itself.
        """
        if not flow.follows:
            for route in (flow.to_client, flow.to_server):
                self._punt(route, EVERYTHING)
        now = self.context.now
        wait = min(SECOND_LOOK, self.context.settings.periods.half_closed)
        self.timers.set(flow, now + wait, now)

    def _punt(self, route: Route | None, flags: int) -> None:
        """
        Make the datapath punt packets with any of these flags.
        """
        if route is None or route.punt == flags:
            return
        route.punt = flags
        # If this node is the front-end as well, the client's packets have no flow entry until the
        # front-end half has joined the flow.
        if route.rewriter is not None or route.key in self.flows.inbound:
            self.context.actions.append(Install(route))

    def _check_idle(self, flow: AdoptedFlow, _: None) -> None:
        flow.refresh()
        assert flow.to_client is not None and flow.to_server is not None
        periods, now = self.context.settings.periods, self.context.now
        self._settle(flow)
        if flow.teardown.over:
            self.context.count("adopt.unreported-end")
            self.step(flow, Progress.BOTH_CLOSED, None)
            return
        closing = flow.teardown.begun
        idle = periods.half_closed if closing else periods.established
        used = max(flow.to_client.used, flow.to_server.used)
        if used <= flow.doubted and not flow.tries:
            flow.tries = 1
            self._replay.probe(flow, flow.to_client.ack)
            self.timers.set(flow, now + DOUBTFUL, now)
        elif used <= flow.doubted:
            self._report(flow, Reason.RESET_BY_CLIENT)
            self._abort(flow, Reason.RESET_BY_CLIENT)
        elif used + idle > now:
            self.timers.set(flow, used + idle, now)
        else:
            self._reset_both(flow, Reason.IDLE)

    def _terminate(self, flow: AdoptedFlow, _: None) -> None:
        self._report(flow, Reason.CLOSED)
        self._remember(flow)
        now = self.context.now
        self.timers.set(flow, now + self.context.settings.periods.linger + TRAIL, now)

    def _drop_reset(self, flow: AdoptedFlow, _: Segment) -> None:
        """
        Drop the local TCP's reset in answer to a late duplicate from the client.  The reset could
        end the client's TIME-WAIT state (TIME-WAIT assassination, RFC 1337).
        """
        self.context.count("adopt.late-reset")

    def _refuse(self, peer: str, number: int, reason: Reason) -> None:
        self.context.count(f"adopt.refused.{reason.value}")
        self.context.to_front(peer, Refused(id=number, reason=reason))

    def _report(self, flow: AdoptedFlow, reason: Reason) -> None:
        """
        Notify the front-end that the connection has ended (claim 20).
        """
        flow.refresh()
        order, ends = flow.order, [0, 0]
        if flow.to_client is not None:
            ends = [flow.to_client.ack, add(flow.to_client.end, order.iss - flow.isn)]
        message = Terminate(
            front=flow.peer,
            id=order.id,
            reason=reason,
            client_next=ends[0],
            server_next=ends[1],
        )
        self.context.count(f"adopt.ended.{reason.value}")
        self.context.to_front(flow.peer, message)

    def _end_by_server(self, flow: AdoptedFlow, segment: Segment) -> None:
        held = self._keeps(flow, segment)
        self._to_client(flow, segment)
        # A withheld reset does not reach the client, so the front-end has to act.
        self._report(flow, Reason.LINK_LOST if held else Reason.RESET_BY_ORIGIN)
        self._free(flow)

    def _end_by_client(self, flow: AdoptedFlow, segment: Segment) -> None:
        self._to_server(flow, segment)
        self._report(flow, Reason.RESET_BY_CLIENT)
        self._bury(flow)

    def _abort(self, flow: AdoptedFlow, why: Reason) -> None:
        """
        Reset the connection at the local TCP; the client is not notified.
        """
        flow.halt()
        self.context.count(f"adopt.aborted.{why.value}")
        if flow.taken and flow.to_client is not None:
            self._replay.reset(flow, flow.to_client.ack)
        else:  # the local TCP may or may not have received the request
            for seq in (add(flow.order.irs, 1), flow.request_end):
                self._replay.reset(flow, seq)
            self._refuse(flow.peer, flow.order.id, why)  # the handoff has not been answered yet
        self._bury(flow)

    def _abort_both(self, flow: AdoptedFlow, why: Reason) -> None:
        """
        Reset the connection at the local TCP and the client, because the front-end is lost.  A
        client that has received nothing of the response is not reset: the front-end may still be
        alive and hand it to another node.
        """
        flow.halt()
        route = flow.to_client if flow.taken else None
        if route is not None and route.octets:
            self._reset_client(flow)
        elif route is not None:
            self._unanswered.setdefault(flow.peer, []).append(_client_end(route))
        self._abort(flow, why)

    def _stop(self, flow: AdoptedFlow, why: Reason) -> None:
        """
        End a flow because this node is stopping.  The client is reset if a part of the response was
        sent; otherwise the front-end can try another node.
        """
        flow.halt()
        if flow.to_client is not None and flow.to_client.octets:
            self._reset_client(flow)
        self._report(flow, why)
        self._abort(flow, why)

    def _reset_client(self, flow: AdoptedFlow) -> None:
        """
        Reset the client.  It accepts only the sequence number that it expects (RFC 5961), which is
        the one after everything that was sent or, if packets were lost, the one that it last
        acknowledged; resets with both are sent.
        """
        if flow.to_client is None or flow.to_server is None:
            return
        key, end = _client_end(flow.to_client)
        acked = flow.to_server.ack
        if flow.to_server.rewriter is None:  # the front-end rewrote it to the local TCP's numbers
            acked = add(acked, flow.order.iss - flow.isn)
        for seq in dict.fromkeys((acked, end)):
            self.context.transmit(key, seq, 0, RST)

    def _reset_both(self, flow: AdoptedFlow, why: Reason) -> None:
        flow.halt()
        self._reset_client(flow)
        self._report(flow, why)
        self._abort(flow, why)

    def _forget(self, flow: AdoptedFlow, _: object) -> None:
        self._free(flow)

    def _remember(self, flow: AdoptedFlow) -> None:
        if flow.to_client is None or not self.context.settings.remembers:
            return
        fresh = memo.of_adopted(flow)
        if fresh != flow.memo:
            flow.memo = fresh
            self.context.actions.append(Remember(flow.outbound, fresh))

    def _retract(self, flow: AdoptedFlow) -> None:
        if flow.admitted:
            flow.admitted = False
            self.context.actions.append(Retract(flow.inbound))

    def _bury(self, flow: AdoptedFlow) -> None:
        """
        Free a flow that was aborted, and drop packets of the local TCP for a while: they must not
        reach the network without having been rewritten.
        """
        self._free(flow)
        claim = Route(flow.outbound, None, local=False, punt=EVERYTHING, now=self.context.now)
        self.context.actions.append(Install(claim))
        self.flows.graves[flow.outbound] = flow
        self.timers.set(flow, self.context.now + GRAVE, self.context.now)

    def _exhume(self, outbound: bytes) -> None:
        flow = self.flows.graves.pop(outbound, None)
        if flow is not None:
            self.timers.cancel(flow)
            self.context.actions.append(Remove(outbound))

    def _free(self, flow: AdoptedFlow) -> None:
        flow.state = Adopt.CLOSED
        self._retract(flow)
        self.timers.cancel(flow)
        for key in self.flows.remove(flow):
            self.context.actions.append(Remove(key))


def _client_end(route: Route) -> tuple[bytes, int]:
    """
    Compute what a reset to the client needs.

    @param route: the flow entry of the response.
    @return: the key of packets to the client, and the next sequence number.
    """
    assert route.rewriter is not None
    splice = route.rewriter.splice
    return splice.new, add(route.end, splice.seq)
