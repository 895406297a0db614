# SPDX-License-Identifier: MIT
"""
All the links of one node: one to each other node of the cluster.

Of two nodes the one whose name sorts lower dials, so there is never a pair of
links to choose from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import random
from typing import Any

from twisted.application.internet import ClientService
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred, succeed
from twisted.logger import Logger

from btcp.cluster.state import Decision, NodeReport
from btcp.control.commands import UNSAID, HelloRefused, Identity, Ways
from btcp.control.controlled import IControlled, NodeAddresses, Settings
from btcp.control.dialing import (
    Patience,
    choose_source,
    dial,
    listen,
    pack_address,
)
from btcp.control.express import Word
from btcp.control.link import Answer, ControlProtocol
from btcp.control.ownership import reconcile
from btcp.control.peer import Peer
from btcp.control.protection import Protection
from btcp.handoff import messages
from btcp.handoff.messages import Capabilities, Reason
from btcp.handoff.reconcile import Owned

MAX_GREETING = 64
"""Accepted connections at a time that have not said Hello."""

log = Logger()


class Peers(MultiService):
    """
    The control channel of one node.

    @ivar identity: what our Hello says.
    @ivar handoff_time: seconds that a handoff over a link that is yet to come may take.
    """

    def __init__(
        self,
        config: Settings,
        *,
        epoch: int,
        capabilities: Capabilities,
        owner: IControlled,
        reactor: Any,
        counters: Counter[str],
        protection: Protection,
        jitter: Callable[[], float] = random,
        ways: Ways = UNSAID,
    ) -> None:
        """
        @param epoch: 0 to 2**64-1, another one in each life of this node.
        @param reactor: provides C{IReactorTCP} and C{IReactorTime}.
        @param counters: moved under names that begin with C{control.}.
        @param protection: not started.
        @param jitter: a number from 0 to 1, another one each time.
        @param ways: how this node works.
        """
        super().__init__()
        self.identity = Identity(
            node=config.node, epoch=epoch, capabilities=capabilities, ways=ways
        )
        self.clock = reactor
        self.heartbeat = config.control.heartbeat
        self.handoff_time = config.timeouts.handoff
        self.counters = counters
        self._protection = protection
        protection.setServiceParent(self)
        self._owner = owner
        self._own = config.nodes[config.node]
        self._greeting: set[ControlProtocol] = set()
        self._listening: Any = None
        self._jitter = jitter
        self._peers: dict[str, Peer] = {}
        self._known: frozenset[bytes] = frozenset()
        for name, node in config.nodes.items():
            if name != config.node:
                self.add(name, node)

    def add(self, name: str, node: NodeAddresses) -> None:
        """
        There is another node.
        """
        addresses = frozenset((*node.addresses, pack_address(node.control[0])))
        peer = Peer(name, addresses, Patience(self._jitter), self.clock, self.counters)
        self._peers[name] = peer
        self._known |= addresses
        if self.identity.node < name:
            self._dial(peer, *node.control).setServiceParent(self)

    # life

    def startService(self) -> None:
        """
        Listen and dial.

        @raise twisted.internet.error.CannotListenError: if the control address
            cannot be had.
        """
        factory = self._protection.factory(self._accept, dialing=False)
        self._listening = listen(self.clock, *self._own.control, factory)
        super().startService()

    def stopService(self) -> Deferred[Any]:
        """
        Say what is left to say and close all links.
        """
        for peer in self._peers.values():
            peer.flush()
        stopping = [maybeDeferred(super().stopService)]
        if self._listening is not None:
            stopping.append(maybeDeferred(self._listening.stopListening))
            self._listening = None
        for link in (*self._greeting, *(p.link for p in self._peers.values() if p.link)):
            link.close("this node stops")
            stopping.append(link.lost)
        return gatherResults(stopping)

    def _dial(self, peer: Peer, host: str, port: int) -> ClientService:
        own = (pack_address(self._own.control[0]), *self._own.addresses)
        factory = self._protection.factory(
            lambda addr: self._protection.link(self, peer.name), dialing=True
        )
        return dial(self.clock, host, port, choose_source(host, own), factory, peer.patience)

    # connections

    def _accept(self, addr: Any) -> ControlProtocol | None:
        """
        Somebody connected.
        """
        why = None
        if pack_address(addr.host) not in self._known:
            why, counter = "not the address of a node", "control.stranger"
        elif len(self._greeting) >= MAX_GREETING:
            why, counter = "too many others have not said Hello", "control.crowded"
        if why is not None:
            self.counters[counter] += 1
            log.warn("control connection of {address} closed: {why}", address=addr.host, why=why)
            return None
        link = self._protection.link(self)
        self._greeting.add(link)
        return link

    def judge(self, link: ControlProtocol, identity: Identity) -> None:
        """
        @raise HelloRefused: if C{link} must not become a link to that node.
        """
        name = identity.node
        peer = self._peers.get(name)
        if name == self.identity.node:
            raise HelloRefused(f"{name!r} is this node itself")
        if peer is None:
            raise HelloRefused(f"{name!r} is not a node of this cluster")
        if link.dialed is not None and name != link.dialed:
            raise HelloRefused(f"{link.dialed!r} was dialed and {name!r} answered")
        if link.dialed is None and self.identity.node < name:
            raise HelloRefused(f"{name!r} is dialed by {self.identity.node!r}")
        if pack_address(link.address) not in peer.addresses:
            raise HelloRefused(f"{link.address} is not an address of {name!r}")
        if peer.link is not None and peer.terminations.epoch == identity.epoch:
            peer.link.probe()
            raise HelloRefused(f"there is a link to {name!r}")

    def link_up(self, link: ControlProtocol) -> None:
        """
        C{link.peer} said Hello.
        """
        self._greeting.discard(link)
        identity = link.peer
        assert identity is not None  # for mypy: it has just been set
        peer = self._peers[identity.node]
        if peer.link is not None:
            peer.link.drop(f"{peer.name} has started anew", "control.replaced")
        peer.patience.reset()
        peer.link = link
        peer.ways = identity.ways
        self.counters["control.terminate-dropped"] += peer.terminations.begin(identity.epoch)
        self._owner.peer_up(peer.name, identity.epoch, identity.capabilities)
        # In this order: what was given up on purpose must not look forgotten.
        peer.flush()
        if link.version >= 2:
            reconcile(link, peer.name, self._owner)

    def link_gone(self, link: ControlProtocol, why: str) -> None:
        """
        Nothing more comes from C{link}.
        """
        self._greeting.discard(link)
        peer = self._peers.get(link.peer.node) if link.peer else None
        if peer is None or peer.link is not link:
            return
        log.info("link to {node} lost: {why}", node=peer.name, why=why)
        peer.link = None
        peer.returning = peer.ways.resumes and not link.silent
        if peer.returning:
            peer.patience.hope()
        peer.terminations.rewind()
        if self.running:
            self._owner.peer_down(peer.name)

    # what peers ask

    def handoff(self, node: str, message: messages.Handoff) -> Deferred[messages.Adopted]:
        """
        As L{IControlled.handoff}.
        """
        return self._owner.handoff(node, message)

    def terminated(self, node: str, records: list[messages.Terminate]) -> int:
        """
        As L{IControlled.terminate}.
        """
        return self._owner.terminate(node, records)

    def named(self, node: str, numbers: list[int], more: bool) -> Owned:
        """
        As L{IControlled.named}.
        """
        return self._owner.named(node, numbers, more)

    def report(self) -> NodeReport:
        """
        As L{IControlled.report}.
        """
        return self._owner.report()

    def reported(self, node: str, report: NodeReport) -> None:
        """
        As L{IControlled.reported}.
        """
        self._owner.reported(node, report)

    def decided(self, node: str, decision: Decision) -> None:
        """
        As L{IControlled.decided}.
        """
        self._owner.decided(node, decision)

    def express(self, node: str, word: Word) -> None:
        """
        As L{IControlled.express}.
        """
        self._owner.express(node, word)

    # what the owner asks

    def say_express(self, node: str, word: Word, heard: Callable[[], None] = lambda: None) -> bool:
        """
        @param heard: called when C{node} has taken it in.
        @return: whether it can be said: there is a link, and the node hands connections off in
            its kernel.
        """
        peer = self._peers.get(node)
        if peer is None or peer.link is None or not peer.ways.express:
            return False
        peer.link.express(word, heard)
        return True

    def decide(self, decision: Decision, to: str | None = None) -> None:
        """
        Pass on what an operator said.

        @param to: a node; C{None} for all that there is a link to.
        """
        for peer in self._peers.values():
            if peer.link is not None and to in (None, peer.name):
                peer.link.decide(decision)

    def tell_load(self) -> None:
        """
        Tell all how we are, now; it is told with every heartbeat, too.
        """
        for peer in self._peers.values():
            if peer.link is not None:
                peer.link.tell_load()

    def hand_off(self, node: str, message: messages.Handoff) -> Deferred[Answer]:
        """
        Ask C{node} to adopt a connection.

        @return: fires with the answer, a refusal too; with L{Reason.LINK_LOST}
            if the link is down or is lost meanwhile.  Never fails, and waits as
            long as the link lives: the deadline is the caller's.
        @raise struct.error: if a field is out of its range, and ValueError if
            the request is too long.
        """
        peer = self._peers.get(node)
        if peer is None:
            return succeed(messages.Refused(id=message.id, reason=Reason.LINK_LOST))
        return peer.hand_off(message)

    def terminate(self, node: str, record: messages.Terminate) -> None:
        """
        Tell C{node} that a flow is over: soon, together with others, and again
        after the link was lost, as long as C{node} lives.
        """
        peer = self._peers.get(node)
        if peer is None:
            self.counters["control.terminate-dropped"] += 1
        else:
            peer.terminate(record)

    def silence(self, node: str) -> float:
        """
        @return: seconds since we asked C{node} what it has answered: all it said
            before it answered has arrived.  Infinite without a link.
        """
        return self._peers[node].silence

    def returning(self, node: str) -> bool:
        """
        @return: whether C{node}, to which the link was lost, may be expected to come
            back with its flows: its host said that the connection is closed.
        """
        return self._peers[node].returning

    def states(self) -> dict[str, dict[str, object]]:
        """
        @return: for each node its state (C{up} or C{down}), the protocol's version,
            epoch, address, rtt in seconds, number of terminations it has not
            acknowledged, and what it said of its ways.
        """
        return {peer.name: peer.state for peer in self._peers.values()}
