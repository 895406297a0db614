# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.control.peers}: whole clusters, on an imagined network.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from socket import AF_INET, AF_INET6, inet_pton
from types import MappingProxyType

from attrs import evolve, field, frozen
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.testing import MemoryReactorClock
from twisted.protocols.amp import AmpBox
from twisted.python.failure import Failure
from twisted.test.iosim import FakeTransport, IOPump, connect
from twisted.trial.unittest import SynchronousTestCase

from btcp.cluster.state import Admin, Decision, Health, NodeReport
from btcp.control import link, terminations, window
from btcp.control.commands import HandoffRefused, Ways
from btcp.control.dialing import (
    EXPECTED_ATTEMPTS,
    EXPECTED_RETRY,
    LAST_RETRY,
    Backoff,
    PeerEndpoint,
    choose_source,
    pack_address,
)
from btcp.control.express import Word
from btcp.control.peers import Peers
from btcp.control.protection import Unprotected
from btcp.control.terminations import MAX_KEPT
from btcp.handoff import messages
from btcp.handoff.messages import Adopted, Capabilities, Reason, Refused
from btcp.handoff.reconcile import Owned
from tests.unit.test_control_commands import HANDOFF

REPORT = NodeReport(fronts=1, backs=2, rate=3, cpu=0.5, health=Health.UP, why="", state=Admin.READY)
CAPABILITIES = Capabilities(mtu=1500, sack=True, timestamps=True, window_scaling=True)


@frozen
class NodeConfig:
    """
    As C{btcp.config.Node}.
    """

    addresses: tuple[bytes, ...]
    control: tuple[str, int]


@frozen
class ControlConfig:
    """
    As C{btcp.config.Control}.
    """

    heartbeat: float = 1.0


@frozen
class TimeoutConfig:
    """
    As C{btcp.config.Timeouts}.
    """

    handoff: float = 1.0


@frozen
class Config:
    """
    As C{btcp.config.Config}.
    """

    node: str
    nodes: dict[str, NodeConfig]
    control: ControlConfig = field(factory=ControlConfig)
    timeouts: TimeoutConfig = field(factory=TimeoutConfig)


def four(last: int) -> bytes:
    """
    An IPv4 address of the cluster.
    """
    return bytes((192, 0, 2, last))


NODES = {
    name: NodeConfig(
        (four(last), inet_pton(AF_INET6, f"2001:db8:2::{last}")), (f"192.0.2.{last}", 7311)
    )
    for name, last in (("a", 11), ("b", 12), ("c", 13))
}


def adopted(message: messages.Handoff) -> Adopted:
    """
    What a back-end answers.
    """
    return Adopted(id=message.id, isn=1000, ts_delta=0, address=four(12), port=8080)


def termination(id: int = 1, front: str = "a") -> messages.Terminate:
    """
    The end of a flow.
    """
    return messages.Terminate(
        front=front, id=id, reason=Reason.CLOSED, client_next=5, server_next=6
    )


class Owner:
    """
    A node that writes down what it is told.

    @ivar pending: the handoffs it did not answer.
    @ivar known: the ids of flows it has.
    @ivar reports: how others said they are.
    @ivar decisions: what others heard.
    @ivar shared: what it says that it has at each other node.
    @ivar heard: what others named, and what they answered.
    """

    def __init__(self) -> None:
        self.said: list[tuple[object, ...]] = []
        self.pending: list[tuple[str, messages.Handoff, Deferred[Adopted]]] = []
        self.ended: list[tuple[str, messages.Terminate]] = []
        self.known: set[int] = set()
        self.reports: list[tuple[str, NodeReport]] = []
        self.decisions: list[tuple[str, Decision]] = []
        self.shared: list[int] = []
        self.heard: list[tuple[object, ...]] = []

    def peer_up(self, node: str, epoch: int, capabilities: Capabilities) -> None:
        self.said.append(("up", node, epoch))

    def peer_down(self, node: str) -> None:
        self.said.append(("down", node))

    def handoff(self, node: str, message: messages.Handoff) -> Deferred[Adopted]:
        answer: Deferred[Adopted] = Deferred()
        self.pending.append((node, message, answer))
        return answer

    def terminate(self, node: str, records: list[messages.Terminate]) -> int:
        self.ended += [(node, record) for record in records]
        return sum(record.id not in self.known for record in records)

    def report(self) -> NodeReport:
        return REPORT

    def reported(self, node: str, report: NodeReport) -> None:
        self.reports.append((node, report))

    def decided(self, node: str, decision: Decision) -> None:
        self.decisions.append((node, decision))

    def express(self, node: str, word: Word) -> None:
        self.heard.append(("express", node, word))

    def shared_with(self, node: str) -> list[int]:
        return self.shared

    def named(self, node: str, numbers: list[int], more: bool) -> Owned:
        self.heard.append(("named", node, numbers, more))
        return Owned([], [number for number in numbers if number not in self.known])

    def owned(self, node: str, answer: Owned) -> None:
        self.heard.append(("owned", node, answer))


class Member:
    """
    One running node.
    """

    def __init__(
        self, reactor: MemoryReactorClock, config: Config, epoch: int, owner: Owner | None = None
    ) -> None:
        self.owner = owner or Owner()
        self.counters: Counter[str] = Counter()
        self.peers = Peers(
            config,
            epoch=epoch,
            capabilities=CAPABILITIES,
            owner=self.owner,
            reactor=reactor,
            counters=self.counters,
            protection=Unprotected(),
            jitter=lambda: 0.0,
            ways=Ways(datapath="ebpf", resumes=True),
        )

    def moved(self) -> dict[str, int]:
        """
        The counters that are not 0.
        """
        return {name: count for name, count in self.counters.items() if count}


class Network:
    """
    Some nodes and what lies between them.

    @ivar deaf: nodes nobody reaches.
    @ivar cut_off: connections through which nothing will ever come again.
    @ivar owners: of nodes whose owner is not any.
    """

    def __init__(
        self,
        *names: str,
        nodes: dict[str, NodeConfig] = NODES,
        owners: Mapping[str, Owner] = MappingProxyType({}),
    ) -> None:
        self.owners = owners
        self.reactor = MemoryReactorClock()
        self.nodes = nodes
        self.members: dict[str, Member] = {}
        self.pumps: list[tuple[set[str], IOPump]] = []
        self.cut_off: list[IOPump] = []
        self.deaf: set[str] = set()
        self._tried = 0
        for number, name in enumerate(names):
            self.start(name, number + 1)
        self.settle()

    def __getitem__(self, name: str) -> Member:
        return self.members[name]

    def start(self, name: str, epoch: int) -> Member:
        """
        Start the node C{name}, in another life if it is running.
        """
        self.reactor.tcpServers[:] = [
            server for server in self.reactor.tcpServers if server[3] != self.nodes[name].control[0]
        ]
        config = Config(name, self.nodes)
        member = Member(self.reactor, config, epoch, self.owners.get(name))
        self.members[name] = member
        member.peers.startService()
        return member

    def advance(self, seconds: float, step: float = 0.01) -> None:
        """
        Let time pass while everything is delivered.
        """
        for _ in range(round(seconds / step)):
            self.reactor.advance(step)
            self.settle()

    def settle(self) -> None:
        """
        Make the connections that were asked for and deliver what was written.
        """
        moved = True
        while moved:
            moved = False
            while self._tried < len(self.reactor.tcpClients):
                self._tried += 1
                self._connect(self._tried - 1)
                moved = True
            for names, pump in list(self.pumps):
                if not names & self.deaf:
                    moved = pump.flush() or moved
                else:
                    self._report(pump)
            for pump in self.cut_off:
                self._report(pump)

    def cut(self) -> None:
        """
        Let nodes reach each other again, but by new connections only.
        """
        self.cut_off += [pump for _, pump in self.pumps]
        self.pumps.clear()
        self.deaf.clear()

    def _report(self, pump: IOPump) -> None:
        """
        Tell each side, if it ended the connection itself, that it is gone.
        """
        for transport in (pump.clientIO, pump.serverIO):
            if transport.disconnecting and not transport.disconnected:
                transport.disconnected = True
                transport.reportDisconnect()

    def _connect(self, index: int) -> None:
        host, port, factory, _, bind = self.reactor.tcpClients[index]
        connector = self.reactor.connectors[index]
        assert bind is not None
        source, target = self._name(bind[0]), self._name(host)
        server = next((s for s in self.reactor.tcpServers if s[3] == host and s[0] == port), None)
        if {source, target} & self.deaf or server is None:
            factory.clientConnectionFailed(connector, Failure(ConnectionRefusedError()))
            return
        kind = IPv6Address if ":" in host else IPv4Address
        here, there = kind("TCP", bind[0], 50000 + index), kind("TCP", host, port)
        accepted = server[1].buildProtocol(here)
        assert accepted is not None
        dialing = factory.buildProtocol(there)
        pump = connect(
            accepted,
            FakeTransport(accepted, True, there, here),
            dialing,
            FakeTransport(dialing, False, here, there),
            clock=self.reactor,
            greet=False,
        )
        self.pumps.append(({source, target}, pump))

    def _name(self, host: str) -> str:
        return next(n for n, node in self.nodes.items() if pack_address(host) in node.addresses)


class LinkTests(SynchronousTestCase):
    """
    Links come and go.
    """

    def test_all_to_all(self) -> None:
        """
        Each pair has one link, dialed by the one whose name sorts lower, from
        its own address.
        """
        network = Network("a", "b", "c")
        for name, others in (("a", "bc"), ("b", "ac"), ("c", "ab")):
            ups = [("up", other, "abc".index(other) + 1) for other in others]
            self.assertEqual(sorted(network[name].owner.said), ups)
        dialed = [(host, bind) for host, _, _, _, bind in network.reactor.tcpClients]
        self.assertEqual(
            sorted(dialed),
            [
                ("192.0.2.12", ("192.0.2.11", 0)),
                ("192.0.2.13", ("192.0.2.11", 0)),
                ("192.0.2.13", ("192.0.2.12", 0)),
            ],
        )

    def test_ipv6(self) -> None:
        nodes = {
            name: evolve(node, control=(f"2001:db8:2::{last}", 7311))
            for (name, node), last in zip(NODES.items(), (11, 12, 13), strict=True)
        }
        network = Network("a", "b", nodes=nodes)
        self.assertEqual(network["a"].owner.said, [("up", "b", 2)])
        self.assertEqual(network.reactor.tcpClients[0][4], ("2001:db8:2::11", 0))

    def test_states(self) -> None:
        network = Network("a", "b")
        network.advance(2)
        ways = {"datapath": "ebpf", "adoption": "", "resumes": True, "express": False}
        self.assertEqual(
            network["a"].peers.states(),
            {
                "b": {
                    "state": "up",
                    "version": 2,
                    "epoch": 2,
                    "address": "192.0.2.12",
                    "rtt": 0.0,
                    "queued": 0,
                    **ways,
                },
                "c": {
                    "state": "down",
                    "version": None,
                    "epoch": None,
                    "address": None,
                    "rtt": None,
                    "queued": 0,
                    "datapath": "",
                    "adoption": "",
                    "resumes": False,
                    "express": False,
                },
            },
        )

    def test_returning(self) -> None:
        """
        A peer whose host said that the link is over may be back soon; of one that fell
        silent nobody can tell.
        """
        network = Network("a", "b")
        for _, pump in network.pumps:
            pump.server.transport.loseConnection()
        network.advance(0.5)
        self.assertEqual(network["a"].owner.said[1:], [("down", "b"), ("up", "b", 2)])
        self.assertTrue(network["a"].peers.returning("b"))
        network.deaf.add("b")
        network.advance(5)
        self.assertEqual(network["a"].owner.said[3:], [("down", "b")])
        self.assertFalse(network["a"].peers.returning("b"))

    def test_silent_peer(self) -> None:
        """
        A peer that answers no heartbeat is lost, and found again.
        """
        network = Network("a", "b")
        network.deaf.add("b")
        network.advance(5)
        self.assertEqual(network["a"].owner.said[1:], [("down", "b")])
        self.assertEqual(network["b"].owner.said[1:], [("down", "a")])
        self.assertEqual(network["a"].counters["control.heartbeat-lost"], 1)
        network.cut()
        network.advance(6)
        self.assertEqual(network["a"].owner.said[2:], [("up", "b", 2)])

    def test_heartbeat_time(self) -> None:
        """
        Three heartbeats, not more and not less.
        """
        network = Network("a", "b")
        network.advance(1.5)
        network.deaf.add("b")
        network.advance(3.4)
        self.assertEqual(len(network["a"].owner.said), 1)
        network.advance(0.2)
        self.assertEqual(len(network["a"].owner.said), 2)

    def test_restarted_peer(self) -> None:
        """
        A node in its next life takes the place of the one before, which nobody
        saw end.
        """
        network = Network("a", "b")
        network.deaf.add("a")
        network.advance(0.1)
        network.cut()
        network.start("a", 77)
        network.advance(0.1)
        self.assertEqual(network["b"].owner.said, [("up", "a", 1), ("down", "a"), ("up", "a", 77)])
        self.assertEqual(network["b"].counters["control.replaced"], 1)

    def test_second_link(self) -> None:
        """
        The same node in the same life gets no second link, as long as the first
        one lives.
        """
        network = Network("a", "b")
        network.start("a", 1)
        network.advance(2)
        self.assertEqual(network["b"].owner.said, [("up", "a", 1)])
        self.assertGreaterEqual(network["b"].counters["control.refused-hello"], 3)
        self.assertEqual(network["a"].owner.said, [])

    def test_second_link_after_a_dead_one(self) -> None:
        """
        A claim that the first link is dead is looked into at once.
        """
        network = Network("a", "b")
        network.advance(0.2)
        network.cut()
        network.start("a", 1)
        network.advance(2)
        self.assertEqual(network["b"].owner.said, [("up", "a", 1), ("down", "a"), ("up", "a", 1)])

    def test_stop(self) -> None:
        """
        A node that stops says what is left to say, and is not told about links.
        """
        network = Network("a", "b")
        network["a"].peers.terminate("b", termination())
        stopped = network["a"].peers.stopService()
        network.advance(1.5)
        self.successResultOf(stopped)
        self.assertEqual(network["b"].owner.ended, [("a", termination())])
        self.assertEqual(network["a"].owner.said, [("up", "b", 2)])
        self.assertEqual(network["b"].owner.said, [("up", "a", 1), ("down", "a")])

    def test_retries(self) -> None:
        """
        A node that is not there is dialed less and less often, at least every
        five seconds.
        """
        network = Network("a")
        network.reactor.advance(0)
        times = []
        for _ in range(6000):
            before = len(network.reactor.tcpClients)
            network.advance(0.01)
            if len(network.reactor.tcpClients) > before:
                times.append(network.reactor.seconds())
        gaps = [round(b - a, 1) for a, b in zip(times, times[1:], strict=False)]
        self.assertEqual(gaps[:7], [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0])


class PatienceTests(SynchronousTestCase):
    """
    Tests for L{Backoff} and L{choose_source}.
    """

    def test_jitter(self) -> None:
        backoff = Backoff(lambda: 1.0)
        self.assertEqual([backoff(1) for _ in range(3)], [0.05, 0.1, 0.2])
        backoff.reset()
        self.assertEqual(backoff(1), 0.05)

    def test_hope(self) -> None:
        """
        For a while, of one who may be back at any moment.
        """
        backoff = Backoff(lambda: 0.0)
        backoff.expect_soon()
        waits = [backoff(1) for _ in range(EXPECTED_ATTEMPTS + 1)]
        self.assertEqual(waits[:4], [0.1, 0.2, 0.4, EXPECTED_RETRY])
        self.assertEqual(waits[-2:], [EXPECTED_RETRY, LAST_RETRY])

    def test_source(self) -> None:
        own = (inet_pton(AF_INET, "192.0.2.1"), inet_pton(AF_INET6, "2001:db8::1"))
        self.assertEqual(choose_source("192.0.2.2", own), "192.0.2.1")
        self.assertEqual(choose_source("2001:db8::2", own), "2001:db8::1")
        self.assertIsNone(choose_source("2001:db8::2", own[:1]))


class HandoffTests(SynchronousTestCase):
    """
    Handoffs between two nodes.
    """

    def setUp(self) -> None:
        self.network = Network("a", "b")
        self.a, self.b = self.network["a"], self.network["b"]

    def test_adopted(self) -> None:
        for one, other, name, other_name in (
            (self.a, self.b, "a", "b"),
            (self.b, self.a, "b", "a"),
        ):
            answer = one.peers.hand_off(other_name, HANDOFF)
            self.network.settle()
            [(node, message, pending)] = other.owner.pending
            self.assertEqual((node, message), (name, HANDOFF))
            self.assertNoResult(answer)
            pending.callback(adopted(message))
            self.network.settle()
            self.assertEqual(self.successResultOf(answer), adopted(HANDOFF))

    def test_refused(self) -> None:
        answer = self.a.peers.hand_off("b", HANDOFF)
        self.network.settle()
        self.b.owner.pending[0][2].errback(HandoffRefused(Reason.TUPLE_IN_USE))
        self.network.settle()
        self.assertEqual(
            self.successResultOf(answer), Refused(id=HANDOFF.id, reason=Reason.TUPLE_IN_USE)
        )
        self.assertEqual((self.a.moved(), self.b.moved()), ({}, {}))

    def test_failed(self) -> None:
        """
        A defect of the back-end costs this one flow, not the link.
        """
        answer = self.a.peers.hand_off("b", HANDOFF)
        self.network.settle()
        self.b.owner.pending[0][2].errback(ZeroDivisionError())
        self.network.settle()
        self.assertEqual(
            self.successResultOf(answer), Refused(id=HANDOFF.id, reason=Reason.UNREACHABLE)
        )
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.b.moved(), {"control.failed": 1})
        self.assertEqual(self.b.owner.said, [("up", "a", 1)])

    def test_raised(self) -> None:
        """
        As well if it is not even a Deferred.
        """
        self.patch(self.b.owner, "handoff", lambda node, message: 1 / 0)
        answer = self.a.peers.hand_off("b", HANDOFF)
        self.network.settle()
        refused = Refused(id=HANDOFF.id, reason=Reason.UNREACHABLE)
        self.assertEqual(self.successResultOf(answer), refused)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_link_lost(self) -> None:
        """
        All handoffs in flight are refused before the peer is said to be down;
        asking again meanwhile does no harm.
        """
        again: list[object] = []

        def refused(answer: object) -> None:
            self.a.owner.said.append(("refused", answer))
            self.a.peers.hand_off("b", HANDOFF).addCallback(again.append)

        for id in (1, 2):
            self.a.peers.hand_off("b", evolve(HANDOFF, id=id)).addCallback(refused)
        self.network.settle()
        self.network.deaf.add("b")
        self.network.advance(5)
        lost = [Refused(id=id, reason=Reason.LINK_LOST) for id in (1, 2)]
        self.assertEqual(
            self.a.owner.said[1:], [("refused", lost[0]), ("refused", lost[1]), ("down", "b")]
        )
        self.assertEqual(again, [Refused(id=HANDOFF.id, reason=Reason.LINK_LOST)] * 2)
        self.b.owner.pending[0][2].callback(adopted(HANDOFF))
        self.assertEqual(self.b.owner.said[1:], [("down", "a")])

    def test_down(self) -> None:
        for node in ("c", "a", "nobody"):
            answer = self.a.peers.hand_off(node, HANDOFF)
            self.assertEqual(
                self.successResultOf(answer), Refused(id=HANDOFF.id, reason=Reason.LINK_LOST)
            )

    def test_other_flow(self) -> None:
        """
        An answer that names another flow ends the link.
        """
        answer = self.a.peers.hand_off("b", HANDOFF)
        self.network.settle()
        self.b.owner.pending[0][2].callback(adopted(evolve(HANDOFF, id=5)))
        self.network.settle()
        self.assertIsInstance(self.successResultOf(answer), Refused)
        self.assertEqual(self.a.counters["control.malformed"], 1)
        self.assertIn(("down", "b"), self.a.owner.said)

    def test_never_answered(self) -> None:
        """
        A peer cannot make us remember questions without end.
        """
        self.patch(window, "FIRST", 10)
        self.patch(window, "LEAST", 10)
        self.network.cut()
        self.network.advance(6)
        self.a.moved()
        answers = [self.a.peers.hand_off("b", HANDOFF) for _ in range(10)]
        self.network.settle()
        self.assertEqual(len(self.b.owner.pending), 10)
        refused = self.successResultOf(self.a.peers.hand_off("b", HANDOFF))
        self.assertEqual(refused, Refused(id=HANDOFF.id, reason=Reason.OVERLOAD))
        self.assertEqual(self.a.moved()["control.window-full"], 1)
        self.network.advance(link.MUTE_TIME + 1)
        self.assertIsInstance(self.successResultOf(self.a.peers.hand_off("b", HANDOFF)), Refused)
        for answer in answers:
            self.assertIsInstance(self.successResultOf(answer), Refused)
        self.assertEqual(self.a.moved()["control.unanswered"], 1)

    def test_withdrawn(self) -> None:
        """
        A handoff that its front-end has given up before it is read is not worked off.
        """
        self.network.deaf.add("b")
        answers = [self.a.peers.hand_off("b", evolve(HANDOFF, id=number)) for number in (1, 2)]
        given_up = evolve(termination(1, "a"), reason=Reason.ABANDONED)
        self.a.peers.terminate("b", given_up)
        self.network.settle()
        self.network.deaf.remove("b")
        self.network.settle()
        self.assertEqual([message.id for _, message, _ in self.b.owner.pending], [2])
        self.assertEqual(self.b.counters["control.withdrawn"], 1)
        refused = Refused(id=1, reason=Reason.ABANDONED)
        self.assertEqual(self.successResultOf(answers[0]), refused)
        self.assertNoResult(answers[1])

    def test_busy(self) -> None:
        """
        A peer that is late with the answers to Pings, but says something, is not lost.
        """
        self.network["b"].owner.said.clear()
        beats = link.MISSED_HEARTBEATS * 3
        here = self.a.peers._peers["b"].link
        assert here is not None
        for _ in range(beats):
            here.boxes_received([AmpBox({b"_ask": b"x", b"_command": b"Unknown"})])
            self.network.deaf.add("a")  # no answer to a Ping arrives
            self.network.advance(1)
        self.assertIs(self.a.peers._peers["b"].link, here)


class TerminateTests(SynchronousTestCase):
    """
    Terminations are batched and survive the link.
    """

    def setUp(self) -> None:
        self.network = Network("a", "b")
        self.a, self.b = self.network["a"], self.network["b"]
        self.b.owner.known.update(range(1000))

    def ended(self) -> list[int]:
        """
        The ids of the flows that C{b} was told about.
        """
        return [record.id for _, record in self.b.owner.ended]

    def test_wait_for_others(self) -> None:
        self.a.peers.terminate("b", termination(1))
        self.network.advance(0.01)
        self.a.peers.terminate("b", termination(2, "b"))
        self.assertEqual(self.ended(), [])
        self.network.advance(0.01)
        self.assertEqual(self.b.owner.ended, [("a", termination(1)), ("a", termination(2, "b"))])
        self.assertEqual(self.a.peers.states()["b"]["queued"], 0)

    def test_many_do_not_wait(self) -> None:
        for id in range(256):
            self.a.peers.terminate("b", termination(id))
        self.network.settle()
        self.assertEqual(self.ended(), list(range(256)))
        self.assertEqual(self.b.moved(), {})

    def test_unknown(self) -> None:
        for id in (1, 1001, 1002):
            self.a.peers.terminate("b", termination(id))
        self.network.advance(0.02)
        self.assertEqual(self.a.moved(), {"control.terminate-unknown": 2})

    def test_after_an_outage(self) -> None:
        """
        What was not acknowledged is said again, in order, if it still matters.
        """
        self.network.deaf.add("b")
        for id in range(300):
            self.a.peers.terminate("b", termination(id))
        self.network.advance(5)
        self.a.peers.terminate("b", termination(300))
        self.assertEqual(self.a.peers.states()["b"]["queued"], 301)
        self.network.cut()
        self.network.advance(6)
        self.assertEqual(self.ended(), list(range(301)))
        self.assertEqual(self.a.peers.states()["b"]["queued"], 0)

    def test_after_a_restart(self) -> None:
        """
        A peer in its next life knows none of these flows.
        """
        self.network.deaf.add("b")
        self.a.peers.terminate("b", termination())
        self.network.advance(5)
        self.network.cut()
        restarted = self.network.start("b", 9)
        self.network.advance(6)
        self.assertEqual(restarted.owner.ended, [])
        self.assertEqual(self.a.counters["control.terminate-dropped"], 1)

    def test_never_seen(self) -> None:
        for node in ("c", "nobody"):
            self.a.peers.terminate(node, termination())
        self.assertEqual(self.a.moved(), {"control.terminate-dropped": 2})

    def test_overflow(self) -> None:
        self.patch(terminations, "MAX_KEPT", 300)
        self.network.deaf.add("b")
        for id in range(305):
            self.a.peers.terminate("b", termination(id))
        self.assertEqual(self.a.counters["control.terminate-overflow"], 5)
        self.assertEqual(MAX_KEPT, 65536)

    def test_answered_with_an_error(self) -> None:
        """
        Saying it again would be answered with an error again.
        """
        self.patch(self.b.owner, "terminate", lambda node, records: 1 / 0)
        self.a.peers.terminate("b", termination())
        self.network.advance(0.02)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.a.moved(), {"control.terminate-error": 1})
        self.assertEqual(self.a.peers.states()["b"]["queued"], 0)


class PeerEndpointTests(SynchronousTestCase):
    def test_text(self) -> None:
        """
        Retries are logged with the peer's name and address.
        """
        for host, shown in (("192.0.2.12", "192.0.2.12"), ("2001:db8::1", "[2001:db8::1]")):
            self.assertEqual(repr(PeerEndpoint("b", host, 7311, None)), f"node b at {shown}:7311")
            self.assertEqual(f"{PeerEndpoint('b', host, 7311, None)}", f"node b at {shown}:7311")
