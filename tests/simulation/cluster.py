# SPDX-License-Identifier: MIT
"""
Nodes: a kernel, the core between it and the network, links to the other nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import ip_address
from math import inf
from random import Random

from attrs import define, field, frozen

from btcp.content.contract import RequestKey
from btcp.datapath.ebpf.abi import MEMO, pack_key, pack_route, unpack_route
from btcp.datapath.interface import AWAKE, Promise
from btcp.handoff.actions import Action, Blame, Note, Reply, Send, Witness
from btcp.handoff.bottom import BottomTcp
from btcp.handoff.context import Periods, Settings
from btcp.handoff.memo import Relic
from btcp.handoff.messages import Adopted, Capabilities, Handoff, Refused, Terminate
from btcp.handoff.reconcile import Owned
from btcp.wire.checksum import pseudo
from btcp.wire.segment import Malformed, Segment
from tests.simulation.clock import Call, Clock
from tests.simulation.following import FollowingDatapath
from tests.simulation.host import Listening, Program, Stack
from tests.simulation.kernel import Reporting
from tests.simulation.memory_datapath import MemoryDatapath
from tests.simulation.network import Network
from tests.simulation.tcp import Abilities

PORT = 80
ORIGIN = 8080
LOCAL_DELAY = 0.000_02
"""Seconds from the datapath to the kernel and back."""
LINK_DELAY = 0.000_3
GRACE = 1.0
RESTART_GRACE = 30.0

CAPABILITIES = Capabilities(mtu=1500, sack=True, timestamps=True, window_scaling=True)

Message = Handoff | Adopted | Refused | Terminate


def packed(text: str) -> bytes:
    """
    @return: the address.
    """
    return ip_address(text).packed


@frozen(kw_only=True)
class Plan:
    """
    How a cluster is made.

    @ivar names: of the nodes; the first one has the number 11.
    @ivar origin: the origin's port.
    @ivar kernels: what the TCPs of the nodes are like; the last one for all others.
    @ivar admits: kernels make connections without a handshake.
    @ivar reporting: kernels move packets by themselves, and report so; C{None} if they do not.
    @ivar place: as C{Settings.place}, with the nodes alive for a second argument.
    """

    names: tuple[str, ...] = ("a", "b")
    origin: int = ORIGIN
    kernels: tuple[Abilities, ...] = (Abilities(),)
    capabilities: Capabilities = CAPABILITIES
    window_scale: int = 7
    periods: Periods = Periods()
    max_request: int = 16_384
    admits: bool = False
    reporting: Reporting | None = None
    place: Callable[[RequestKey, set[str]], list[str] | None]


@define(eq=False)
class Node:
    """
    One host of the cluster.

    @ivar addresses: IPv4 and IPv6.
    @ivar notes: what the core wanted on record.
    @ivar dead: it takes and says nothing.
    @ivar crashed: its daemon is gone; its kernel and its datapath's routes are not.
    @ivar life: another number for each daemon, and for the time between two.
    """

    name: str
    addresses: tuple[bytes, bytes]
    cluster: Cluster
    kernel: Stack = field(init=False)
    datapath: MemoryDatapath | FollowingDatapath = field(init=False)
    core: BottomTcp = field(init=False)
    notes: list[Note] = field(factory=list)
    live: set[str] = field(factory=set)
    epoch: int = 1
    dead: bool = False
    crashed: bool = False
    life: int = 0
    _ours: set[bytes] = field(init=False)
    _timer: Call | None = None

    def __attrs_post_init__(self) -> None:
        clock, network = self.cluster.clock, self.cluster.network
        self.kernel = Stack(self.name, clock, self.cluster.random, self._from_kernel)
        self.datapath = self._make_datapath()
        self.kernel.bounce = self._bounced
        for address in self.addresses:
            network.hosts[address] = self._from_network
        self.start()

    def _make_datapath(self) -> MemoryDatapath | FollowingDatapath:
        cluster, reporting = self.cluster, self.cluster.plan.reporting
        send = cluster.network.send
        if reporting is None:
            return MemoryDatapath(cluster.clock.seconds, send, self._to_kernel, self.kernel)
        return FollowingDatapath(
            cluster.clock,
            cluster.random,
            reporting,
            send,
            self._to_kernel,
            self.kernel.receive,
            self.kernel,
            self.addresses,
            PORT,
        )

    def start(self) -> None:
        """
        Begin with empty tables.
        """
        plan = self.cluster.plan
        self.live = {self.name}
        ends = {address + PORT.to_bytes(2, "big"): "web" for address in self.addresses}
        self._ours = {address + plan.origin.to_bytes(2, "big") for address in self.addresses}
        self.core = BottomTcp(
            Settings(
                node=self.name,
                listeners=ends,
                origins={("web", v): (self.addresses[v == 6], plan.origin) for v in (4, 6)},
                place=lambda key: plan.place(key, self.live),
                periods=plan.periods,
                window_scale=plan.window_scale,
                max_request=plan.max_request,
                admits=plan.admits,
                remembers=True,
                first_number=(self.life << 40) + 1,
                reports=plan.reporting is not None,
                secret=self.name.encode() * 16,
            ),
            plan.capabilities,
        )
        self.datapath.start(self.core, self)
        self.renew()

    def renew(self) -> None:
        """
        Say what may be promised now.
        """
        plan = self.cluster.plan
        promise = Promise(self.core.context.promise, plan.window_scale, inf)
        self.datapath.renew(promise, dict.fromkeys((AWAKE, *plan.names), inf))

    def crash(self) -> None:
        """
        The daemon is killed; what it installed goes on.
        """
        self.crashed = True
        self.life += 1
        self.datapath.leave()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def take_over(self) -> None:
        """
        Another daemon begins with what the one before left.
        """
        self.crashed = False
        self.life += 1
        self.start()
        relics = self.datapath.relics()
        if isinstance(self.datapath, MemoryDatapath):
            relics = [of_kernel(relic) for relic in relics]
            for relic in relics:
                if relic.route is not None:
                    self.datapath.routes[relic.key] = relic.route
        names = self.cluster.plan.names
        self.perform(self.core.resume(relics, names, self.cluster.clock.now))

    def serve(self, can: Abilities, start: Callable[[], Program]) -> Listening:
        """
        Run a server program at the origin's port.
        """
        listening = Listening(can, start)
        self.kernel.listening[self.cluster.plan.origin] = listening
        return listening

    # -- packets --------------------------------------------------------------

    def _from_network(self, packet: bytes) -> None:
        if self.dead:
            return
        try:
            segment = Segment(bytearray(packet), 0, len(packet))
        except Malformed:  # ICMP for a listener's address goes up as well
            self.datapath.receive(packet)
            return
        end = segment.destination + segment.key[-2:]
        if end in self._ours or end in self.core.context.settings.listeners:
            self.datapath.receive(packet)
        else:
            self.kernel.receive(packet)

    def _to_kernel(self, packet: bytes) -> None:
        self.cluster.clock.call_later(LOCAL_DELAY, lambda: self._arrive(packet))

    def _arrive(self, packet: bytes) -> None:
        if not self.dead:
            self.kernel.receive(packet)

    def _from_kernel(self, segment: Segment) -> None:
        """
        As a kernel gives packets to its device: the checksum left to the hardware.
        """
        if segment.source + segment.key[-4:-2] not in self._ours:
            self.cluster.guarded += 1
            return
        summed = pseudo(segment.source, segment.destination, segment.end - segment.tcp)
        at = segment.tcp + 16
        segment.buffer[at : at + 2] = (summed % 0xFFFF).to_bytes(2, "big")
        packet, size = bytes(segment.buffer), segment.gso_size
        self.cluster.clock.call_later(LOCAL_DELAY, lambda: self._intercept(packet, size))

    def _intercept(self, packet: bytes, gso_size: int) -> None:
        if not self.dead:
            self.datapath.receive(packet, partial=True, gso_size=gso_size)

    def _bounced(self, packet: bytes) -> None:
        self.cluster.clock.call_later(LOCAL_DELAY, lambda: self.datapath.bounced(packet))

    # -- what the core wants done ---------------------------------------------

    def perform(self, actions: list[Action]) -> None:
        """
        See L{btcp.datapath.interface.Shell}.
        """
        for action in actions:
            if isinstance(action, Note):
                action.what.format(**action.fields)
                self.notes.append(action)
            elif isinstance(action, Send | Reply):
                self.cluster.say(self, action.node, action.message)
            elif not isinstance(action, Blame | Witness):
                self.datapath.perform(action)
        self._schedule()

    def _schedule(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self.core.deadline()
        if due < inf:
            delay = max(due - self.cluster.clock.now, 0.0)
            self._timer = self.cluster.clock.call_later(delay, self._tick)

    def _tick(self) -> None:
        self._timer = None
        if not self.dead:
            self.perform(self.core.tick(self.cluster.clock.now))

    def hear(self, node: str, message: Message) -> None:
        """
        A peer says something.
        """
        now = self.cluster.clock.now
        if isinstance(message, Handoff):
            self.perform(self.core.handoff(node, message, now))
        elif isinstance(message, Terminate):
            self.perform(self.core.terminate(node, [message], now)[1])
        else:
            self.perform(self.core.answer(node, message, now))


def of_kernel(relic: Relic) -> Relic:
    """
    @return: the same, with no more of the route than a kernel would have kept: the daemon
        moved all of its packets, for all that the kernel knows.
    """
    if relic.route is None:
        return relic
    route = unpack_route(pack_key(relic.key), pack_route(relic.route))
    return Relic(relic.key, route, relic.memo and MEMO.pack(relic.memo))


@define(eq=False)
class Cluster:
    """
    @ivar nodes: by name.
    @ivar guarded: packets of kernels that never left.
    @ivar cut: pairs of nodes whose link is down.
    @ivar overhear: is told what nodes say, just before it is on its way.
    """

    plan: Plan
    clock: Clock
    random: Random
    network: Network
    nodes: dict[str, Node] = field(factory=dict)
    guarded: int = 0
    cut: set[frozenset[str]] = field(factory=set)
    overhear: Callable[[str, str, Message], None] = lambda speaker, listener, message: None
    _kept: list[tuple[Node, str, Terminate]] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        for number, name in enumerate(self.plan.names, 11):
            addresses = packed(f"192.0.2.{number}"), packed(f"2001:db8:2::{number}")
            self.nodes[name] = Node(name, addresses, self)
        for one in self.nodes.values():
            for other in self.nodes.values():
                if one is not other:
                    self._up(one, other)

    # -- links ----------------------------------------------------------------

    def say(self, speaker: Node, name: str, message: Message) -> None:
        """
        Carry a message; in order, for all take the same time.
        """
        self.overhear(speaker.name, name, message)
        listener, lives = self.nodes[name], (speaker.life, self.nodes[name].life)
        if frozenset((speaker.name, name)) in self.cut:
            if isinstance(message, Terminate):  # a link sends these again
                self._kept.append((speaker, name, message))
            return

        def arrive() -> None:
            gone = frozenset((speaker.name, name)) in self.cut
            if listener.dead or lives != (speaker.life, listener.life):
                return
            if not gone:
                listener.hear(speaker.name, message)
            elif isinstance(message, Terminate):
                self._kept.append((speaker, name, message))

        self.clock.call_later(LINK_DELAY, arrive)

    def cut_link(self, one: str, other: str, grace: float = GRACE) -> None:
        """
        The link between two nodes goes down, and after a while is given up.
        """
        pair = frozenset((one, other))
        self.cut.add(pair)
        for here, there in ((one, other), (other, one)):
            node = self.nodes[here]
            node.live.discard(there)
            if not node.dead and not node.crashed:
                node.perform(node.core.peer_down(there, self.clock.now))
        self.clock.call_later(grace, lambda: self._give_up(pair))

    def _give_up(self, pair: frozenset[str]) -> None:
        if pair not in self.cut:
            return
        self._kept = [each for each in self._kept if {each[0].name, each[1]} != pair]
        for here, there in (tuple(pair), tuple(pair)[::-1]):
            node = self.nodes[here]
            if not node.dead and not node.crashed:
                node.perform(node.core.peer_lost(there, self.clock.now))

    def mend_link(self, one: str, other: str) -> None:
        """
        The link is up again.
        """
        pair = frozenset((one, other))
        self.cut.discard(pair)
        for here, there in ((one, other), (other, one)):
            self._up(self.nodes[here], self.nodes[there])
        kept, self._kept = self._kept, []
        for speaker, name, message in kept:
            self.say(speaker, name, message)
        for front, back in ((one, other), (other, one)):
            self._reconcile(self.nodes[front], self.nodes[back])

    def _reconcile(self, front: Node, back: Node) -> None:
        """
        The front-end names its flows, the back-end answers.
        """
        lives = front.life, back.life
        numbers = front.core.shared_with(back.name)

        def ask() -> None:
            if lives == (front.life, back.life):
                now = self.clock.now
                owned, actions = back.core.named(front.name, numbers, False, now)
                back.perform(actions)
                self.clock.call_later(LINK_DELAY, lambda: answer(owned))

        def answer(owned: Owned) -> None:
            if lives == (front.life, back.life):
                front.perform(front.core.owned(back.name, owned, self.clock.now))

        self.clock.call_later(LINK_DELAY, ask)

    def _up(self, node: Node, peer: Node) -> None:
        node.live.add(peer.name)
        node.perform(node.core.peer_up(peer.name, self.plan.capabilities, self.clock.now))
        node.renew()

    def kill(self, name: str) -> None:
        """
        A host loses its power.
        """
        self.nodes[name].dead = True
        self.nodes[name].datapath.stop()
        for other in self.nodes:
            if other != name:
                self.cut_link(name, other)

    def restart(self, name: str) -> None:
        """
        A daemon dies and begins anew; its host and kernel go on.
        """
        node = self.nodes[name]
        node.epoch += 1
        node.life += 1
        node.datapath.stop()
        node.start()
        for peer in self.nodes.values():
            if peer is not node:
                peer.perform(peer.core.peer_lost(name, self.clock.now, restarted=True))
                self._up(peer, node)
                self._up(node, peer)

    def crash(self, name: str) -> None:
        """
        A daemon dies, its host and kernel go on, and what is in its datapath.
        """
        node = self.nodes[name]
        node.crash()
        self._kept = [each for each in self._kept if each[0] is not node]
        for other in self.nodes:
            if other != name:
                self.cut_link(name, other, RESTART_GRACE)

    def take_over(self, name: str) -> None:
        """
        Another daemon goes on with what a crashed one left.
        """
        self.nodes[name].take_over()
        for other in self.nodes:
            if other != name:
                self.mend_link(name, other)

    # -- at the end -----------------------------------------------------------

    def remains(self) -> list[str]:
        """
        @return: what the nodes have not forgotten.
        """
        return [
            f"{node.name}: {what}"
            for node in self.nodes.values()
            if not node.dead
            for what in _remains(node)
        ]


def _remains(node: Node) -> Iterable[str]:
    core = node.core
    yield from (f"front {flow.state}" for flow in core.acceptor.flows.by_key.values())
    yield from (f"back {flow.state}" for flow in core.adopter.flows.outbound.values())
    yield from (f"route {key.hex()}" for key in node.datapath.routes)
    yield from (f"memo {key.hex()}" for key in node.datapath.memos)
    if core.deadline() < inf:
        yield f"deadline {core.deadline()}"
    yield from (f"kernel {each.state}" for each in node.kernel.connections.values())
