# SPDX-License-Identifier: MIT
"""
The back-end's half: replay a connection into the local TCP, learn its initial
sequence number, send its answers straight to the client, see the connection end.
"""

from __future__ import annotations

from collections.abc import Callable

from btcp.handoff.actions import Admit, Install, Remove, Retract
from btcp.handoff.context import Context
from btcp.handoff.flows import AdoptedFlow
from btcp.handoff.messages import Adopted, Handoff, Reason, Refused, Terminate
from btcp.handoff.replay import Replay
from btcp.handoff.route import ENDING, EVERYTHING, Route
from btcp.handoff.splice import Rewriter, Splice
from btcp.handoff.states import ADOPT, Adopt, Progress
from btcp.handoff.tables import AdoptedFlows, bound
from btcp.handoff.timers import Timers
from btcp.wire.segment import ACK, FIN, RST, SYN, Segment, flow_key, reversed_key
from btcp.wire.seqnum import add, at_or_before, distance

_RETRY = 0.2
"""Seconds before a replayed segment is given to the local TCP again, doubling; it
answers at once unless its queue is full."""

_PATIENCE = 0.8
"""The part of the front-end's handoff timeout after which we refuse: our refusal,
which says why, has to come before the front-end gives us up."""

_WINDOW = 1 << 16
"""A FIN or RST is believed if its sequence number lies this far at most beyond
what the local TCP acknowledged."""

_DOUBTFUL = 1.0
"""Seconds without a packet, after a RST that the local TCP may or may not have
believed, until it is made to say which; and again, until its silence says that the
connection is gone."""

Occupied = Callable[[bytes, str, int], bool]


class Adopter:
    """
    All flows of which this node is the back-end.

    @ivar flows: the table of them.
    """

    def __init__(self, context: Context, timers: Timers[AdoptedFlow], occupied: Occupied) -> None:
        """
        @param occupied: whether a client's end is in use on this node by a
            connection that a front-end's flow does not name: key of the client's
            packets, front-end, number.
        """
        self.context = context
        self.timers = timers
        self._occupied = occupied
        self.flows = AdoptedFlows(context.settings.node)
        # clients to reset if the front-end that they wait for has forgotten them
        self._unanswered: dict[str, list[tuple[bytes, int]]] = {}
        self._replay = Replay(context)
        self._table = bound(ADOPT, self)

    # -- what happens to flows ------------------------------------------------

    def adopt(self, peer: str, order: Handoff) -> None:
        """
        A front-end asks for a connection to be adopted.
        """
        known = self.flows.by_order.get((peer, order.id))
        if known is not None:
            self._adopt_again(known)
            return
        settings = self.context.settings
        version = 4 if len(order.client.address) == 4 else 6
        origin = settings.origins.get((order.listener, version))
        if origin is None:
            self._refuse(peer, order.id, Reason.NO_LISTENER)
            return
        inbound = flow_key(order.client.address, order.client.port, *origin)
        outbound = reversed_key(inbound)
        old = self.flows.outbound.get(outbound)
        if old is not None and old.state is Adopt.CLOSED:
            self._free(old)
            old = None
        if old is not None or self._occupied(inbound, peer, order.id):
            self._refuse(peer, order.id, Reason.TUPLE_IN_USE)
        elif len(self.flows) >= settings.max_flows:
            self._refuse(peer, order.id, Reason.OVERLOAD)
        else:
            self._begin(peer, order, inbound, outbound)

    def from_client(self, flow: AdoptedFlow, segment: Segment) -> None:
        """
        A packet for the local TCP, as the local TCP is going to see it.
        """
        self.step(flow, self._from_client(flow, segment), segment)

    def from_own_front(self, number: int, segment: Segment) -> None:
        """
        As L{from_client}, for flow C{number} of which this node is the front-end.
        """
        flow = self.flows.by_order.get((self.context.settings.node, number))
        if flow is None:
            self.context.count("adopt.unexpected.segment")
        else:
            self.from_client(flow, segment)

    def bounced(self, segment: Segment) -> None:
        """
        The local TCP does not admit a request.
        """
        flow = self.flows.outbound.get(reversed_key(segment.key))
        if flow is not None:
            self.step(flow, Progress.BOUNCED, segment)

    def from_server(self, segment: Segment) -> None:
        """
        A packet of the local TCP that belongs to a flow.
        """
        flow = self.flows.outbound[segment.key]
        self.step(flow, self._from_server(flow, segment), segment)

    def join(self, number: int, route: Route) -> None:
        """
        The route by which the client's packets of a flow of our own come; it is
        not installed yet.
        """
        flow = self.flows.by_order.get((self.context.settings.node, number))
        if flow is not None:
            route.punt = flow.to_server.punt if flow.to_server is not None else ENDING
            flow.to_server = route

    def terminate(self, peer: str, message: Terminate) -> bool:
        """
        A front-end gave a flow up.

        @return: whether the flow was known.
        """
        flow = self.flows.by_order.get((peer, message.id))
        if flow is None:
            return False
        self.step(flow, Progress.TERMINATED, message.reason)
        return True

    def front_lost(self, peer: str, restarted: bool) -> None:
        """
        A front-end and its flows are gone.

        @param restarted: it has forgotten them; else it may be out of our sight
            only, and may have asked another node for responses not begun here.
        """
        for flow in self.flows.of(peer):
            self.step(flow, Progress.FRONT_LOST, Reason.LINK_LOST)
        if restarted:
            for key, seq in self._unanswered.pop(peer, ()):
                self.context.count("adopt.reset-for-front")
                self.context.transmit(key, seq, 0, RST)

    def front_back(self, peer: str) -> None:
        """
        A front-end is here that knows its flows.
        """
        self._unanswered.pop(peer, None)
        self.hold(peer, False)

    def stop(self) -> None:
        """
        This node stops, and nobody shall wait for it.
        """
        for flow in list(self.flows.outbound.values()):
            self.step(flow, Progress.STOP, Reason.STOPPING)

    def hold(self, peer: str, held: bool) -> None:
        """
        The link to a front-end went down, or came back.  While it is down the
        front-end may ask another node for responses of which the client has seen
        nothing: so none may begin here.
        """
        for flow in self.flows.of(peer):
            flow.refresh()
            route = flow.to_client
            if route is None:
                self.step(flow, Progress.FRONT_LOST, Reason.LINK_LOST)
            elif flow.held or not (route.octets or flow.teardown.begun):
                flow.held = held
                self._punt(route, EVERYTHING if held or flow.teardown.begun else ENDING)

    def expire(self, flow: AdoptedFlow) -> None:
        """
        The flow's timer ran out.
        """
        if self.flows.outbound.get(flow.outbound) is flow:
            self.step(flow, Progress.TIMEOUT, None)

    def step(self, flow: AdoptedFlow, event: Progress, detail: object) -> None:
        """
        Go by the table.
        """
        transition = self._table[flow.state].get(event)
        if transition is None:
            self.context.count(f"adopt.unexpected.{event.value.replace(' ', '-')}")
            return
        flow.state, action = transition
        action(flow, detail)

    # -- what a packet means --------------------------------------------------

    def _from_server(self, flow: AdoptedFlow, segment: Segment) -> Progress:
        flags = segment.flags
        if flags & RST:
            return Progress.RST
        if flow.state is Adopt.REPLAYING:
            if flags & (SYN | ACK) == SYN | ACK and segment.ack == add(flow.order.irs, 1):
                return Progress.SYN_ACK
            return Progress.STALE
        if flow.state in (Adopt.ADMITTING, Adopt.REQUEST_DELIVERED):
            if flags & SYN:
                return Progress.SYN_ACK
            taken = at_or_before(flow.request_end, segment.ack)
            return Progress.TAKEN if taken else Progress.PARTIAL
        return Progress.FROM_SERVER

    def _from_client(self, flow: AdoptedFlow, segment: Segment) -> Progress:
        if not segment.flags & RST:
            return Progress.FROM_CLIENT
        flow.refresh()
        exact = flow.to_client is not None and segment.seq == flow.to_client.ack
        if exact and segment.intact():
            return Progress.CLIENT_RST
        if flow.state is not Adopt.CLOSED:  # the local TCP decides (RFC 5961, 3)
            flow.doubted, flow.tries = self.context.now, 0
            self.timers.set(flow, self.context.now + _DOUBTFUL, self.context.now)
        return Progress.FROM_CLIENT

    # -- REPLAYING ------------------------------------------------------------

    def _adopt_again(self, flow: AdoptedFlow) -> None:
        self.context.count("adopt.repeated-handoff")
        if flow.state in (Adopt.SPLICED, Adopt.CLOSING):
            self._reply(flow)

    def _begin(self, peer: str, order: Handoff, inbound: bytes, outbound: bytes) -> None:
        flow = AdoptedFlow(
            peer=peer, order=order, inbound=inbound, outbound=outbound, started=self.context.now
        )
        self.flows.add(flow)
        # Until there is a splice, all that the local TCP says is for us.
        claim = Route(outbound, None, local=False, punt=EVERYTHING, now=self.context.now)
        self.context.actions.append(Install(claim))
        self.context.count("adopt.begun")
        if self.context.settings.admits and self._replay.can_admit(flow):
            flow.state = Adopt.ADMITTING
            flow.admitted = True
            self.context.actions.append(Admit(inbound, order))
            self._replay.admit(flow)
        else:
            self._replay.syn(flow)
        self._retry_later(flow)

    # -- ADMITTING ------------------------------------------------------------

    def _replay_instead(self, flow: AdoptedFlow, _: Segment | None) -> None:
        """
        It holds an older connection of the client, or its queue is full, or nobody
        listens, or in a way that cannot be helped: a replay finds out.
        """
        self.context.count("adopt.not-admitted")
        self._retract(flow)
        flow.tries = 0
        self._replay.syn(flow)
        self._retry_later(flow)

    def _retract(self, flow: AdoptedFlow) -> None:
        if flow.admitted:
            flow.admitted = False
            self.context.actions.append(Retract(flow.inbound))

    # -- REPLAYING ------------------------------------------------------------

    def _retry_later(self, flow: AdoptedFlow) -> None:
        now = self.context.now
        self.timers.set(flow, min(now + _RETRY * 2**flow.tries, self._latest(flow)), now)
        flow.tries += 1

    def _latest(self, flow: AdoptedFlow) -> float:
        return flow.started + _PATIENCE * self.context.settings.periods.handoff

    def _repeat_syn(self, flow: AdoptedFlow, _: None) -> None:
        if self.context.now < self._latest(flow):
            self.context.count("adopt.repeated-syn")
            self._replay.syn(flow)
            self._retry_later(flow)
        else:
            self._give_up(flow, Reason.ACCEPT_QUEUE_FULL)

    def _clear_stale(self, flow: AdoptedFlow, segment: Segment) -> None:
        """
        The local TCP still holds an older connection of this client and answers
        for that one.  Do what the client would: reset it and begin anew
        (RFC 9293, 3.10.7.3).
        """
        self.context.count("adopt.stale-connection")
        if segment.flags & ACK and flow.tries < 8:
            self._replay.reset(flow, segment.ack)
            self._replay.syn(flow)
            self._retry_later(flow)

    def _refuse_no_listener(self, flow: AdoptedFlow, _: Segment) -> None:
        self._refuse_and_free(flow, Reason.NO_LISTENER)

    # -- REQUEST-DELIVERED ----------------------------------------------------

    def _deliver_request(self, flow: AdoptedFlow, segment: Segment) -> None:
        if not self._replay.learn(flow, segment):
            self._give_up(flow, Reason.OPTIONS)
            return
        flow.tries = 0
        self._replay.request(flow)
        self._retry_later(flow)

    def _repeat_request(self, flow: AdoptedFlow, _: Segment | None) -> None:
        if self.context.now < self._latest(flow):
            self.context.count("adopt.repeated-request")
            self._replay.request(flow)
            self._retry_later(flow)
        else:
            self._give_up(flow, Reason.ACCEPT_QUEUE_FULL)

    def _wait(self, flow: AdoptedFlow, segment: Segment) -> None:
        """
        A part is taken; the client is told with the rest.
        """

    def _refuse_reset(self, flow: AdoptedFlow, _: Segment) -> None:
        self._refuse_and_free(flow, Reason.RESET_BY_ORIGIN)

    def _give_up(self, flow: AdoptedFlow, reason: Reason) -> None:
        self._replay.reset(flow, add(flow.order.irs, 1))
        self._refuse_and_free(flow, reason)

    def _refuse_and_free(self, flow: AdoptedFlow, reason: Reason) -> None:
        self._refuse(flow.peer, flow.order.id, reason)
        self._free(flow)

    def _refuse(self, peer: str, number: int, reason: Reason) -> None:
        self.context.count(f"adopt.refused.{reason.value}")
        self.context.to_front(peer, Refused(id=number, reason=reason))

    # -- SPLICED, CLOSING -----------------------------------------------------

    def _splice(self, flow: AdoptedFlow, segment: Segment) -> None:
        context, order = self.context, flow.order
        self._retract(flow)
        front = flow_key(
            order.front.address, order.front.port, order.client.address, order.client.port
        )
        shift = flow.scale - order.front_scale if order.front_scale >= 0 else 0
        flow.to_client = Route(
            flow.outbound,
            Rewriter(
                Splice(
                    old=flow.outbound,
                    new=front,
                    seq=order.iss - flow.isn,
                    tsval=flow.ts_delta,
                    shift=shift,
                )
            ),
            local=False,
            punt=ENDING,
            ack=flow.request_end,
            end=add(flow.isn, 1),
            now=context.now,
        )
        context.actions.append(Install(flow.to_client))
        flow.to_server = Route(
            flow.inbound,
            None,
            local=True,
            punt=ENDING,
            ack=add(flow.isn, 1),
            end=flow.request_end,
            now=context.now,
        )
        if flow.inbound in self.flows.inbound:
            context.actions.append(Install(flow.to_server))
        context.count("adopt.done")
        self.timers.set(flow, context.now + context.settings.periods.established, context.now)
        self._reply(flow)
        self.step(flow, Progress.FROM_SERVER, segment)

    def _reply(self, flow: AdoptedFlow) -> None:
        address, port = flow.inbound[len(flow.order.client.address) : -4], flow.inbound[-2:]
        message = Adopted(
            id=flow.order.id,
            isn=flow.isn,
            ts_delta=flow.ts_delta,
            address=address,
            port=int.from_bytes(port, "big"),
        )
        self.context.to_front(flow.peer, message)

    def _to_client(self, flow: AdoptedFlow, segment: Segment) -> None:
        route = flow.to_client
        if flow.held and route is not None and route.octets:
            # It had begun already when the datapath heard of it.
            flow.held = False
            self._punt(route, ENDING)
        if route is None or flow.held:
            self.context.count("adopt.held")
            return
        teardown, begun = flow.teardown, flow.teardown.begun
        teardown.from_server(segment)
        route.take(segment, self.context.now)
        self.context.pass_on(segment, False)
        self._after(flow, begun)

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
        teardown, begun = flow.teardown, flow.teardown.begun
        if self._plausible(flow, segment):
            teardown.from_client(segment)
        if route.rewriter is None:
            route.take(segment, self.context.now)
        self.context.pass_on(segment, True)
        self._after(flow, begun)

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

    def _after(self, flow: AdoptedFlow, begun: bool) -> None:
        if flow.state is Adopt.CLOSED:
            return
        if flow.teardown.begun and not begun:
            self.step(flow, Progress.FIN, None)
        if flow.teardown.over:
            self.step(flow, Progress.BOTH_CLOSED, None)

    def _watch_closing(self, flow: AdoptedFlow, _: None) -> None:
        """
        From the first FIN on, each acknowledgment may be the last: see them all.
        """
        for route in (flow.to_client, flow.to_server):
            self._punt(route, EVERYTHING)
        now = self.context.now
        self.timers.set(flow, now + self.context.settings.periods.half_closed, now)

    def _punt(self, route: Route | None, flags: int) -> None:
        """
        Have a datapath show us packets with these flags.
        """
        if route is not None and route.punt != flags:
            route.punt = flags
            self.context.actions.append(Install(route))

    def _check_idle(self, flow: AdoptedFlow, _: None) -> None:
        flow.refresh()
        assert flow.to_client is not None and flow.to_server is not None
        periods, now = self.context.settings.periods, self.context.now
        closing = flow.state is Adopt.CLOSING
        idle = periods.half_closed if closing else periods.established
        used = max(flow.to_client.used, flow.to_server.used)
        if used <= flow.doubted and not flow.tries:
            flow.tries = 1
            self._replay.probe(flow, flow.to_client.ack)
            self.timers.set(flow, now + _DOUBTFUL, now)
        elif used <= flow.doubted:
            self._report(flow, Reason.RESET_BY_CLIENT)
            self._abort(flow, Reason.RESET_BY_CLIENT)
        elif used + idle > now:
            self.timers.set(flow, used + idle, now)
        else:
            self._reset_both(flow, Reason.IDLE)

    # -- the end --------------------------------------------------------------

    def _terminate(self, flow: AdoptedFlow, _: None) -> None:
        self._report(flow, Reason.CLOSED)
        now = self.context.now
        self.timers.set(flow, now + self.context.settings.periods.linger, now)

    def _drop_reset(self, flow: AdoptedFlow, _: Segment) -> None:
        """
        The local TCP has forgotten the connection and a late duplicate of the
        client's came.  The client, which may be in TIME-WAIT, is better off
        without our reset (RFC 1337).
        """
        self.context.count("adopt.late-reset")

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
        held = flow.held
        self._to_client(flow, segment)
        # Held, the client does not hear of it from us: so the front-end has to act.
        self._report(flow, Reason.LINK_LOST if held else Reason.RESET_BY_ORIGIN)
        self._free(flow)

    def _end_by_client(self, flow: AdoptedFlow, segment: Segment) -> None:
        self._to_server(flow, segment)
        self._report(flow, Reason.RESET_BY_CLIENT)
        self._free(flow)

    def _abort(self, flow: AdoptedFlow, why: Reason) -> None:
        """
        Take the connection from the local TCP; the client is not told.
        """
        flow.refresh()
        self.context.count(f"adopt.aborted.{why.value}")
        expected = flow.to_client.ack if flow.to_client is not None else None
        if expected is not None:
            self._replay.reset(flow, expected)
        else:  # how much of the request the local TCP took, nobody knows
            for seq in (add(flow.order.irs, 1), flow.request_end):
                self._replay.reset(flow, seq)
        self._free(flow)

    def _abort_both(self, flow: AdoptedFlow, why: Reason) -> None:
        """
        The front-end is gone; nobody but us can tell the client.
        """
        flow.refresh()
        route = flow.to_client
        if route is not None and route.octets:
            self._reset_client(flow)
        elif route is not None:
            self._unanswered.setdefault(flow.peer, []).append(_client_end(route))
        self._abort(flow, why)

    def _stop(self, flow: AdoptedFlow, why: Reason) -> None:
        """
        If nothing of a response was sent, the front-end asks another node.
        """
        flow.refresh()
        if flow.to_client is not None and flow.to_client.octets:
            self._reset_client(flow)
        self._report(flow, why)
        self._abort(flow, why)

    def _reset_client(self, flow: AdoptedFlow) -> None:
        if flow.to_client is not None:
            key, seq = _client_end(flow.to_client)
            self.context.transmit(key, seq, 0, RST)

    def _reset_both(self, flow: AdoptedFlow, why: Reason) -> None:
        self._reset_client(flow)
        self._report(flow, why)
        self._abort(flow, why)

    def _forget(self, flow: AdoptedFlow, _: object) -> None:
        self._free(flow)

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
