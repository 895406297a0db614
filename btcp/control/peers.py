# SPDX-License-Identifier: MIT
"""
All links of one node: one to each other node of the cluster.

Of two nodes the one whose name sorts first dials, so that there are never two links between them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import random
from typing import Any

from attrs import evolve
from twisted.application.internet import ClientService
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred, succeed
from twisted.logger import Logger

from btcp.amp.warnings import Warnings
from btcp.cluster.state import Decision, NodeReport
from btcp.control.commands import UNSAID, HelloRefused, Identity, Ways
from btcp.control.controlled import IControlled, NodeAddresses, Settings
from btcp.control.dialing import (
    Backoff,
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

MAX_GREETING = 256
"""Maximum number of accepted connections whose Hello has not been accepted."""

MAX_GREETING_OF_HOST = 64
"""Those of one address: a compromised node cannot keep others out."""

log = Logger()


class Peers(MultiService):
    """
    The control channel of one node.

    @ivar identity: the content of this node's Hello.
    @ivar handoff_time: timeout of a handoff in seconds, for links that come up from now on.
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
        @param epoch: 0 to 2**64-1, different at each start of this node.
        @param capabilities: the TCP features of this host.
        @param owner: processes peers' messages and link events.
        @param reactor: provides C{IReactorTCP} and C{IReactorTime}.
        @param counters: receives counters with the prefix C{control.}.
        @param protection: makes the connections; must not be started yet.
        @param jitter: returns a random number from 0 to 1.
        @param ways: this node's modes of operation.
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
        self._greeting: dict[ControlProtocol, str] = {}
        self.warnings = Warnings(reactor)
        self._listening: Any = None
        self._jitter = jitter
        self._peers: dict[str, Peer] = {}
        self._known: frozenset[bytes] = frozenset()
        for name, node in config.nodes.items():
            if name != config.node:
                self.add(name, node)

    def introduce(self, capabilities: Capabilities, ways: Ways) -> None:
        """
        Tell all nodes that this one works in another way from now on: what a Hello says holds as
        long as the link, so each link is closed and made again.
        """
        self.identity = evolve(self.identity, capabilities=capabilities, ways=ways)
        for peer in self._peers.values():
            if peer.link is not None:
                peer.link.close("this host has changed")

    def add(self, name: str, node: NodeAddresses) -> None:
        """
        Add a node of the cluster.
        """
        addresses = frozenset((*node.addresses, pack_address(node.control[0])))
        peer = Peer(name, addresses, Backoff(self._jitter), self.clock, self.counters)
        self._peers[name] = peer
        self._known |= addresses
        if self.identity.node < name:
            self._dial(peer, *node.control).setServiceParent(self)

    # life

    def startService(self) -> None:
        """
        Listen, and dial the peers that this node dials.

        @raise twisted.internet.error.CannotListenError: if the control address is not available.
        """
        factory = self._protection.factory(self._accept, dialing=False)
        self._listening = listen(self.clock, *self._own.control, factory)
        super().startService()

    def stopService(self) -> Deferred[Any]:
        """
        Send queued terminations and close all links.

        @return: fires when all connections are closed.
        """
        for peer in self._peers.values():
            peer.flush()
        stopping = [maybeDeferred(super().stopService)]
        if self._listening is not None:
            stopping.append(maybeDeferred(self._listening.stopListening))
            self._listening = None
        for link in (*self._greeting, *(p.link for p in self._peers.values() if p.link)):
            link.close("this node is stopping")
            stopping.append(link.lost)
        return gatherResults(stopping)

    def _dial(self, peer: Peer, host: str, port: int) -> ClientService:
        own = (pack_address(self._own.control[0]), *self._own.addresses)
        factory = self._protection.factory(
            lambda addr: self._protection.link(self, peer.name), dialing=True
        )
        source = choose_source(host, own)
        return dial(self.clock, peer.name, host, port, source, factory, peer.backoff)

    # connections

    def _accept(self, addr: Any) -> ControlProtocol | None:
        """
        Make the protocol of an incoming connection.

        @return: L{None} closes the connection.
        """
        why = None
        if pack_address(addr.host) not in self._known:
            why, counter = "not the address of a node", "control.stranger"
        elif list(self._greeting.values()).count(addr.host) >= MAX_GREETING_OF_HOST:
            why, counter = "too many others of this host have not said Hello", "control.crowded"
        elif len(self._greeting) >= MAX_GREETING:
            why, counter = "too many connections without Hello", "control.crowded"
        if why is not None:
            self.counters[counter] += 1
            text = "control connection of {address} closed: {why}"
            self.warnings(counter, text, address=addr.host, why=why)
            return None
        link = self._protection.link(self)
        self._greeting[link] = addr.host
        return link

    def judge(self, link: ControlProtocol, identity: Identity) -> None:
        """
        Decide whether a peer's Hello is acceptable.

        @raise HelloRefused: if C{link} must not become a link to that node.
        """
        name = identity.node
        peer = self._peers.get(name)
        if name == self.identity.node:
            raise HelloRefused(f"{name!r} is this node itself")
        if peer is None:
            raise HelloRefused(f"{name!r} is not a node of this cluster")
        if link.dialed is not None and name != link.dialed:
            raise HelloRefused(f"dialed {link.dialed!r} but {name!r} answered")
        if link.dialed is None and self.identity.node < name:
            raise HelloRefused(f"{self.identity.node!r} dials {name!r}, not the reverse")
        if pack_address(link.address) not in peer.addresses:
            raise HelloRefused(f"{link.address} is not an address of {name!r}")
        if peer.link is not None and peer.terminations.epoch == identity.epoch:
            peer.link.probe()
            raise HelloRefused(f"a link to {name!r} exists already")

    def link_up(self, link: ControlProtocol) -> None:
        """
        Process a link whose Hello was accepted.
        """
        self._greeting.pop(link, None)
        identity = link.peer
        assert identity is not None  # for mypy: it has just been set
        peer = self._peers[identity.node]
        if peer.link is not None:
            peer.link.drop(f"{peer.name} has restarted", "control.replaced")
        peer.backoff.reset()
        peer.link = link
        peer.ways = identity.ways
        self.counters["control.terminate-dropped"] += peer.terminations.begin(identity.epoch)
        self._owner.peer_up(peer.name, identity.epoch, identity.capabilities)
        # Terminations first: flows that this node has terminated must not appear as unknown.
        peer.flush()
        if link.version >= 2:
            reconcile(link, peer.name, self._owner)

    def link_gone(self, link: ControlProtocol, why: str) -> None:
        """
        Process the end of a link, or of a connection that never became one.
        """
        self._greeting.pop(link, None)
        peer = self._peers.get(link.peer.node) if link.peer else None
        if peer is None or peer.link is not link:
            return
        log.info("link to {node} lost: {why}", node=peer.name, why=why)
        peer.link = None
        peer.returning = peer.ways.resumes and not link.silent
        if peer.returning:
            peer.backoff.expect_soon()
        peer.terminations.rewind()
        if self.running:
            self._owner.peer_down(peer.name)

    # commands of peers

    def handoff(self, node: str, message: messages.Handoff) -> Deferred[messages.Adopted]:
        """
        See L{IControlled.handoff}.
        """
        return self._owner.handoff(node, message)

    def terminated(self, node: str, records: list[messages.Terminate]) -> int:
        """
        See L{IControlled.terminate}.
        """
        return self._owner.terminate(node, records)

    def named(self, node: str, numbers: list[int], more: bool) -> Owned:
        """
        See L{IControlled.named}.
        """
        return self._owner.named(node, numbers, more)

    def report(self) -> NodeReport:
        """
        See L{IControlled.report}.
        """
        return self._owner.report()

    def reported(self, node: str, report: NodeReport) -> None:
        """
        See L{IControlled.reported}.
        """
        self._owner.reported(node, report)

    def decided(self, node: str, decision: Decision) -> None:
        """
        See L{IControlled.decided}.
        """
        self._owner.decided(node, decision)

    def express(self, node: str, word: Word) -> None:
        """
        See L{IControlled.express}.
        """
        self._owner.express(node, word)

    # commands to peers

    def say_express(self, node: str, word: Word, heard: Callable[[], None] = lambda: None) -> bool:
        """
        Send a message about connections handed off by the kernel.

        @param heard: called when C{node} has confirmed it.
        @return: whether it was sent: there is a link, and C{node} announced C{express}.
        """
        peer = self._peers.get(node)
        if peer is None or peer.link is None or not peer.ways.express:
            return False
        peer.link.express(word, heard)
        return True

    def decide(self, decision: Decision, to: str | None = None) -> None:
        """
        Send an operator's decision.

        @param to: the node to send it to; C{None} for all nodes with a link.
        """
        for peer in self._peers.values():
            if peer.link is not None and to in (None, peer.name):
                peer.link.decide(decision)

    def tell_load(self) -> None:
        """
        Send this node's report to all peers now, in addition to those sent with heartbeats.
        """
        for peer in self._peers.values():
            if peer.link is not None:
                peer.link.tell_load()

    def hand_off(self, node: str, message: messages.Handoff) -> Deferred[Answer]:
        """
        Send a handoff to C{node}.

        @return: fires with the answer, which may be a refusal; L{Reason.LINK_LOST} if the link is
            down or is lost meanwhile.  Never fails.  There is no timeout, the caller has its own.
        @raise struct.error: if a field is out of its range.
        @raise ValueError: if the request is too long.
        """
        peer = self._peers.get(node)
        if peer is None:
            return succeed(messages.Refused(id=message.id, reason=Reason.LINK_LOST))
        return peer.hand_off(message)

    def terminate(self, node: str, record: messages.Terminate) -> None:
        """
        Notify C{node} that a flow has ended.  Notifications are sent in batches, and again over the
        next link if one is lost, unless C{node} has restarted.
        """
        peer = self._peers.get(node)
        if peer is None:
            self.counters["control.terminate-dropped"] += 1
        else:
            peer.terminate(record)

    def silence(self, node: str) -> float:
        """
        Return the seconds since the latest answered heartbeat to C{node} was sent.  Everything
        that C{node} sent before its answer has arrived.  Infinite without a link.
        """
        return self._peers[node].silence

    def returning(self, node: str) -> bool:
        """
        Return whether C{node}, whose link is lost, is expected to come back with its flows: its
        host closed the connection and its flows survive its daemon.
        """
        return self._peers[node].returning

    def states(self) -> dict[str, dict[str, object]]:
        """
        Return for each node the state of its link (C{up} or C{down}), the protocol's version, the
        epoch, address, round-trip time in seconds, number of terminations that it has not
        acknowledged, and its modes of operation.
        """
        return {peer.name: peer.state for peer in self._peers.values()}
