# SPDX-License-Identifier: MIT
"""
Daemons that are killed in the middle of connections, and others that go on with them.
"""

from __future__ import annotations

from functools import partial
from random import Random

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from tests.simulation.http import Request
from tests.simulation.network import Faults
from tests.simulation.scenario import Outcome, Scenario, draw

SEEDS = 150
AWAY = 0.7
"""Seconds that a host is without a daemon."""


def crashed(scenario: Scenario, *crashes: tuple[float, str, float]) -> Outcome:
    """
    @param crashes: when the daemon of which node dies, and for how long there is none.
    @return: what came of it.
    """
    outcome = Outcome(scenario)
    cluster, start = outcome.cluster, outcome.clock
    for when, name, away in crashes:
        start.call_later(when, partial(cluster.crash, name))
        start.call_later(when + away, partial(cluster.take_over, name))
    outcome.run()
    return outcome


def resumed(outcome: Outcome, name: str) -> int:
    """
    @return: how many halves of flows the daemon of a node went on with.
    """
    counters = outcome.cluster.nodes[name].core.counters
    return counters["resumed.front"] + counters["resumed.back"]


class SeededTests(SynchronousTestCase):
    def test_at_any_time(self) -> None:
        """
        Whatever happens, nobody gets a wrong octet, nobody hangs, nothing is left.
        """
        for seed in range(SEEDS):
            random = Random(seed)
            scenario = evolve(
                draw(random),
                server_waits=random.choice([0.0, 0.05]),
                client_resets=random.choice([-1, -1, 500]),
            )
            when, away = random.uniform(0.0, 0.4), random.choice([0.01, AWAY, 4.0])
            names = random.choice(["a", "b", "ab", "ba"])
            crashes = [(when + 0.1 * n, name, away) for n, name in enumerate(names)]
            self.assertEqual(crashed(scenario, *crashes).complaints(), [], seed)


class ResponseTests(SynchronousTestCase):
    """
    A response has begun, and takes its time: it is not to know.
    """

    def setUp(self) -> None:
        self.ways = [
            Scenario(
                version=version,
                nodes=3,
                faults=faults,
                admits=admits,
                requests=(Request(path=path, response=2_000_000),),
            )
            for version in (4, 6)
            for faults in (Faults(), Faults(loss=0.02))
            for admits in (False, True)
            for path in ("/a/", "/b/")
        ]

    def test_front_end(self) -> None:
        for scenario in self.ways:
            outcome = crashed(scenario, (0.3, "a", AWAY))
            self.assertEqual(outcome.failures(), [], scenario)
            self.assertEqual(resumed(outcome, "a"), 2 if scenario.requests[0].path == "/a/" else 1)

    def test_back_end(self) -> None:
        for scenario in self.ways:
            outcome = crashed(scenario, (0.3, "b", AWAY))
            self.assertEqual(outcome.failures(), [], scenario)
            self.assertEqual(resumed(outcome, "b"), scenario.requests[0].path == "/b/")

    def test_both_twice(self) -> None:
        for scenario in self.ways:
            crashes = [(0.3, "a", AWAY), (0.5, "b", AWAY), (1.5, "b", AWAY), (3.0, "a", AWAY)]
            self.assertEqual(crashed(scenario, *crashes).failures(), [], scenario)

    def test_next_request(self) -> None:
        """
        On the same connection, to a server that does not answer at once.
        """
        requests = tuple(Request(path="/b/", response=1000, seed=n) for n in range(20))
        for name in "ab":
            scenario = Scenario(nodes=2, requests=requests, server_waits=0.1)
            self.assertEqual(crashed(scenario, (0.55, name, AWAY)).failures(), [], name)
