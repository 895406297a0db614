# SPDX-License-Identifier: MIT
"""
The back-end half: makes the local TCP take over a connection, sends its responses straight to the
client, and detects the end of the connection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from btcp.handoff.actions import Admit, Install, Remove
from btcp.handoff.carry import DOUBTFUL, Carrying
from btcp.handoff.context import Context
from btcp.handoff.flows import AdoptedFlow
from btcp.handoff.messages import PROBER, Adopted, Handoff, Reason, Terminate
from btcp.handoff.route import EVERYTHING, Report, Reported, Route
from btcp.handoff.splice import Rewriter, Splice
from btcp.handoff.states import Adopt, Progress
from btcp.handoff.timers import Timers
from btcp.wire.segment import ACK, RST, SYN, Segment, flow_key, reversed_key
from btcp.wire.seqnum import add

_RETRY = 0.2
"""Seconds before a replayed segment is delivered to the local TCP again, doubling.  The local TCP
answers at once unless its accept queue is full."""

_REFUSAL_SHARE = 0.8
"""Share of the front-end's handoff timeout after which the back-end refuses, so that the refusal
with its reason arrives before the front-end's timeout."""

Occupied = Callable[[bytes, str, int], bool]


class Adopter(Carrying):
    """
    The back-end half of the core: all flows of which this node is the back-end.

    Methods that begin with an underscore and take a flow are actions of the state table
    L{btcp.handoff.states.ADOPT}.

    @ivar flows: the table of these flows.
    """

    def __init__(self, context: Context, timers: Timers[AdoptedFlow], occupied: Occupied) -> None:
        """
        @param occupied: returns whether a connection other than the one to adopt uses the client's
            endpoint on this node, given the key of the client's packets, the front-end's name and
            the handoff's number.
        """
        super().__init__(context, timers)
        self._occupied = occupied

    # -- events -----------------------------------------------------------------

    def adopt(self, peer: str, order: Handoff) -> None:
        """
        Process a handoff: adopt the connection, refuse it, or repeat the answer.
        """
        known = self.flows.by_order.get((peer, order.id))
        if known is not None:
            self._adopt_again(known)
            return
        settings = self.context.settings
        if settings.draining() and peer != PROBER:
            self._refuse(peer, order.id, Reason.DRAINING)
            return
        version = 4 if len(order.client.address) == 4 else 6
        origin = settings.origins.get((order.listener, version))
        if origin is None:
            self._refuse(peer, order.id, Reason.NO_LISTENER)
            return
        inbound = flow_key(order.client.address, order.client.port, *origin)
        outbound = reversed_key(inbound)
        self._exhume(outbound)
        old = self.flows.outbound.get(outbound)
        if old is not None and old.state is Adopt.CLOSED:
            self._free(old)
            old = None
        if old is None and peer != PROBER:
            settings.replace(inbound, order.front, order.iss)
        if old is not None and _same_connection(old, peer, order):
            self.flows.rename(old, order)
            self._remember(old)
            self._adopt_again(old)
        elif old is not None or self._occupied(inbound, peer, order.id):
            self._refuse(peer, order.id, Reason.TUPLE_IN_USE)
        elif len(self.flows) >= settings.max_flows:
            self._refuse(peer, order.id, Reason.OVERLOAD)
        else:
            self._begin(peer, order, inbound, outbound)

    def from_client(self, flow: AdoptedFlow, segment: Segment) -> None:
        """
        Process a packet to the local TCP, which has been rewritten for it.
        """
        self.step(flow, self._from_client(flow, segment), segment)

    def reported(self, report: Reported) -> None:
        """
        Process a report of the datapath about a flow that it forwards by itself.
        """
        flow = self.flows.outbound.get(report.key)
        if flow is None or not flow.follows or flow.to_client is None:
            self.context.count("adopt.late-report")
            return
        if report.what is Report.TAKEN:
            if not flow.taken:
                self.step(flow, Progress.TAKEN, None)
            return
        self._catch_up(flow)
        if report.what is Report.FIN:
            if flow.state is Adopt.SPLICED:
                self.step(flow, Progress.FIN, None)
        elif flow.taken and flow.state is not Adopt.CLOSED:
            self._settle(flow, report)
            self.step(flow, Progress.BOTH_CLOSED, None)

    def from_own_front(self, number: int, segment: Segment) -> None:
        """
        Process a rewritten packet for flow C{number}, of which this node is the front-end as well.
        See L{from_client}.
        """
        flow = self.flows.by_order.get((self.context.settings.node, number))
        if flow is None:
            self.context.count("adopt.unexpected.segment")
        else:
            self.from_client(flow, segment)

    def bounced(self, segment: Segment) -> None:
        """
        Process a request that the local TCP did not admit.
        """
        flow = self.flows.outbound.get(reversed_key(segment.key))
        if flow is not None:
            self.step(flow, Progress.BOUNCED, segment)

    def from_server(self, segment: Segment) -> None:
        """
        Process a packet of the local TCP that belongs to a flow.
        """
        flow = self.flows.outbound[segment.key]
        self._catch_up(flow)
        if segment.flags & RST and flow.follows and flow.to_server is not None:
            # The connection may have ended without the datapath having reported it yet.
            flow.refresh()
            self._end_if_over(flow)
        if segment.flags & SYN and flow.taken and segment.ack != add(flow.order.irs, 1):
            self._close_anew(flow, segment)
            return
        self.step(flow, self._from_server(flow, segment), segment)

    def _close_anew(self, flow: AdoptedFlow, segment: Segment) -> None:
        """
        Process the local TCP's SYN/ACK to a client that reopened a connection in TIME-WAIT.  The
        old connection has ended.  The new one is reset, because its request has to be read by the
        front-end first.
        """
        self.context.count("adopt.opened-anew")
        self._replay.reset(flow, segment.ack)
        if flow.state is not Adopt.CLOSED:
            self.step(flow, Progress.BOTH_CLOSED, None)

    def join(self, number: int, route: Route) -> None:
        """
        Set the flow entry of the client's packets of a flow of which this node is the front-end as
        well.  The entry is not installed yet.
        """
        flow = self.flows.by_order.get((self.context.settings.node, number))
        if flow is not None:
            route.punt = flow.to_server.punt if flow.to_server is not None else flow.ending
            flow.to_server = route

    def terminate(self, peer: str, message: Terminate) -> bool:
        """
        Process a front-end's abandonment of a flow.

        @return: whether the flow is known.
        """
        flow = self.flows.by_order.get((peer, message.id))
        if flow is None:
            return False
        self.step(flow, Progress.TERMINATED, message.reason)
        return True

    def front_lost(self, peer: str, restarted: bool) -> None:
        """
        Process the loss of a front-end with its flows.

        @param restarted: whether the front-end has restarted without its flows.  Otherwise it may
            only be unreachable, and may have handed connections whose response has not begun to
            another node.
        """
        for flow in self.flows.of(peer):
            self.step(flow, Progress.FRONT_LOST, Reason.LINK_LOST)
        if restarted:
            self._reset_unanswered(peer)

    def forgotten(self, peer: str, numbers: Iterable[int]) -> None:
        """
        Process the loss of some flows by a front-end whose link is up.

        @param numbers: the numbers of the flows that the front-end does not have.
        """
        for number in numbers:
            flow = self.flows.by_order.get((peer, number))
            if flow is not None and flow.state is not Adopt.CLOSED:
                self.context.count("adopt.forgotten-by-front")
                self.step(flow, Progress.FRONT_LOST, Reason.LINK_LOST)
        self._reset_unanswered(peer)

    def _reset_unanswered(self, peer: str) -> None:
        for key, seq in self._unanswered.pop(peer, ()):
            self.context.count("adopt.reset-for-front")
            self.context.transmit(key, seq, 0, RST)

    def front_back(self, peer: str) -> None:
        """
        Process the return of a front-end that still has its flows.
        """
        self._unanswered.pop(peer, None)
        self.hold(peer, False)

    def stop(self) -> None:
        """
        End all flows because this node is stopping.
        """
        for flow in list(self.flows.outbound.values()):
            self.step(flow, Progress.STOP, Reason.STOPPING)

    def hold(self, peer: str, held: bool) -> None:
        """
        Hold, or release, the responses that have not begun, because the link to a front-end went
        down or came up.  While it is down, the front-end may hand such connections to another node.
        """
        for flow in self.flows.of(peer):
            self._catch_up(flow)
            flow.refresh()
            route = flow.to_client
            if route is None or not flow.taken:
                self.step(flow, Progress.FRONT_LOST, Reason.LINK_LOST)
            elif flow.held or not (route.octets or flow.teardown.begun):
                flow.held = held
                self._punt(route, EVERYTHING)

    def expire(self, flow: AdoptedFlow) -> None:
        """
        Process the expiry of a flow's timer.
        """
        if self.flows.outbound.get(flow.outbound) is flow:
            self.step(flow, Progress.TIMEOUT, None)
        elif self.flows.graves.get(flow.outbound) is flow:
            self._exhume(flow.outbound)

    # -- classification of packets --------------------------------------------------

    def _from_server(self, flow: AdoptedFlow, segment: Segment) -> Progress:
        flags = segment.flags
        if flags & RST:
            return Progress.RST
        if flow.state is Adopt.REPLAYING:
            if flags & (SYN | ACK) == SYN | ACK and segment.ack == add(flow.order.irs, 1):
                return Progress.SYN_ACK
            return Progress.STALE
        if flow.state in (Adopt.ADMITTING, Adopt.REQUEST_DELIVERED):
            if flags & SYN and flow.spare_syn_acks:
                flow.spare_syn_acks -= 1
                return Progress.PARTIAL
            if flags & SYN:
                return Progress.SYN_ACK
            # Only the request was delivered; an ACK of more is an older connection's.
            taken = flow.request_end == segment.ack
            return Progress.TAKEN if taken else Progress.PARTIAL
        return Progress.FROM_SERVER

    def _from_client(self, flow: AdoptedFlow, segment: Segment) -> Progress:
        if not segment.flags & RST:
            return Progress.FROM_CLIENT
        flow.refresh()
        exact = flow.taken and flow.to_client is not None and segment.seq == flow.to_client.ack
        if exact and segment.intact():
            return Progress.CLIENT_RST
        if flow.state in (Adopt.SPLICED, Adopt.CLOSING):  # the local TCP decides (RFC 5961, 3)
            flow.doubted, flow.tries = self.context.now, 0
            self.timers.set(flow, self.context.now + DOUBTFUL, self.context.now)
        return Progress.FROM_CLIENT

    # -- REPLAYING ------------------------------------------------------------

    def _adopt_again(self, flow: AdoptedFlow) -> None:
        self.context.count("adopt.repeated-handoff")
        if flow.taken:  # otherwise the answer follows later
            self._reply(flow)

    def _begin(self, peer: str, order: Handoff, inbound: bytes, outbound: bytes) -> None:
        flow = AdoptedFlow(
            peer=peer, order=order, inbound=inbound, outbound=outbound, started=self.context.now
        )
        settings = self.context.settings
        # Not if this node is the front-end as well, because the client's packets are rewritten
        # here; and not for health checks, all of whose packets the core has to see.
        flow.follows = settings.reports and peer not in (settings.node, PROBER)
        self.flows.add(flow)
        self.context.count("adopt.begun")
        if settings.admits and self._replay.can_admit(flow):
            flow.state = Adopt.ADMITTING
            flow.admitted = True
            self._replay.expect(flow)
            if flow.follows:
                self._install(flow, awaits=flow.request_end)
            else:
                self._claim(flow)
            self.context.actions.append(Admit(inbound, order))
            self._replay.request(flow, handshake=False)
        else:
            self._claim(flow)
            self._replay.syn(flow)
        self._retry_later(flow)

    def _claim(self, flow: AdoptedFlow) -> None:
        """
        Have all packets of the local TCP punted to the core until the flow is spliced.
        """
        claim = Route(flow.outbound, None, local=False, punt=EVERYTHING, now=self.context.now)
        self.context.actions.append(Install(claim))

    # -- ADMITTING ------------------------------------------------------------

    def _replay_instead(self, flow: AdoptedFlow, _: Segment | None) -> None:
        """
        Adopt by replay after adoption by cookie failed.  The local TCP may have an older connection
        of the client, a full accept queue, or no listening socket; the replay shows which.
        """
        self.context.count("adopt.not-admitted")
        self._retract(flow)
        if flow.to_client is not None:
            flow.to_client = flow.to_server = None
            self.context.actions.append(Remove(flow.inbound))
            self._claim(flow)
        flow.tries = 0
        self._replay.syn(flow)
        self._retry_later(flow)

    # -- REPLAYING ------------------------------------------------------------

    def _retry_later(self, flow: AdoptedFlow) -> None:
        now = self.context.now
        self.timers.set(flow, min(now + _RETRY * 2**flow.tries, self._latest(flow)), now)
        flow.tries += 1

    def _latest(self, flow: AdoptedFlow) -> float:
        return flow.started + _REFUSAL_SHARE * self.context.settings.periods.handoff

    def _repeat_syn(self, flow: AdoptedFlow, _: None) -> None:
        if self.context.now < self._latest(flow):
            self.context.count("adopt.repeated-syn")
            self._replay.syn(flow)
            self._retry_later(flow)
        else:
            self._give_up(flow, Reason.ACCEPT_QUEUE_FULL)

    def _clear_stale(self, flow: AdoptedFlow, segment: Segment) -> None:
        """
        Process the local TCP's answer for an older connection with the same addresses and ports: do
        what a client would, reset the old connection and send the SYN again (RFC 9293, 3.10.7.3).
        """
        self.context.count("adopt.stale-connection")
        if segment.flags & ACK and flow.tries < 8:
            self._replay.reset(flow, segment.ack)
            self._replay.syn(flow)
            self._retry_later(flow)

    def _refuse_no_listener(self, flow: AdoptedFlow, _: Segment) -> None:
        self._refuse_and_bury(flow, Reason.NO_LISTENER)

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
        Ignore an acknowledgment of a part of the request; the client sees the final one.
        """

    def _refuse_reset(self, flow: AdoptedFlow, _: Segment) -> None:
        self._refuse_and_bury(flow, Reason.RESET_BY_ORIGIN)

    def _give_up(self, flow: AdoptedFlow, reason: Reason) -> None:
        self._replay.reset(flow, add(flow.order.irs, 1))
        self._refuse_and_bury(flow, reason)

    def _refuse_and_bury(self, flow: AdoptedFlow, reason: Reason) -> None:
        self._refuse(flow.peer, flow.order.id, reason)
        self._bury(flow)

    # -- SPLICED, CLOSING -----------------------------------------------------

    def _splice(self, flow: AdoptedFlow, segment: Segment | None) -> None:
        """
        Splice the flow, now that the local TCP has the request, and confirm the adoption.

        @param segment: the acknowledgment that shows it; L{None} if the datapath reported it.
        """
        context = self.context
        self._retract(flow)
        flow.taken = True
        if flow.to_client is None:
            self._install(flow)
        else:
            flow.to_client.awaits = None
        context.count("adopt.done")
        self.timers.set(flow, context.now + context.settings.periods.established, context.now)
        self._reply(flow)
        if segment is not None:
            self.step(flow, Progress.FROM_SERVER, segment)

    def _install(self, flow: AdoptedFlow, awaits: int | None = None) -> None:
        """
        Install the flow entries of both directions.

        @param awaits: the number that the local TCP has to acknowledge before its packets are
            forwarded; L{None} if it has.
        """
        context, order = self.context, flow.order
        own = flow.peer == context.settings.node
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
            # Otherwise the core has to check the front-end's lease before the response begins.
            punt=flow.ending if own or flow.follows else EVERYTHING,
            ack=flow.request_end,
            end=add(flow.isn, 1),
            now=context.now,
            follows=flow.follows,
            awaits=awaits,
            lease=flow.peer if flow.follows else None,
        )
        flow.to_server = Route(
            flow.inbound,
            None,
            local=True,
            punt=flow.ending,
            ack=add(flow.isn, 1),
            end=flow.request_end,
            now=context.now,
            follows=flow.follows,
        )
        self._remember(flow)
        # In this order: a datapath follows FINs only of entries whose opposite direction it has,
        # and the client's packets do not arrive before the adoption is confirmed.
        if flow.inbound in self.flows.inbound:
            context.actions.append(Install(flow.to_server))
        context.actions.append(Install(flow.to_client))

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


def _same_connection(flow: AdoptedFlow, peer: str, order: Handoff) -> bool:
    """
    Return whether a handoff is for the connection of an existing flow, under a new number, because
    the front-end has lost its flow.
    """
    known = flow.order
    return (
        flow.peer == peer
        and (known.irs, known.iss, known.front) == (order.irs, order.iss, order.front)
        and flow.request_octets == len(order.request)
    )
