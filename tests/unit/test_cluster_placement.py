# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.cluster.placement} and L{btcp.cluster.loads}.
"""

from __future__ import annotations

from attrs import define, field
from twisted.trial.unittest import SynchronousTestCase

from btcp.cluster.loads import Loads
from btcp.cluster.placement import Placement
from btcp.content.contract import RequestKey
from btcp.handoff.messages import Reason, Refused
from btcp.partition.contract import Cyclic, PartitionMap, ReplicaSet, Snapshot
from btcp.partition.rules import Rule, RuleMap
from tests.unit.front_case import FrontCase

KEY = RequestKey("GET", "", "/x")


@define
class Asked:
    """
    A policy that notes what it is asked.
    """

    snapshots: list[Snapshot] = field(factory=list)

    def rank(self, replicas: ReplicaSet, key: RequestKey, snapshot: Snapshot) -> list[str]:
        self.snapshots.append(snapshot)
        return [node for node in replicas.nodes if snapshot.live.get(node)]

    def cycle(self, replicas: ReplicaSet, snapshot: Snapshot, most: int) -> list[str]:
        self.snapshots.append(snapshot)
        return [node for node in replicas.nodes if snapshot.live.get(node)][:most]


class PlacementTests(SynchronousTestCase):
    """
    Tests for L{Placement}.
    """

    def setUp(self) -> None:
        self.policy = Asked()
        policy: Cyclic = self.policy
        rules = RuleMap((Rule(None, "/x", ("a", "b")),))
        self.placement = Placement(rules, policy, "b", {"a": 100, "b": 50, "c": 100})

    def live(self) -> dict[str, float]:
        """
        What the policy is told.
        """
        self.placement.place(KEY)
        return dict(self.policy.snapshots[-1].live)

    def test_a_node_reaches_itself(self) -> None:
        self.assertEqual(self.placement.place(KEY), ["b"])
        self.assertEqual(self.live(), {"b": 50})

    def test_nobody_holds_it(self) -> None:
        self.assertIsNone(self.placement.place(RequestKey("GET", "", "/y")))

    def test_nodes_come_and_go(self) -> None:
        self.placement.join("a")
        self.assertEqual(self.placement.place(KEY), ["a", "b"])
        self.assertEqual(self.live(), {"a": 100, "b": 50})
        self.placement.leave("a")
        self.assertEqual(self.live(), {"b": 50})
        self.placement.leave("c")
        self.assertEqual(self.live(), {"b": 50})

    def test_weights_change(self) -> None:
        self.placement.set_weight("a", 10)
        self.assertEqual(self.live(), {"b": 50})
        self.placement.join("a")
        self.placement.set_weight("b", 0)
        self.assertEqual(self.live(), {"a": 10, "b": 0})
        self.assertEqual(self.placement.place(KEY), ["a"])

    def test_a_standing_stays_until_something_changes(self) -> None:
        self.live()
        self.live()
        self.placement.join("c")
        self.live()
        one, two, three = self.policy.snapshots
        self.assertIs(one, two)
        self.assertIsNot(two, three)

    def test_says_when_it_is_another(self) -> None:
        said: list[Snapshot] = []
        self.placement.changed = lambda: said.append(self.placement.snapshot)
        self.placement.set_weight("a", 10)
        self.placement.loads.report("a", 5)
        self.assertEqual(said, [])
        self.placement.join("a")
        self.placement.set_weight("a", 20)
        self.placement.leave("a")
        live = [dict(snapshot.live) for snapshot in said]
        self.assertEqual(live, [{"a": 10, "b": 50}, {"a": 20, "b": 50}, {"b": 50}])

    def test_says_when_the_rules_are_others(self) -> None:
        said: list[PartitionMap] = []
        self.placement.changed = lambda: said.append(self.placement.partition)
        other = RuleMap(())
        self.placement.replace(other, self.policy)
        self.assertEqual(said, [other])

    def test_turns(self) -> None:
        replicas = ReplicaSet(("a", "b"), "/x")
        self.assertEqual(self.placement.cycle(replicas, 64), ["b"])
        self.placement.join("a")
        self.assertEqual(self.placement.cycle(replicas, 64), ["a", "b"])
        self.assertEqual(self.placement.cycle(replicas, 1), ["a"])
        self.assertIs(self.policy.snapshots[-1], self.placement.snapshot)

    def test_loads_are_those_of_now(self) -> None:
        self.live()
        self.placement.loads.report("a", 5)
        self.assertEqual(self.policy.snapshots[0].load["a"], 5)
        self.placement.leave("a")
        self.assertEqual(self.policy.snapshots[0].load["a"], 0)


class LoadTests(SynchronousTestCase):
    """
    Tests for L{Loads}.
    """

    def test_what_was_given_since(self) -> None:
        held = {"a": 2}
        loads = Loads(held)
        loads.report("a", 7)
        self.assertEqual(loads["a"], 7)
        held["a"] = 4
        self.assertEqual(loads["a"], 9)
        held["a"] = 0
        self.assertEqual(loads["a"], 5)
        loads.report("a", 6)
        self.assertEqual(loads["a"], 6)

    def test_a_report_that_is_late(self) -> None:
        """
        It does not know all of ours.
        """
        loads = Loads({"a": 4})
        loads.report("a", 1)
        self.assertEqual(loads["a"], 4)

    def test_nothing_reported(self) -> None:
        self.assertEqual(Loads({"a": 3})["a"], 3)
        self.assertEqual(Loads()["a"], 0)

    def test_forgotten(self) -> None:
        loads = Loads({"a": 3})
        loads.report("a", 9)
        loads.forget("a")
        loads.forget("b")
        self.assertEqual(loads["a"], 3)

    def test_names(self) -> None:
        loads = Loads({"a": 3, "b": 1})
        loads.report("b", 1)
        loads.report("c", 1)
        self.assertEqual(sorted(loads), ["a", "b", "c"])
        self.assertEqual(len(loads), 3)


class HeldTests(FrontCase):
    """
    What the core says of the connections that each node has.
    """

    def held(self) -> dict[str, int]:
        """
        Those that have some.
        """
        return {node: n for node, n in self.script.core.acceptor.flows.held.items() if n}

    def test_counted_from_the_question_to_the_end(self) -> None:
        self.establish()
        self.assertEqual(self.held(), {})
        payload = b"GET /r/ HTTP/1.1\r\nHost: h.example\r\n\r\n"
        self.length = len(payload)
        self.script.take(self.client.but(payload=payload))
        self.assertEqual(self.held(), {"b": 1})
        refusal = Refused(id=self.number(), reason=Reason.OVERLOAD)
        self.script.hear("b", refusal)
        self.assertEqual(self.held(), {"c": 1})
        self.adopted("c")
        self.assertEqual(self.held(), {"c": 1})
        self.script.do(self.script.core.peer_lost("c", self.script.now))
        self.script.wait(1000)
        self.assertEqual(self.held(), {})
