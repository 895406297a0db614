# SPDX-License-Identifier: MIT
"""
C{test_handoff_simulation.py} once more, with kernels that do what the tc programs do.
"""

from __future__ import annotations

from functools import partial
from random import Random
from typing import ClassVar

from attrs import evolve

from tests.simulation.cluster import ORIGIN
from tests.simulation.http import Request
from tests.simulation.kernel import Reporting
from tests.simulation.network import MTU
from tests.simulation.scenario import Outcome, Scenario, draw
from tests.simulation.tcp import Abilities
from tests.unit import test_handoff_simulation as simulation
from tests.unit import test_handoff_takeover as takeover

AT_ONCE = Reporting()


class SeededTests(simulation.SeededTests):
    reporting = AT_ONCE
    seeds: ClassVar[range] = range(1000, 1150)


class RequestTests(simulation.RequestTests):
    reporting = AT_ONCE


class EndTests(simulation.EndTests):
    reporting = AT_ONCE


class FailureTests(simulation.FailureTests):
    reporting = AT_ONCE


class AdmittedTests(simulation.FailureTests):
    """
    The same, where no handshake is replayed.
    """

    reporting = AT_ONCE

    def of(self, scenario: Scenario) -> Scenario:
        return evolve(super().of(scenario), admits=True)

    def test_options_not_kept(self) -> None:
        """
        No SYN/ACK says so: the kernel makes the connection as it is told.
        """
        outcome = self.replicated()
        outcome.cluster.nodes["c"].kernel.listening[ORIGIN].can = Abilities(sack=False)
        self.served_by(self.run_with(outcome), "c")


class LateTests(AdmittedTests):
    """
    And the reports come when all may be over.
    """

    reporting = Reporting(late=0.15)


class TakeoverTests(takeover.ResponseTests):
    """
    Daemons that are killed, and others that go on with what the programs knew.
    """

    def setUp(self) -> None:
        super().setUp()
        self.ways = [evolve(scenario, reporting=AT_ONCE) for scenario in self.ways]

    def test_at_any_time(self) -> None:
        failures = {}
        for seed in range(5000, 5060):
            random = Random(seed)
            scenario = evolve(draw(random), reporting=AT_ONCE, mtu_to_client=MTU)
            when, away = random.uniform(0.0, 0.4), random.choice([0.01, takeover.AWAY])
            names = random.choice(["a", "b", "ab", "ba"])
            crashes = [(when + 0.1 * n, name, away) for n, name in enumerate(names)]
            outcome = takeover.crashed(scenario, *crashes)
            outcome.clock.run(1000)
            if outcome.complaints():
                failures[seed] = outcome.complaints()
        self.assertEqual(failures, {})


class ReportTests(simulation.SimulationTestCase):
    """
    Reports that come late, or never.
    """

    def assert_arrives(self, seeds: range, reporting: Reporting, rest: float) -> None:
        """
        @param rest: seconds thereafter, until all is forgotten.
        """
        failures = {}
        for seed in seeds:
            # A router's word that comes before the front-end has a route, is not for it.
            scenario = evolve(draw(Random(seed)), reporting=reporting, mtu_to_client=MTU)
            outcome = Outcome(scenario)
            outcome.run()
            outcome.clock.run(rest)
            if outcome.failures():
                failures[seed] = outcome.failures()
        self.assertEqual(failures, {})

    def test_late(self) -> None:
        """
        Later than any packet, and than the time after which the back-end is in doubt.
        """
        for late in (0.001, 0.05, 0.3, 2.0):
            self.assert_arrives(range(2000, 2040), Reporting(late=late), 0)

    def test_lost(self) -> None:
        """
        Then the account says the same, when the flow's time is over.
        """
        for lost in (0.3, 1.0):
            self.assert_arrives(range(3000, 3050), Reporting(lost=lost), 1000)

    def test_whatever_happens(self) -> None:
        """
        A link goes down, for a while or for good, or a back-end loses its power, at any time:
        nobody gets two responses, and nothing remains.
        """
        failures = {}
        for seed in range(4000, 4060):
            outcome = _disturbed(Random(seed))
            outcome.run()
            outcome.clock.run(1000)
            if outcome.complaints():
                failures[seed] = outcome.complaints()
        self.assertEqual(failures, {})


def _disturbed(random: Random) -> Outcome:
    """
    @return: what is going to be disturbed, once.
    """
    reporting = Reporting(random.choice((0.0, 0.01, 0.2)), random.choice((0.0, 0.0, 0.3, 1.0)))
    request = Request(path="/r/", response=random.choice((0, 1000, 60_000, 1_000_000)))
    scenario = evolve(
        draw(random),
        nodes=3,
        requests=(request,),
        server_waits=random.choice((0.0, 0.0, 0.01, 0.1)),
        reporting=reporting,
        mtu_to_client=MTU,
    )
    outcome = Outcome(scenario)
    cluster, clock, back = outcome.cluster, outcome.clock, random.choice("bc")
    at = random.random() * random.choice((0.02, 0.2))
    what = random.choice(("cut", "blink", "kill"))
    if what == "kill":
        clock.call_later(at, partial(cluster.kill, back))
    else:
        clock.call_later(at, partial(cluster.cut_link, "a", back))
    if what == "blink":
        later = at + random.choice((0.05, 0.3, 0.9))
        clock.call_later(later, partial(cluster.mend_link, "a", back))
    return outcome
