# SPDX-License-Identifier: MIT
"""
Tests for C{tests/fleet}: what is added up is what single decisions would be.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from twisted.trial.unittest import SynchronousTestCase

from btcp.content.contract import RequestKey
from btcp.partition.consistent import Consistent
from btcp.partition.contract import ReplicaSet, Snapshot
from btcp.partition.leastloaded import LeastLoaded
from btcp.partition.roundrobin import RoundRobin
from tests.fleet import balance, links, needs, page, tables
from tests.fleet.busy import Busy, Emptiest, Traffic
from tests.fleet.content import Catalogue, check, key_of, names, numbers, placed
from tests.fleet.recovery import Fleet
from tests.fleet.report import report
from tests.fleet.scale import QUICK
from tests.fleet.secured import secured
from tests.fleet.sizing import Link, channel, measured, most, needed

ROOT = Path(__file__).parents[2]

WEIGHTS = (np.full(7, 100.0), balance.mixed(7))
CATALOGUE = Catalogue(50, 0.9)


def snapshot_of(weights: NDArray[np.float64]) -> Snapshot:
    """
    These nodes live.
    """
    return Snapshot(dict(zip(names(len(weights)), weights.tolist(), strict=True)))


class BalanceTests(SynchronousTestCase):
    """
    Tests for L{tests.fleet.balance}: as one decision after the other.
    """

    def test_round_robin(self) -> None:
        requests, fronts = 1000, 3
        replicas, key = ReplicaSet(names(7), "/"), RequestKey("GET", "", "/")
        for weights in WEIGHTS:
            single: Counter[str] = Counter()
            each = np.random.default_rng(balance.SEED).multinomial(requests, [1 / 3] * 3)
            for front, count in zip(names(3), each.tolist(), strict=True):
                policy, snapshot = RoundRobin(front), snapshot_of(weights)
                single.update(policy.rank(replicas, key, snapshot)[0] for _ in range(count))
            found = balance.round_robin(fronts, requests, weights)
            self.assertEqual(found.tolist(), [single[node] for node in names(7)])

    def test_consistent(self) -> None:
        requests = 2000
        replicas = ReplicaSet(names(7), "/")
        for weights in WEIGHTS:
            asked = CATALOGUE.asked(requests, np.random.default_rng(balance.SEED))
            before: Counter[str] = Counter()
            orders: dict[int, list[str]] = {}
            for content, count in enumerate(asked.tolist()):
                orders[content] = Consistent().rank(replicas, key_of(content), snapshot_of(weights))
                before[orders[content][0]] += count
            spread = balance.Spread.of(CATALOGUE.contents, weights)
            found, death = spread.requests(asked), spread.death(asked)
            self.assertEqual(found.tolist(), [before[node] for node in names(7)])
            dead, had = before.most_common(1)[0]
            self.assertEqual(death.own, had / requests)
            self.assertEqual(death.moved, death.own)
            heirs = {order[1] for order in orders.values() if order[0] == dead}
            self.assertEqual(death.spread, len(heirs))

    def test_check_can_fail(self) -> None:
        weights = np.full(7, 100.0)
        first, second = placed(numbers(CATALOGUE.contents), names(7), weights)
        everything = np.arange(CATALOGUE.contents)
        check(everything, (first, second), names(7), weights)
        first[3] = second[3]
        with self.assertRaisesRegex(ValueError, "content 3 is placed otherwise"):
            check(everything, (first, second), names(7), weights)

    def test_ratios(self) -> None:
        found = balance.balance_of(np.array([30, 50, 40]), np.array([1.0, 2.0, 1.0]))
        self.assertEqual((found.most, found.least), (40 / 30, 50 / 60))


class BusyTests(SynchronousTestCase):
    """
    Tests for L{tests.fleet.busy}.
    """

    traffic = Traffic(nodes=10, fronts=10, mean=20, lasts=1.0, seconds=2.0, catalogue=CATALOGUE)

    def test_the_same_every_time(self) -> None:
        one, other = (Busy(self.traffic, LeastLoaded).run() for _ in range(2))
        self.assertEqual(one, other)
        self.assertGreater(one.decisions, 500)
        self.assertGreater(len(one.most), 15)

    def test_what_policies_are_for(self) -> None:
        """
        Two drawn at random are better than what everybody believes to be the best;
        a bound holds popular content down, for some of what would have come home.
        """
        two = Busy(self.traffic, LeastLoaded).run()
        best = Busy(self.traffic, lambda name: Emptiest()).run()
        self.assertLess(two.usual, best.usual)
        free = Busy(self.traffic, lambda name: Consistent()).run()
        bound = Busy(self.traffic, lambda name: Consistent(125)).run()
        self.assertLess(bound.usual, free.usual)
        self.assertEqual(free.stayed, 1.0)
        self.assertLess(bound.stayed, 1.0)


class RecoveryTests(SynchronousTestCase):
    """
    Tests for L{tests.fleet.recovery}.
    """

    def test_a_death(self) -> None:
        one, other = (Fleet(6, 25.0, (3.2, 4.0)).run() for _ in range(2))
        self.assertEqual(one, other)
        self.assertGreater(one.slow, 0)
        self.assertLess(one.slowest, 6.0)
        self.assertLess(one.freed, 6.0)
        self.assertGreater(one.freed, 4.2)  # noticed, and the link's grace

    def test_clients_come_to_no_harm_by_themselves(self) -> None:
        """
        Without a death to wait for, all are served.
        """
        fleet = Fleet(4, 20.0, (0.0, 0.0))
        fleet.come(2.0)
        fleet.clock.run(30.0)
        self.assertGreater(len(fleet.visits), 20)
        self.assertEqual([visit for visit in fleet.visits if not visit.served], [])
        handoffs = fleet.cluster.said["Handoff"]
        self.assertEqual(handoffs, fleet.cluster.said["Adopted"])
        self.assertEqual(handoffs, fleet.cluster.said["Terminate"])


class CostTests(SynchronousTestCase):
    """
    Tests for what is counted of links and tables.
    """

    def test_links_cost_the_same_in_any_number(self) -> None:
        """
        So two nodes tell of a thousand.
        """
        two, five = links.idle(2, 20), links.idle(5, 20)
        self.assertAlmostEqual(two.boxes, five.boxes)
        self.assertAlmostEqual(two.octets, five.octets)

    def test_a_connection(self) -> None:
        """
        Handoff and Terminate, each answered.
        """
        self.assertEqual(links.connection(50).boxes, 4)

    def test_detection(self) -> None:
        least, longest = links.detection()
        self.assertGreater(least, 3.0)
        self.assertLess(longest, 4.1)

    def test_memory(self) -> None:
        """
        There is some, and not much more the more there are.
        """
        for measure in (tables.front_end, tables.back_end):
            few, many = measure(20).octets, measure(200).octets
            self.assertGreater(many, 500)
            self.assertLess(many, 1.5 * few)
        self.assertGreater(links.memory(3), 1000)

    def test_secured(self) -> None:
        found = secured(5)
        self.assertGreater(found.handshake, found.record)


class SizingTests(SynchronousTestCase):
    """
    Tests for L{tests.fleet.sizing}.
    """

    link = Link(boxes=2.0, wire=40.0, seconds=0.0001, octets=1000.0)

    def test_channel(self) -> None:
        found = channel(11, 110.0, self.link)
        self.assertEqual((found.links, found.idle, found.octets), (10, 20, 10_000))
        self.assertEqual(found.handoffs, 200)
        self.assertAlmostEqual(found.batch, 1 + 10 * 0.02)
        self.assertAlmostEqual(found.terminations, 200 / 1.2)
        self.assertEqual(channel(1, 110.0, self.link).handoffs, 0)

    def test_needed(self) -> None:
        self.assertEqual(needed(699, 0.001, Link(2, 40, 0.0, 0)), 1)
        self.assertEqual(needed(701, 0.001, Link(2, 40, 0.0, 0)), 2)
        count, rate = most(0.001, self.link)
        for more in (1, -1):
            others = count + more
            self.assertGreaterEqual(rate, others * (0.7 - (others - 1) * 0.0001) / 0.001)
        self.assertIsNone(needed(rate * 1.001, 0.001, self.link))
        found = needed(rate * 0.999, 0.001, self.link)
        assert found is not None
        self.assertLessEqual(found, count)

    def test_measured(self) -> None:
        path = Path(self.mktemp())
        self.assertEqual(measured(path), {})

        def wrote(costs: dict[str, float]) -> dict[str, float]:
            works = {
                "short": {
                    name: {"metrics": {"machine_us": {"median": cost}}}
                    for name, cost in costs.items()
                }
            }
            path.write_text(json.dumps({"schema": 1, "works": works}))
            return measured(path)

        self.assertEqual(wrote({"raw+replay": 500.0}), {})
        found = wrote({"direct": 100.0, "nginx": 200.0, "raw+replay": 500.0})
        self.assertEqual(list(found), ["raw+replay"])
        self.assertAlmostEqual(found["raw+replay"], 0.0004)
        path.write_text("{}")
        self.assertRaises(ValueError, measured, path)


class PageTests(SynchronousTestCase):
    """
    Tests for C{docs/scale.md} and what writes it.
    """

    def test_between_the_marks(self) -> None:
        marked = f"a\n{page.START}\nold\n{page.END}\nb\n"
        once = page.rewritten(marked, "new\n\n### 1\nx\n\n### 2\ny\n")
        between = "new\n\n### 1\nx\n\n### 2\ny\n"
        self.assertEqual(once, f"a\n{page.START}\n\n{between}\n{page.END}\nb\n")
        self.assertEqual(page.rewritten(once, "new\n### 1\nx\n### 2\ny"), once)
        self.assertEqual(page.rewritten(once, "### 2\nz\n"), once.replace("y", "z"))
        self.assertRaises(ValueError, page.rewritten, "a", "new")

    def test_numbers(self) -> None:
        for text, wanted in (
            (page.micro(0.000_012_4), "12 us"),
            (page.micro(0.000_001_26), "1.3 us"),
            (page.octets(3_740), "3.7 kB"),
            (page.octets(999), "999 B"),
            (page.share(0.125), "12.5 %"),
            (page.times(1.253), "1.25"),
            (page.times(1.000_048), "1.00005"),
        ):
            self.assertEqual(text, wanted)

    def test_every_part(self) -> None:
        """
        The page has the headings that a run writes, in their order.
        """
        self.patch(needs, "RESULTS", Path(self.mktemp()))
        text = "\n".join(report(QUICK))
        heads = [line for line in text.splitlines() if line.startswith("### ")]
        written = (ROOT / "docs" / "scale.md").read_text().partition(page.START)[2]
        there = [line for line in written.splitlines() if line.startswith("### ")]
        self.assertEqual(heads[1:], there[1:])
        self.assertEqual(len(heads), 7)
