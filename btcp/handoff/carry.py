# SPDX-License-Identifier: MIT
"""
What a back-end does with a connection from the splice to the end.
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

_WINDOW = 1 << 16
"""A FIN or RST is believed if its sequence number lies this far at most beyond
what the local TCP acknowledged."""

TRAIL = 0.5
"""Seconds by which we linger longer than a front-end, which begins when it hears of the end:
what it still forwards must not meet a TCP that has forgotten the connection."""

GRAVE = 1.0
"""Seconds in which what the local TCP says of a flow that is no more goes nowhere: longer
than anything waits in a device's queue."""

SECOND_LOOK = 1.0
"""Seconds from the first FIN to a look at what the datapath has seen of the end without our
hearing of it: a report was lost, or a packet passed while we told it to pass no more."""

DOUBTFUL = 1.0
"""Seconds without a packet, after a RST that the local TCP may or may not have
believed, until it is made to say which; and again, until its silence says that the
connection is gone."""


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
        Go by the table.
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
        Reset a connection, towards both sides.

        @return: whether it is one that the client has with us.
        """
        self._catch_up(flow)
        if flow.state not in (Adopt.SPLICED, Adopt.CLOSING):
            return False
        flow.refresh()
        self._reset_both(flow, Reason.ABANDONED)
        return True

    def _catch_up(self, flow: AdoptedFlow) -> None:
        """
        The datapath's word that the local TCP has the request may be lost, or be slower than
        what comes after it; the response may be on its way.
        """
        if flow.state is Adopt.ADMITTING and flow.to_client is not None:
            flow.to_client.refresh()
            if flow.to_client.packets:
                self.context.count("adopt.unreported")
                self.step(flow, Progress.TAKEN, None)

    def _to_client(self, flow: AdoptedFlow, segment: Segment) -> None:
        route = flow.to_client
        if flow.held and route is not None and route.octets:
            # It had begun already when the datapath heard of it.
            flow.held = False
            self._punt(route, flow.ending)
        if flow.follows and route is not None:
            self._take_over(flow, segment)
        if route is None or self._keeps(flow, segment):
            self.context.count("adopt.held")
            if route is not None and segment.flags & ACK:
                route.ack = latest(route.ack, segment.ack)  # a reset has to be exact
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
        Whether the client must not see this: it would begin a response, and the
        front-end may have given us up and asked another node for it.
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
        For a flow of our own, L{Acceptor} has accounted for the packet already.
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
        The datapath leaves a packet to us; if it is one that ends a connection, it has to
        leave all that follow to us as well.
        """
        flow.refresh()
        if segment.flags & FIN and flow.state is not Adopt.CLOSED:
            flow.follows = False
            # First no more passes there: what did after we had read it, we would never hear of.
            for route in (flow.to_client, flow.to_server):
                if route is not None:
                    route.halt()
            self._settle(flow)
            self._watch_closing(flow, None)

    def _settle(self, flow: AdoptedFlow, report: Reported | None = None) -> None:
        """
        Have in the flow what the datapath knows of it.
        """
        assert flow.to_client is not None and flow.to_server is not None
        if report is not None:
            # In the kernel it is told once and for all; nobody has to ask there again.
            flow.to_client.kept_elsewhere = flow.to_server.kept_elsewhere = None
            flow.to_client.fin = flow.to_client.end = report.server_fin
            flow.to_server.fin = flow.to_client.ack = report.client_fin
            flow.to_client.octets = report.octets
        flow.teardown.merge(flow.to_client, flow.to_server)

    def _plausible(self, flow: AdoptedFlow, segment: Segment) -> bool:
        """
        A FIN far from where the local TCP stands would end the flow in our eyes only.
        """
        if not segment.flags & FIN or flow.teardown.client_fin is not None:
            return True
        flow.refresh()
        assert flow.to_client is not None
        near = 0 <= distance(flow.to_client.ack, segment.next) <= _WINDOW * 64
        return near and segment.intact()

    def _begin_end(self, flow: AdoptedFlow, begun: bool) -> None:
        """
        To be called before a FIN goes on: the datapath has to know what is wanted before
        somebody acknowledges it.
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
        From the first FIN on, each acknowledgment may be the last: see them all, unless
        the datapath does.
        """
        if not flow.follows:
            for route in (flow.to_client, flow.to_server):
                self._punt(route, EVERYTHING)
        now = self.context.now
        wait = min(SECOND_LOOK, self.context.settings.periods.half_closed)
        self.timers.set(flow, now + wait, now)

    def _punt(self, route: Route | None, flags: int) -> None:
        """
        Have a datapath show us packets with these flags.
        """
        if route is None or route.punt == flags:
            return
        route.punt = flags
        # In a flow of our own that the front-end's half has not joined yet, the
        # client's packets have no route.
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
        The local TCP has forgotten the connection and a late duplicate of the
        client's came.  The client, which may be in TIME-WAIT, is better off
        without our reset (RFC 1337).
        """
        self.context.count("adopt.late-reset")

    def _refuse(self, peer: str, number: int, reason: Reason) -> None:
        self.context.count(f"adopt.refused.{reason.value}")
        self.context.to_front(peer, Refused(id=number, reason=reason))

    def _report(self, flow: AdoptedFlow, reason: Reason) -> None:
        """
        Claim 20: tell the front-end that it is over.
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
        # Held, the client does not hear of it from us: so the front-end has to act.
        self._report(flow, Reason.LINK_LOST if held else Reason.RESET_BY_ORIGIN)
        self._free(flow)

    def _end_by_client(self, flow: AdoptedFlow, segment: Segment) -> None:
        self._to_server(flow, segment)
        self._report(flow, Reason.RESET_BY_CLIENT)
        self._bury(flow)

    def _abort(self, flow: AdoptedFlow, why: Reason) -> None:
        """
        Take the connection from the local TCP; the client is not told.
        """
        flow.halt()
        self.context.count(f"adopt.aborted.{why.value}")
        if flow.taken and flow.to_client is not None:
            self._replay.reset(flow, flow.to_client.ack)
        else:  # how much of the request the local TCP took, nobody knows
            for seq in (add(flow.order.irs, 1), flow.request_end):
                self._replay.reset(flow, seq)
            self._refuse(flow.peer, flow.order.id, why)  # who asked, gets an answer
        self._bury(flow)

    def _abort_both(self, flow: AdoptedFlow, why: Reason) -> None:
        """
        The front-end is gone; nobody but us can tell the client.
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
        If nothing of a response was sent, the front-end asks another node.
        """
        flow.halt()
        if flow.to_client is not None and flow.to_client.octets:
            self._reset_client(flow)
        self._report(flow, why)
        self._abort(flow, why)

    def _reset_client(self, flow: AdoptedFlow) -> None:
        """
        It believes no number but the one it expects: that after all that we sent,
        or, if something of that was lost, after what it acknowledged.
        """
        if flow.to_client is None or flow.to_server is None:
            return
        key, end = _client_end(flow.to_client)
        acked = flow.to_server.ack
        if flow.to_server.rewriter is None:  # a front-end counted it as we do
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
        Free a flow that the local TCP did not end by itself: what it has said and what it
        is going to say of it must not leave as if there had been no splice.
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
    @param route: of a response.
    @return: the key of packets to the client, and the sequence number it expects.
    """
    assert route.rewriter is not None
    splice = route.rewriter.splice
    return splice.new, add(route.end, splice.seq)
