# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.cluster.membership}.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import permutations

from attrs import evolve, field, frozen
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from btcp.cluster.ejection import EjectionThreshold
from btcp.cluster.membership import INITIAL_SHARE, MAX_STEP, Membership
from btcp.cluster.meter import LoadReading
from btcp.cluster.state import Admin, Decision, DecisionSubject, Health, NodeReport
from btcp.handoff.messages import Reason

WELL = NodeReport(fronts=0, backs=0, rate=0, cpu=None, health=Health.UP, why="", state=Admin.READY)
SICK = evolve(WELL, health=Health.DOWN, why="503")


@frozen
class Weighted:
    weight: int = 100


@frozen
class Config:
    """
    As C{btcp.config.Config}.
    """

    node: str = "a"
    slow_start: float = 0.0
    nodes: dict[str, Weighted] = field(factory=lambda: {name: Weighted() for name in "abc"})


class Kept:
    """
    Decision storage in memory.
    """

    def __init__(self) -> None:
        self.decisions: list[Decision] = []

    def read(self) -> list[Decision]:
        return self.decisions

    def write(self, decisions: Iterable[Decision]) -> None:
        self.decisions = list(decisions)


class Place:
    """
    A node that sends decisions to all nodes that it has a link to.
    """

    def __init__(self, clock: Clock, config: Config, memory: Kept | None = None) -> None:
        self.memory = memory or Kept()
        self.weights: dict[str, float] = {}
        self.loads: dict[str, int] = {}
        self.load = LoadReading()
        self.links: dict[str, Place] = {}
        self.name = config.node
        self.counters: Counter[str] = Counter()
        self.membership = Membership(
            config,
            epoch=1,
            clock=clock.seconds,
            storage=self.memory,
            broadcast=self._spread,
            on_weight=self.weights.__setitem__,
            on_load=self.loads.__setitem__,
            measure=lambda: self.load,
            counters=self.counters,
            thresholds={"web": EjectionThreshold(3, 10.0)},
        )

    def _spread(self, decision: Decision, to: str | None) -> None:
        for name, place in self.links.items():
            if to in (None, name):
                place.membership.decided(self.name, decision)

    def admin(self, node: str) -> object:
        """
        What is known to be wanted of C{node}.
        """
        rows = {row["node"]: row for row in self.membership.show()}
        return rows[node]["admin"]


class MembershipTestCase(SynchronousTestCase):
    slow_start = 0.0

    def setUp(self) -> None:
        self.clock = Clock()
        self.place = self.start("a")
        self.membership = self.place.membership

    def start(self, name: str, memory: Kept | None = None) -> Place:
        return Place(self.clock, Config(name, self.slow_start), memory)

    def link(self, one: Place, other: Place) -> None:
        one.links[other.name], other.links[one.name] = other, one
        one.membership.link_up(other.name, 1)
        other.membership.link_up(one.name, 1)

    def unlink(self, one: Place, other: Place) -> None:
        del one.links[other.name], other.links[one.name]
        one.membership.link_down(other.name)
        other.membership.link_down(one.name)

    def eligible(self) -> str:
        return "".join(node for node in "abc" if self.membership.eligible(node))

    def row(self, node: str) -> dict[str, object]:
        return {row["node"]: row for row in self.membership.show()}[node]


class EligibilityTests(MembershipTestCase):
    def test_alone(self) -> None:
        self.assertEqual(self.eligible(), "a")
        self.assertEqual(self.place.weights, {"a": 100, "b": 0, "c": 0})

    def test_links(self) -> None:
        self.membership.link_up("b", 1)
        self.assertEqual(self.eligible(), "ab")
        self.assertEqual(self.place.weights["b"], 100)
        self.membership.link_down("b")
        self.assertEqual(self.eligible(), "a")
        self.assertEqual(self.place.weights["b"], 0)

    def test_admin_state(self) -> None:
        self.membership.link_up("b", 1)
        for state in (Admin.DRAIN, Admin.MAINT):
            for node in "ab":
                self.membership.set_state(node, state)
                self.assertNotIn(node, self.eligible())
                self.assertEqual(self.place.weights[node], 0)
                self.membership.set_state(node, Admin.READY)
                self.assertIn(node, self.eligible())
                self.assertEqual(self.place.weights[node], 100)

    def test_weight(self) -> None:
        self.membership.set_weight("a", 25)
        self.assertEqual((self.place.weights["a"], self.membership.weight_of("a")), (25, 25))
        self.membership.set_weight("a", 0)
        self.assertEqual(self.eligible(), "")
        self.membership.set_weight("a", 100)
        self.assertEqual(self.place.weights["a"], 100)

    def test_origin_down_is_a_warning(self) -> None:
        """
        C{show errors} keeps it, and that it is up again is information.
        """
        with capturedLogs() as logged:
            self.membership.reported("b", SICK)
            self.membership.reported("b", WELL)
        levels = [each["log_level"] for each in logged if "health" in each]
        self.assertEqual(levels, [LogLevel.warn, LogLevel.info])

    def test_health(self) -> None:
        """
        Health and what is wanted are two things.
        """
        self.membership.link_up("b", 1)
        self.membership.reported("b", SICK)
        self.assertEqual(self.eligible(), "a")
        self.membership.set_state("b", Admin.DRAIN)
        row = self.row("b")
        self.assertEqual((row["admin"], row["health"], row["why"]), ("drain", "down", "503"))
        self.membership.set_state("b", Admin.READY)
        self.assertEqual(self.eligible(), "a")
        self.membership.reported("b", WELL)
        self.assertEqual(self.eligible(), "ab")

    def test_another_life(self) -> None:
        """
        What a node said in an earlier life does not count.
        """
        self.membership.link_up("b", 1)
        self.membership.reported("b", SICK)
        self.membership.link_down("b")
        self.membership.link_up("b", 1)
        self.assertEqual(self.eligible(), "a")
        self.membership.link_up("b", 2)
        self.assertEqual((self.eligible(), self.row("b")["health"]), ("ab", "unchecked"))

    def test_wrong_words(self) -> None:
        self.assertRaises(KeyError, self.membership.set_state, "d", Admin.DRAIN)
        self.assertRaises(KeyError, self.membership.set_weight, "d", 1)
        for percent in (-1, 101, 1000):
            self.assertRaises(ValueError, self.membership.set_weight, "a", percent)
        self.assertEqual(self.place.memory.decisions, [])


class ReportTests(MembershipTestCase):
    """
    How nodes are.
    """

    def test_own(self) -> None:
        """
        As it is when somebody asks.
        """
        self.assertEqual(self.membership.report(), evolve(WELL, health=Health.UNCHECKED))
        self.membership.checked(Health.DOWN, "503")
        self.membership.set_state("a", Admin.MAINT)
        self.place.load = LoadReading(fronts=1, backs=2, rate=3.4, cpu=0.5)
        row = self.row("a")
        self.assertEqual([row[key] for key in ("fronts", "backs", "rate", "load")], [1, 2, 3, 0.5])
        report = NodeReport(
            fronts=1,
            backs=2,
            rate=3,
            cpu=0.5,
            health=Health.DOWN,
            why="503",
            state=Admin.MAINT,
        )
        self.assertEqual(self.membership.report(), report)
        self.assertEqual(self.place.loads, {"a": 2})

    def test_others(self) -> None:
        self.membership.link_up("b", 7)
        self.assertIsNone(self.membership.report_of("b"))
        report = evolve(WELL, fronts=5, backs=6, rate=7, cpu=0.25)
        self.membership.reported("b", report)
        self.clock.advance(3)
        self.assertEqual(self.membership.report_of("b"), report)
        self.assertEqual(self.place.loads["b"], 6)
        self.assertEqual(
            self.row("b"),
            {
                "node": "b",
                "admin": "ready",
                "health": "up",
                "why": "",
                "link": "up",
                "epoch": 7,
                "eligible": True,
                "drained": False,
                "weight": 100.0,
                "percent": 100,
                "load": 0.25,
                "rate": 7,
                "fronts": 5,
                "backs": 6,
                "since": 3.0,
            },
        )

    def test_links(self) -> None:
        self.assertEqual(self.row("a")["link"], "self")
        self.assertEqual((self.row("c")["link"], self.row("c")["epoch"]), ("down", None))

    def test_another_configuration(self) -> None:
        """
        There may be further nodes in it.
        """
        nodes = {name: Weighted(50) for name in "abcd"}
        self.membership.configure(Config("a", 4.0, nodes), {})
        self.assertEqual(self.place.weights, {"a": 50, "b": 0, "c": 0, "d": 0})
        self.membership.link_up("d", 1)
        self.assertEqual(self.place.weights["d"], 50)
        self.membership.set_state("d", Admin.DRAIN)
        self.membership.set_state("d", Admin.READY)
        self.assertEqual(self.place.weights["d"], 50 * INITIAL_SHARE)


class RefusalTests(MembershipTestCase):
    """
    What refused connections do.
    """

    def refuse(self, times: int, reason: Reason, listener: str = "web") -> None:
        for _ in range(times):
            self.membership.refused("a", listener, reason)
            self.clock.advance(1)

    def test_too_many(self) -> None:
        self.refuse(2, Reason.NO_LISTENER)
        self.assertEqual(self.eligible(), "a")
        self.refuse(1, Reason.RESET_BY_ORIGIN)
        self.assertEqual(self.eligible(), "")
        self.assertIn("refused", str(self.row("a")["why"]))
        self.assertEqual(self.place.counters["health.ejected"], 1)
        self.clock.advance(8.5)
        self.membership.tick()
        self.assertEqual(self.eligible(), "")
        self.clock.advance(0.5)
        self.membership.tick()
        self.assertEqual((self.eligible(), self.row("a")["why"]), ("a", ""))
        self.assertEqual(self.place.weights["a"], 100)
        self.refuse(2, Reason.NO_LISTENER)  # counted anew
        self.assertEqual(self.eligible(), "a")

    def test_well_again(self) -> None:
        """
        Checks that find the origin well after it was ill are believed at once.
        """
        self.refuse(3, Reason.NO_LISTENER)
        self.membership.checked(Health.DOWN, "503")
        self.assertEqual(self.eligible(), "")
        self.membership.checked(Health.UP, "")
        self.assertEqual(self.eligible(), "a")

    def test_seldom(self) -> None:
        for _ in range(10):
            self.refuse(1, Reason.NO_LISTENER)
            self.clock.advance(4.5)
        self.assertEqual(self.eligible(), "a")

    def test_not_the_origins_fault(self) -> None:
        self.refuse(9, Reason.TUPLE_IN_USE)
        self.refuse(9, Reason.DRAINING)
        self.assertEqual(self.eligible(), "a")

    def test_listener_without_checks(self) -> None:
        self.refuse(9, Reason.NO_LISTENER, "other")
        self.assertEqual(self.eligible(), "a")


class SlowStartTests(MembershipTestCase):
    slow_start = 10.0

    def test_cluster_starts(self) -> None:
        """
        Nobody comes back.
        """
        self.membership.link_up("b", 1)
        self.assertEqual([self.place.weights[node] for node in "ab"], [100, 100])

    def test_comes_back(self) -> None:
        self.membership.link_up("b", 1)
        for leave, come in (
            (lambda: self.membership.link_down("b"), lambda: self.membership.link_up("b", 1)),
            (
                lambda: self.membership.set_state("b", Admin.DRAIN),
                lambda: self.membership.set_state("b", Admin.READY),
            ),
            (
                lambda: self.membership.reported("b", SICK),
                lambda: self.membership.reported("b", WELL),
            ),
        ):
            leave()
            come()
            self.assertEqual(self.place.weights["b"], 100 * INITIAL_SHARE)
            seen = []
            for _ in range(12):
                self.clock.advance(1)
                self.membership.tick()
                seen.append(round(self.place.weights["b"], 6))
            self.assertEqual(seen, [10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 100, 100])
            self.assertEqual(self.place.weights["a"], 100)

    def test_ready_after_a_start(self) -> None:
        """
        A drained node whose front-end has started since.
        """
        self.membership.set_state("b", Admin.DRAIN)
        self.membership.link_up("b", 1)
        self.membership.set_state("b", Admin.READY)
        self.assertEqual(self.place.weights["b"], 100 * INITIAL_SHARE)


class SpreadTests(MembershipTestCase):
    """
    Everybody knows what is decided.
    """

    def setUp(self) -> None:
        super().setUp()
        self.others = {name: self.start(name) for name in "bc"}
        self.b, self.c = self.others.values()

    def states(self, node: str) -> list[object]:
        return [place.admin(node) for place in (self.place, self.b, self.c)]

    def test_all(self) -> None:
        self.link(self.place, self.b)
        self.link(self.place, self.c)
        self.membership.set_state("b", Admin.DRAIN)
        # b and c have no link; a passes on what b says.
        self.assertEqual(self.states("b"), ["drain"] * 3)
        self.b.membership.set_state("b", Admin.READY)
        self.assertEqual(self.states("b"), ["ready"] * 3)

    def test_state_and_weight(self) -> None:
        """
        Said at once on two nodes, both hold.
        """
        self.membership.set_state("c", Admin.MAINT)
        self.b.membership.set_weight("c", 50)
        self.link(self.place, self.b)
        for place in (self.place, self.b):
            row = place.membership.show()[2]
            self.assertEqual((row["admin"], row["percent"]), ("maint", 50))

    def test_away(self) -> None:
        self.link(self.place, self.b)
        self.membership.set_state("a", Admin.MAINT)
        self.unlink(self.place, self.b)
        self.membership.set_state("a", Admin.READY)
        self.assertEqual(self.b.admin("a"), "maint")
        self.link(self.place, self.b)
        self.assertEqual(self.b.admin("a"), "ready")

    def test_at_once(self) -> None:
        """
        Two nodes hear different things while they cannot speak.
        """
        self.membership.set_state("c", Admin.MAINT)
        self.b.membership.set_state("c", Admin.DRAIN)
        self.link(self.place, self.b)
        self.assertEqual(self.place.admin("c"), self.b.admin("c"))
        self.membership.set_state("c", Admin.READY)
        self.assertEqual(self.b.admin("c"), "ready")

    def test_any_order(self) -> None:
        """
        Decisions end alike in whatever order they arrive, and however often.
        """
        decisions = [
            Decision(node="c", subject=DecisionSubject.STATE, value=value, counter=counter, by=by)
            for value, counter, by in (
                ("drain", 1, "a"),
                ("maint", 1, "b"),
                ("ready", 2, "a"),
                ("drain", 2, "a"),
            )
        ]
        ends = set()
        for order in permutations(decisions):
            place = self.start("a")
            for decision in (*order, *order):
                place.membership.decided("b", decision)
            ends.add(place.admin("c"))
        self.assertEqual(len(ends), 1)

    def test_restart(self) -> None:
        self.membership.set_state("a", Admin.DRAIN)
        self.membership.set_weight("b", 7)
        again = self.start("a", self.place.memory)
        self.assertEqual(again.admin("a"), "drain")
        self.assertEqual(again.membership.state, Admin.DRAIN)
        again.membership.set_state("a", Admin.READY)
        self.link(again, self.b)
        self.assertEqual(self.b.admin("a"), "ready")
        self.assertEqual(self.b.membership.show()[1]["percent"], 7)

    def test_peer_cannot_have_the_last_word(self) -> None:
        """
        A decision with a counter that nobody can exceed is ignored, and counted; with the largest
        that is believed, the operator still decides.
        """
        for counter in (2**64 - 1, MAX_STEP + 1, MAX_STEP):
            decision = Decision(
                node="a", subject=DecisionSubject.STATE, value="maint", counter=counter, by="b"
            )
            self.membership.decided("b", decision)
        self.assertEqual(self.place.counters["membership.incredible-decision"], 2)
        self.assertEqual(self.place.admin("a"), "maint")
        self.membership.set_state("a", Admin.READY)
        self.assertEqual(self.place.admin("a"), "ready")

    def test_unknown_node(self) -> None:
        """
        Of a node that is not configured here.
        """
        decision = Decision(
            node="d", subject=DecisionSubject.STATE, value="drain", counter=1, by="b"
        )
        self.membership.decided("b", decision)
        self.assertEqual(self.place.memory.decisions, [])
        self.assertEqual(self.place.counters["membership.unknown-node"], 1)


class DrainedTests(MembershipTestCase):
    """
    The condition under which a node may be taken away.
    """

    def test_drained(self) -> None:
        self.membership.link_up("b", 1)
        self.membership.reported("b", WELL)
        self.assertFalse(self.membership.drained("b"))
        self.membership.set_state("b", Admin.DRAIN)
        # It had nothing, but may have got something since: it does not know yet.
        self.assertFalse(self.membership.drained("b"))
        knows = evolve(WELL, state=Admin.DRAIN)
        self.membership.reported("b", evolve(knows, backs=1))
        self.assertFalse(self.membership.drained("b"))
        self.membership.reported("b", knows)
        self.assertTrue(self.membership.drained("b"))
        self.membership.set_state("b", Admin.READY)
        self.assertFalse(self.membership.drained("b"))

    def test_never_seen(self) -> None:
        self.membership.set_state("b", Admin.DRAIN)
        self.assertFalse(self.membership.drained("b"))
        self.assertRaises(KeyError, self.membership.drained, "d")
