# SPDX-License-Identifier: MIT
"""
Bottom TCP: the sans-IO core of a node, with its front-end half and its back-end half.

Inputs are packets, messages and the time; outputs are L{actions<btcp.handoff.actions>}.  Invalid
packets and messages increment a counter and never raise an exception.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from attrs import evolve

from btcp.handoff.accept import Acceptor
from btcp.handoff.actions import Action, PassPacket
from btcp.handoff.adopt import Adopter
from btcp.handoff.context import Context, Settings
from btcp.handoff.flows import AcceptedFlow, AdoptedFlow
from btcp.handoff.memo import Relic
from btcp.handoff.messages import (
    UNMEASURED,
    Adopted,
    Capabilities,
    Endpoint,
    Handoff,
    Reason,
    Refused,
    Terminate,
)
from btcp.handoff.reconcile import Owned, Reconciliation
from btcp.handoff.resume import Resumption
from btcp.handoff.route import Reported, Route
from btcp.handoff.states import Accept, Adopt, Arrival
from btcp.handoff.timers import Timers
from btcp.wire.icmp import PacketTooBig
from btcp.wire.segment import ACK, SYN, Malformed, Segment, flow_key

F = TypeVar("F")


class BottomTcp:
    """
    The sans-IO core of a node.

    Every method that processes an event takes the time C{now} (monotonic seconds) and returns the
    actions that its owner has to execute in order, before the next call.

    @ivar acceptor: the front-end half.
    @ivar adopter: the back-end half.
    @ivar context: settings and counters that both halves share.
    @ivar counters: counts of events, by name.
    """

    def __init__(self, settings: Settings, promise: Capabilities) -> None:
        """
        @param promise: the TCP features of this node's host.
        """
        self._own = promise
        self._peers: dict[str, Capabilities] = {}
        self.context = Context(settings, promise)
        self.counters = self.context.counters
        self._accept_timers: Timers[AcceptedFlow] = Timers()
        self._adopt_timers: Timers[AdoptedFlow] = Timers()
        self.adopter = Adopter(self.context, self._adopt_timers, self._occupied)
        self.acceptor = Acceptor(self.context, self._accept_timers, self)
        self._reconciliation = Reconciliation(self.acceptor, self.adopter)
        ends = settings.origins.values()
        self._origins = {address + port.to_bytes(2, "big") for address, port in ends}

    # -- packets --------------------------------------------------------------

    def receive(self, segment: Segment, now: float) -> list[Action]:
        """
        Process a packet that has no flow entry, or whose flow entry has it punted to the core.
        """
        actions = self.context.begin(now)
        try:
            self._receive(segment)
        except Malformed as problem:
            self.context.count(f"dropped.{problem.counter}")
        self._settle()
        return actions

    def bounced(self, segment: Segment, now: float) -> list[Action]:
        """
        Process a packet that was delivered to the local TCP and came back because it was not
        admitted.
        """
        actions = self.context.begin(now)
        self.adopter.bounced(segment)
        self._settle()
        return actions

    def established(
        self, segment: Segment, beginning: bool, now: float, rtt: int = UNMEASURED
    ) -> list[Action]:
        """
        Process a packet of a connection whose handshake the datapath performed; see
        L{btcp.handoff.cookie}.

        @param beginning: whether the packet has the client's first octets.
        @param rtt: the duration of the handshake in milliseconds, if C{beginning}.
        """
        actions = self.context.begin(now)
        try:
            self.acceptor.established(segment, beginning, rtt)
        except Malformed as problem:
            self.context.count(f"dropped.{problem.counter}")
        self._settle()
        return actions

    def reported(self, reports: Iterable[Reported], now: float) -> list[Action]:
        """
        Process the datapath's reports about flows that it forwards by itself.
        """
        actions = self.context.begin(now)
        for report in reports:
            self.adopter.reported(report)
        self._settle()
        return actions

    def too_big(self, message: PacketTooBig, now: float) -> list[Action]:
        """
        Process a "packet too big" error about a packet to a client: translate it to the addresses
        and sequence numbers of the back-end that sent the packet, and forward it there.
        """
        actions = self.context.begin(now)
        flow = self.acceptor.flows.by_key.get(message.client_key)
        elsewhere = self.context.settings.elsewhere
        route = elsewhere(message.client_key) if flow is None else flow.route
        if route is None or route.rewriter is None:
            self.context.count("icmp.passed-up")
            actions.append(PassPacket(message.packet, local=True))
        else:
            self.context.count("icmp.forwarded")
            splice = route.rewriter.splice
            packet = message.translated(splice.new, splice.ack)
            actions.append(PassPacket(packet, local=route.local))
        return actions

    def _receive(self, segment: Segment) -> None:
        key = segment.key
        if key in self.acceptor.flows.by_key:
            self.acceptor.receive(segment)
        elif key in self.adopter.flows.inbound:
            self._inbound(segment)
        elif key in self.adopter.flows.outbound:
            self.adopter.from_server(segment)
        elif key in self.adopter.flows.graves:
            self.context.count("adopt.swallowed")
        elif segment.destination + key[-2:] in self.context.settings.listeners:
            self.acceptor.receive(segment)
        else:
            self._direct(segment)

    def _inbound(self, segment: Segment) -> None:
        flow = self.adopter.flows.inbound[segment.key]
        fresh = segment.flags & (SYN | ACK) == SYN and flow.state is Adopt.CLOSED
        if fresh and segment.destination + segment.key[-2:] in self.context.settings.listeners:
            # The listener has the same port as the origin: this is a new connection to it.
            self.adopter.expire(flow)
            self.acceptor.receive(segment)
        else:
            self.adopter.from_client(flow, segment)

    def _direct(self, segment: Segment) -> None:
        """
        Process a packet of no flow to or from an origin's port: a direct connection to the origin,
        or the local TCP's late packet of a flow that has ended.
        """
        from_local = segment.source + segment.key[-4:-2]
        if from_local in self.context.settings.listeners:
            self.context.count("dropped.guarded")
        elif from_local in self._origins:
            self.context.count("direct.sent")
            self.context.pass_on(segment, local=False)
        elif segment.destination + segment.key[-2:] in self._origins:
            self.context.count("direct.received")
            self.context.pass_on(segment, local=True)
        else:
            self.context.count("dropped.stray")

    # -- messages -------------------------------------------------------------

    def handoff(self, peer: str, message: Handoff, now: float) -> list[Action]:
        """
        Process a peer's handoff.
        """
        actions = self.context.begin(now)
        self.adopter.adopt(peer, message)
        self._settle()
        return actions

    def answer(self, peer: str, message: Adopted | Refused, now: float) -> list[Action]:
        """
        Process a peer's answer to a handoff.
        """
        actions = self.context.begin(now)
        self._answer(peer, message)
        self._settle()
        return actions

    def terminate(
        self, peer: str, messages: Iterable[Terminate], now: float
    ) -> tuple[int, list[Action]]:
        """
        Process a peer's notification that flows have ended.

        @return: the number of flows that are unknown here, and the actions.
        """
        actions = self.context.begin(now)
        unknown = sum(not self._terminate(peer, message) for message in messages)
        self.context.counters["terminate.unknown"] += unknown
        self._settle()
        return unknown, actions

    # -- peers ----------------------------------------------------------------

    def host_changed(self, capabilities: Capabilities) -> None:
        """
        Note that this host's TCP can keep something else than before; new connections get what
        every node can keep now.
        """
        self._own = capabilities
        self._weigh_promise()

    def peer_up(self, peer: str, capabilities: Capabilities, now: float) -> list[Action]:
        """
        Process a link that came up.  The peer still has its flows.
        """
        actions = self.context.begin(now)
        self._peers[peer] = capabilities
        self._weigh_promise()
        self.adopter.front_back(peer)
        self.acceptor.back_again(peer)
        self._settle()
        return actions

    def peer_down(self, peer: str, now: float) -> list[Action]:
        """
        Process a link that went down and may come up again.
        """
        actions = self.context.begin(now)
        self._reconciliation.interrupted(peer)
        self.adopter.hold(peer, True)
        self._settle()
        return actions

    # -- after a takeover, and after a link came back -------------------------

    def resume(self, relics: Sequence[Relic], nodes: Iterable[str], now: float) -> list[Action]:
        """
        Take over the flows that an earlier daemon left in the datapath.

        @param relics: the inherited entries of the datapath.
        @param nodes: the names of all nodes.
        """
        actions = self.context.begin(now)
        Resumption(self.acceptor, self.adopter, nodes).resume(relics)
        self._settle()
        return actions

    def shared_with(self, peer: str) -> list[int]:
        """
        Return the numbers of the flows that have a peer as their back-end.
        """
        return self._reconciliation.at(peer)

    def owned(self, peer: str, answer: Owned, now: float) -> list[Action]:
        """
        Process a back-end's answer to a list of shared flows: the ones that it does not have.
        """
        actions = self.context.begin(now)
        self._reconciliation.owned(peer, answer)
        self._settle()
        return actions

    def named(
        self, peer: str, numbers: Iterable[int], more: bool, now: float
    ) -> tuple[Owned, list[Action]]:
        """
        Process a front-end's list of flows that have this node as their back-end.

        @param more: whether further parts follow.
        @return: the flows that this node does not have, and the actions.
        """
        actions = self.context.begin(now)
        answer = self._reconciliation.named(peer, numbers, more)
        self._settle()
        return answer, actions

    def peer_lost(self, peer: str, now: float, restarted: bool = False) -> list[Action]:
        """
        Process the loss of a peer's flows: its link stayed down, or it has restarted.
        """
        actions = self.context.begin(now)
        self.acceptor.node_lost(peer)
        self.adopter.front_lost(peer, restarted)
        self._settle()
        return actions

    def shut_down(self, client: Endpoint, now: float) -> tuple[int, list[Action]]:
        """
        Reset all connections of a client's endpoint, as front-end and as back-end.

        @return: the number of connections, and the actions.
        """
        actions = self.context.begin(now)
        settings = self.context.settings
        ends = [(end[:-2], int.from_bytes(end[-2:], "big")) for end in settings.listeners]
        fronts = _flows(self.acceptor.flows.by_key, client, ends)
        count = sum(flow.state is not Accept.CLOSED for flow in fronts)
        for front in fronts:
            self.acceptor.step(front, Arrival.STOP, Reason.ABANDONED)
        self._settle()
        # Back-end flows whose front-end is this node have ended by now.
        backs = self.adopter.flows.inbound
        for back in _flows(backs, client, list(settings.origins.values())):
            count += self.adopter.shut(back)
        self._settle()
        return count, actions

    def stop(self, now: float) -> list[Action]:
        """
        End all flows because this node is stopping; clients and peers are notified.
        """
        actions = self.context.begin(now)
        self.acceptor.stop()
        self._settle()
        self.adopter.stop()
        self._settle()
        return actions

    def _weigh_promise(self) -> None:
        everybody = [self._own, *self._peers.values()]
        self.context.promise = evolve(
            self._own,
            mtu=min(each.mtu for each in everybody),
            sack=all(each.sack for each in everybody),
            timestamps=all(each.timestamps for each in everybody),
            window_scaling=all(each.window_scaling for each in everybody),
        )

    # -- time -----------------------------------------------------------------

    def tick(self, now: float) -> list[Action]:
        """
        Process all timers that have expired.
        """
        actions = self.context.begin(now)
        for accepted in self._accept_timers.expired(now):
            self.acceptor.expire(accepted)
        for adopted in self._adopt_timers.expired(now):
            self.adopter.expire(adopted)
        self._settle()
        return actions

    def deadline(self) -> float:
        """
        Return the time at which L{tick} has to be called next, in the time of C{now}; infinite if
        there is no timer.
        """
        return min(self._accept_timers.next(), self._adopt_timers.next())

    # -- the back-end half of this node -------------------------------------------

    def join(self, number: int, route: Route) -> None:
        """
        See L{btcp.handoff.forward.Local}.
        """
        self.adopter.join(number, route)

    def deliver(self, number: int, segment: Segment) -> None:
        """
        See L{btcp.handoff.forward.Local}.
        """
        self.adopter.from_own_front(number, segment)

    def _settle(self) -> None:
        """
        Deliver the messages between the two halves of this node.
        """
        own, waiting = self.context.settings.node, self.context.local
        while waiting:
            to_back, message = waiting.popleft()
            if isinstance(message, Handoff):
                self.adopter.adopt(own, message)
            elif isinstance(message, Terminate):
                (self.adopter if to_back else self.acceptor).terminate(own, message)
            else:
                self._answer(own, message)

    def _answer(self, peer: str, message: Adopted | Refused) -> None:
        if isinstance(message, Adopted):
            self.acceptor.adopted(peer, message)
        else:
            self.acceptor.refused(peer, message.id, message.reason)

    def _terminate(self, peer: str, message: Terminate) -> bool:
        """
        Dispatch a termination to the half that it concerns: if the peer is the flow's front-end, to
        the back-end half; if this node is, to the front-end half.
        """
        if message.front == peer:
            return self.adopter.terminate(peer, message)
        own = self.context.settings.node
        return message.front == own and self.acceptor.terminate(peer, message)

    def _occupied(self, key: bytes, front: str, number: int) -> bool:
        flow = self.acceptor.flows.by_key.get(key)
        if flow is not None and (front, number) != (self.context.settings.node, flow.number):
            return True
        return self.context.settings.elsewhere(key) is not None


def _flows(
    table: Mapping[bytes, F], client: Endpoint, ends: Sequence[tuple[bytes, int]]
) -> list[F]:
    """
    Find the flows of a client's endpoint.

    @param table: flows by the key of the client's packets.
    @param ends: addresses and ports that the client may have connected to.
    """
    keys = {
        flow_key(client.address, client.port, address, port)
        for address, port in ends
        if len(address) == len(client.address)
    }
    return [table[key] for key in keys if key in table]
