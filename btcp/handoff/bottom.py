# SPDX-License-Identifier: MIT
"""
Bottom TCP: both halves, for one node.

Packets, messages and the time go in; L{actions<btcp.handoff.actions>} come out.
Whatever a packet or a peer says, nothing else does: a packet that makes no sense
moves a counter.
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

    @ivar counters: everything that happened, by name.
    """

    def __init__(self, settings: Settings, promise: Capabilities) -> None:
        """
        @param promise: what this node itself can keep.
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
        A packet that no route takes, or one that its route wants seen.
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
        A packet that we gave to the local TCP came back: it is not admitted.
        """
        actions = self.context.begin(now)
        self.adopter.bounced(segment)
        self._settle()
        return actions

    def established(
        self, segment: Segment, beginning: bool, now: float, rtt: int = UNMEASURED
    ) -> list[Action]:
        """
        A packet of a connection that the datapath established; see
        L{btcp.handoff.cookie}.

        @param beginning: it has the very first octets.
        @param rtt: milliseconds that the handshake took, if C{beginning}.
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
        What the datapath saw of flows whose packets it moves by itself.
        """
        actions = self.context.begin(now)
        for report in reports:
            self.adopter.reported(report)
        self._settle()
        return actions

    def too_big(self, message: PacketTooBig, now: float) -> list[Action]:
        """
        A router cannot pass on what a back-end sent to a client: tell that
        back-end, which knows the packet by other numbers.
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
            # The origin's port is the listener's too: the client comes to us itself.
            self.adopter.expire(flow)
            self.acceptor.receive(segment)
        else:
            self.adopter.from_client(flow, segment)

    def _direct(self, segment: Segment) -> None:
        """
        Somebody talks to the origin without us, or the local TCP of a connection
        that is no more.
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
        A peer asks us to adopt a connection.
        """
        actions = self.context.begin(now)
        self.adopter.adopt(peer, message)
        self._settle()
        return actions

    def answer(self, peer: str, message: Adopted | Refused, now: float) -> list[Action]:
        """
        A peer answers our handoff.
        """
        actions = self.context.begin(now)
        self._answer(peer, message)
        self._settle()
        return actions

    def terminate(
        self, peer: str, messages: Iterable[Terminate], now: float
    ) -> tuple[int, list[Action]]:
        """
        A peer says that flows are over.

        @return: how many of them are unknown here, and the actions.
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
        The link to a peer is up; it is the same peer as before, with its flows.
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
        The link to a peer is down; it may come back.
        """
        actions = self.context.begin(now)
        self._reconciliation.interrupted(peer)
        self.adopter.hold(peer, True)
        self._settle()
        return actions

    # -- after a takeover, and after a link came back -------------------------

    def resume(self, relics: Sequence[Relic], nodes: Iterable[str], now: float) -> list[Action]:
        """
        Go on with the flows that an earlier daemon left in the datapath.

        @param nodes: the names of all nodes.
        """
        actions = self.context.begin(now)
        Resumption(self.acceptor, self.adopter, nodes).resume(relics)
        self._settle()
        return actions

    def shared_with(self, peer: str) -> list[int]:
        """
        @return: the numbers of the flows that we have at a back-end.
        """
        return self._reconciliation.at(peer)

    def owned(self, peer: str, answer: Owned, now: float) -> list[Action]:
        """
        A back-end says which of the flows that we named it does not have.
        """
        actions = self.context.begin(now)
        self._reconciliation.owned(peer, answer)
        self._settle()
        return actions

    def named(
        self, peer: str, numbers: Iterable[int], more: bool, now: float
    ) -> tuple[Owned, list[Action]]:
        """
        A front-end names flows that it has at this node.

        @param more: there are others, in the next part.
        @return: which of them are not here, and the actions.
        """
        actions = self.context.begin(now)
        answer = self._reconciliation.named(peer, numbers, more)
        self._settle()
        return answer, actions

    def peer_lost(self, peer: str, now: float, restarted: bool = False) -> list[Action]:
        """
        The link stayed down, or the peer was started anew: its flows are gone.
        """
        actions = self.context.begin(now)
        self.acceptor.node_lost(peer)
        self.adopter.front_lost(peer, restarted)
        self._settle()
        return actions

    def shut_down(self, client: Endpoint, now: float) -> tuple[int, list[Action]]:
        """
        Reset all connections of a client's end, whoever answers them.

        @return: how many there were, and the actions.
        """
        actions = self.context.begin(now)
        settings = self.context.settings
        ends = [(end[:-2], int.from_bytes(end[-2:], "big")) for end in settings.listeners]
        fronts = _flows(self.acceptor.flows.by_key, client, ends)
        count = sum(flow.state is not Accept.CLOSED for flow in fronts)
        for front in fronts:
            self.acceptor.step(front, Arrival.STOP, Reason.ABANDONED)
        self._settle()
        # Those of a flow of our own are gone by now.
        backs = self.adopter.flows.inbound
        for back in _flows(backs, client, list(settings.origins.values())):
            count += self.adopter.shut(back)
        self._settle()
        return count, actions

    def stop(self, now: float) -> list[Action]:
        """
        This node stops: end all flows, so that no client and no peer waits for it.
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
        Do what is due.
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
        @return: when to call L{tick} next, in the time that C{now} counts;
            infinite for never.
        """
        return min(self._accept_timers.next(), self._adopt_timers.next())

    # -- the back-end on this very node ---------------------------------------

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
        Read what this node said to itself.
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
        The message names the flow's front-end: if that is the peer, it gives up
        what we adopted; if we are, what it adopted is over.
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
    @param table: by the key of the client's packets.
    @param ends: to which they can go.
    """
    keys = {
        flow_key(client.address, client.port, address, port)
        for address, port in ends
        if len(address) == len(client.address)
    }
    return [table[key] for key in keys if key in table]
