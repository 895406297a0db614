# SPDX-License-Identifier: MIT
"""
Nodes of both versions of the control protocol in one cluster.
"""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.test.iosim import FakeTransport, IOPump, connect
from twisted.trial.unittest import SynchronousTestCase

from btcp.cluster.state import Admin, Decision, DecisionSubject
from btcp.control.commands import HandoffRefused
from btcp.control.link import ControlProtocol
from btcp.handoff.messages import Adopted, Reason, Refused
from tests.unit.test_control_commands import HANDOFF
from tests.unit.test_control_peers import Network, adopted, four, termination
from tests.unit.version_1 import CODES, Version1

DRAIN = Decision(node="a", subject=DecisionSubject.STATE, value="drain", counter=1, by="b")


class VersionsTestCase(SynchronousTestCase):
    """
    C{b} speaks the newest version, and has a neighbour of version 1.
    """

    def setUp(self) -> None:
        self.network = Network("b")
        self.b = self.network["b"]
        self.pumps: list[IOPump] = []

    def neighbour(self, name: str) -> Version1:
        """
        C{a} dials C{b}, which dials C{c}.
        """
        old = Version1(name, dials=name < "b")
        here = IPv4Address("TCP", "192.0.2.12", 7311)
        there = IPv4Address("TCP", {"a": "192.0.2.11", "c": "192.0.2.13"}[name], 7311)
        new: Any = ControlProtocol(self.b.peers, "c")
        if old.dials:
            new = self.network.reactor.tcpServers[0][1].buildProtocol(there)
        near, far = FakeTransport(new, True, here, there), FakeTransport(old, False, there, here)
        self.pumps.append(connect(new, near, old, far, greet=False))
        self.settle()
        return old

    def settle(self) -> None:
        while any([pump.pump() for pump in self.pumps]):
            pass

    def advance(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.1)):
            self.network.reactor.advance(0.1)
            self.settle()

    def fired(self, deferred: Deferred[Any]) -> Any:
        self.settle()
        return self.successResultOf(deferred)


class OldNeighbourTests(VersionsTestCase):
    """
    Whoever dials, a link comes to be, and everything of version 1 works on it.
    """

    def test_link(self) -> None:
        for name in "ac":
            old = self.neighbour(name)
            self.assertTrue(old.up)
            self.assertEqual(self.b.owner.said.pop(), ("up", name, 7))
            state = self.b.peers.states()[name]
            self.assertEqual((state["state"], state["version"]), ("up", 1))
            self.advance(5)
            self.assertTrue(old.up)

    def test_handoff_to_it(self) -> None:
        for name in "ac":
            old = self.neighbour(name)
            answer = self.fired(self.b.peers.hand_off(name, HANDOFF))
            self.assertIsInstance(answer, Adopted)
            self.assertEqual(old.adopted, [HANDOFF.id])
            for reason in Reason:
                if reason is not Reason.DRAINING:  # never the end of a flow
                    self.b.peers.terminate(name, evolve(termination(1, "b"), reason=reason))
            self.advance(1)
            self.assertEqual({code for _, code in old.ended}, CODES)

    def test_handoff_from_it(self) -> None:
        for name in "ac":
            old = self.neighbour(name)
            asked = old.hand_off(5, b"GET /")
            self.settle()
            node, message, answer = self.b.owner.pending.pop()
            self.assertEqual((node, message.id, message.request), (name, 5, b"GET /"))
            answer.callback(evolve(adopted(message), address=four(12)))
            self.assertEqual(self.fired(asked), 1000)
            self.fired(old.end(5, 17))
            self.assertEqual(self.b.owner.ended.pop()[1].reason, Reason.RESET_BY_CLIENT)

    def test_refusals(self) -> None:
        """
        It is told no reason that it does not know, draining included.
        """
        for name in "ac":
            old = self.neighbour(name)
            for reason in list(Reason)[:9]:
                asked = old.hand_off(6, b"")
                self.settle()
                self.b.owner.pending.pop()[2].errback(HandoffRefused(reason))
                self.settle()
                said = self.fired(asked)
                self.assertEqual(said, "stopping" if reason is Reason.DRAINING else reason.value)

    def test_nothing_new(self) -> None:
        """
        It is told nothing that it does not know.
        """
        for name in "ac":
            old = self.neighbour(name)
            self.b.peers.decide(DRAIN)
            self.b.peers.tell_load()
            self.advance(5)
            self.assertEqual(old.strange, [])
            self.assertIn(b"Ping", old.said)
            self.assertEqual(self.b.moved(), {})


class NewNeighbourTests(SynchronousTestCase):
    """
    Both speak version 2.
    """

    def setUp(self) -> None:
        self.network = Network("a", "b")
        self.a, self.b = self.network["a"], self.network["b"]

    def test_version(self) -> None:
        self.assertEqual(self.a.peers.states()["b"]["version"], 2)

    def test_reports(self) -> None:
        """
        With every heartbeat, from the first on, and when there is news.
        """
        self.assertEqual([node for node, _ in self.a.owner.reports], ["b"])
        self.network.advance(3.05)
        self.assertEqual(len(self.a.owner.reports), 4)
        self.b.peers.tell_load()
        self.network.settle()
        self.assertEqual(len(self.a.owner.reports), 5)

    def test_decisions(self) -> None:
        self.a.peers.decide(DRAIN)
        self.b.peers.decide(DRAIN, "a")
        self.b.peers.decide(DRAIN, "c")
        self.network.settle()
        self.assertEqual(self.b.owner.decisions, [("a", DRAIN)])
        self.assertEqual(self.a.owner.decisions, [("b", DRAIN)])
        self.assertEqual(Admin(DRAIN.value), Admin.DRAIN)

    def test_draining(self) -> None:
        asked = self.a.peers.hand_off("b", HANDOFF)
        self.network.settle()
        self.b.owner.pending.pop()[2].errback(HandoffRefused(Reason.DRAINING))
        self.network.settle()
        self.assertEqual(
            self.successResultOf(asked), Refused(id=HANDOFF.id, reason=Reason.DRAINING)
        )

    def test_defect_while_listening(self) -> None:
        """
        A defect of ours does not cost the link.
        """

        def fail(*args: object) -> None:
            raise RuntimeError("a defect")

        self.patch(self.b.owner, "decided", fail)
        self.a.peers.decide(DRAIN)
        self.network.advance(1)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual(self.a.peers.states()["b"]["state"], "up")
        self.assertEqual(self.a.moved(), {"control.told-error": 1})
