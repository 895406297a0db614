# SPDX-License-Identifier: MIT
"""
What L{btcp.node.service} does with what is known of the nodes.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from attrs import evolve
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from btcp.cluster.state import Admin, Decision, DecisionSubject, Health, NodeReport
from btcp.config import loads
from btcp.content.contract import RequestKey
from btcp.handoff.actions import Blame, Send, Witness
from btcp.handoff.messages import PROBER, Reason, Terminate
from btcp.lab.topology import node_yaml
from btcp.node.service import Node
from tests.scratch import short_directory
from tests.simulation.cluster import CAPABILITIES
from tests.simulation.memory_datapath import MemoryDatapath

HEALTH = {"kind": "handoff", "client": "192.0.2.1", "fall": 2}
LISTENERS = {"web": {"port": 80, "origin": 8080, "health": HEALTH}}
WELL = NodeReport(fronts=0, backs=0, rate=0, cpu=None, health=Health.UP, why="", state=Admin.READY)


class NodeTests(SynchronousTestCase):
    """
    A node that is not started, and hears of others.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.state = short_directory(self)
        self.node = self.make()
        for peer in "bc":
            self.node.peer_handler.peer_up(peer, 1, CAPABILITIES)

    def configuration(self, nodes: str = "abc", **overrides: object) -> Any:
        text = node_yaml("a", self.state, nodes, {"listeners": LISTENERS, **overrides})
        return loads(text, "node.yaml")

    def make(self) -> Node:
        datapath = MemoryDatapath(self.clock.seconds, lambda packet: None, lambda packet: None)
        reactor, secret = MemoryReactorClock(), b"sixteen octets!!"
        return Node(
            reactor, self.clock.seconds, self.configuration(), datapath, CAPABILITIES, 1, secret
        )

    def placed(self, node: Node | None = None) -> set[str]:
        place = (node or self.node).core.context.settings.place
        return set(place(RequestKey("GET", "h.example", "/shared/")) or ())

    def test_all_are_well(self) -> None:
        self.assertEqual(self.placed(), {"a", "b", "c"})

    def test_link_is_lost(self) -> None:
        self.node.peer_handler.peer_down("b")
        self.assertEqual(self.placed(), {"a", "c"})
        self.node.peer_handler.peer_up("b", 1, CAPABILITIES)
        self.assertEqual(self.placed(), {"a", "b", "c"})

    def test_decided_elsewhere(self) -> None:
        for node in "ab":
            decision = Decision(
                node=node, subject=DecisionSubject.STATE, value="drain", counter=1, by="c"
            )
            self.node.peer_handler.decided("c", decision)
        self.assertEqual(self.placed(), {"c"})
        self.assertTrue(self.node.core.context.settings.draining())

    def test_said_here(self) -> None:
        """
        And known after the next start.
        """
        self.node.membership.set_state("b", Admin.MAINT)
        self.assertFalse(self.node.core.context.settings.draining())
        self.assertEqual(self.placed(), {"a", "c"})
        again = self.make()
        for peer in "bc":
            again.peer_handler.peer_up(peer, 1, CAPABILITIES)
        self.assertEqual(self.placed(again), {"a", "c"})

    def test_reports(self) -> None:
        self.node.peer_handler.reported("b", evolve(WELL, backs=70, health=Health.DOWN))
        self.assertEqual(self.placed(), {"a", "c"})
        self.assertEqual(self.node._placement.loads["b"], 70)

    def test_refusals(self) -> None:
        for _ in range(2):
            self.node.perform([Blame("b", "web", Reason.NO_LISTENER)])
        self.assertEqual(self.placed(), {"a", "c"})

    def test_checks(self) -> None:
        """
        What the core sees of them goes to whoever asked.
        """
        seen: list[object] = []
        probe = self.node._probe
        self.patch(probe, "reply", lambda *what: seen.append(what))
        self.patch(probe, "ended", lambda *what: seen.append(what))
        over = Terminate(front=PROBER, id=5, reason=Reason.IDLE, client_next=0, server_next=0)
        self.node.perform([Witness(4, b"HTTP"), Send(PROBER, over)])
        self.assertEqual(seen, [(4, b"HTTP"), (5, Reason.IDLE)])

    def test_checked(self) -> None:
        self.node._checked(Health.DOWN, "503")
        self.assertEqual(self.placed(), {"b", "c"})
        report = self.node.peer_handler.report()
        self.assertEqual((report.health, report.why), (Health.DOWN, "503"))

    def test_shown(self) -> None:
        shown: Any = self.node.show("nodes")
        rows = {row["node"]: row for row in shown["nodes"]}
        self.assertEqual(list(rows), ["a", "b", "c"])
        self.assertEqual([row["link"] for row in rows.values()], ["self", "up", "up"])

    def test_further_node(self) -> None:
        """
        Of another configuration, with its weight; and slow start begins to hold.
        """
        new = self.configuration("abcd", **{"slow-start": 9})
        new = evolve(new, nodes={**new.nodes, "d": evolve(new.nodes["d"], weight=40)})
        self.node.source = lambda: new
        self.assertEqual(self.node.reload(), ["nodes.d", "partition", "slow-start"])
        self.node.peer_handler.peer_up("d", 1, CAPABILITIES)
        self.assertEqual(self.placed(), {"a", "b", "c", "d"})
        self.assertEqual(self.node._placement.snapshot.live["d"], 40)
        self.node.membership.set_state("d", Admin.DRAIN)
        self.node.membership.set_state("d", Admin.READY)
        self.assertEqual(self.node._placement.snapshot.live["d"], 2)

    def test_spread(self) -> None:
        """
        A decision is passed on; one about ourselves makes us say how we are, too.
        """
        said: list[object] = []
        self.patch(self.node.peers, "decide", lambda decision, to: said.append(decision.node))
        self.patch(self.node.peers, "tell_load", partial(said.append, "load"))
        self.node.membership.set_weight("b", 5)
        self.node.membership.set_state("a", Admin.DRAIN)
        self.assertEqual(said, ["b", "a", "load"])
