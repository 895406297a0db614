# SPDX-License-Identifier: MIT
"""
Connections that an operator ends: L{btcp.handoff.bottom.BottomTcp.shut_down}.
"""

from __future__ import annotations

from attrs import evolve

from btcp.handoff.flows import AcceptedFlow, AdoptedFlow
from btcp.handoff.messages import Endpoint
from btcp.handoff.states import Accept, Adopt
from tests.simulation.http import Request
from tests.simulation.scenario import Outcome, Scenario
from tests.unit.test_handoff_ends import EndsTestCase

_LARGE = Scenario(nodes=3, requests=(Request(path="/r/", response=3_000_000),))
_OWN = evolve(_LARGE, requests=(Request(path="/a/", response=3_000_000),))


class ShutDownTests(EndsTestCase):
    """
    The node C{a} is the front-end, C{c} the back-end.
    """

    def shut(self, outcome: Outcome, name: str, port: int = 0) -> int:
        """
        @param port: of the client, unless it is the real one.
        @return: how many connections the node ended.
        """
        (front,) = outcome.cluster.nodes["a"].core.acceptor.flows.by_key.values()
        client = Endpoint(front.client.address, port or front.client.port)
        node = outcome.cluster.nodes[name]
        count, actions = node.core.shut_down(client, outcome.clock.now)
        node.perform(actions)
        return count

    def front(self, outcome: Outcome) -> AcceptedFlow:
        (flow,) = outcome.cluster.nodes["a"].core.acceptor.flows.by_key.values()
        return flow

    def back(self, outcome: Outcome, name: str) -> AdoptedFlow:
        (flow,) = outcome.cluster.nodes[name].core.adopter.flows.outbound.values()
        return flow

    def test_at_either_node(self) -> None:
        """
        The client is reset, both nodes forget, and the server program's connection ends.
        """
        for version in (4, 6):
            for scenario, name in ((_LARGE, "a"), (_LARGE, "c"), (_OWN, "a")):
                outcome = self.begin(evolve(scenario, version=version), 0.02)
                self.assertIs(self.front(outcome).state, Accept.FORWARDING)
                self.assertEqual(self.shut(outcome, name), 1)
                self.assert_over(outcome, 0.1)
                self.assertTrue(outcome.served[0].was_reset)

    def test_before_the_handoff(self) -> None:
        outcome = self.begin(evolve(_LARGE, pieces=10), 0.0)
        outcome.clock.run(1, lambda: outcome.cluster.nodes["a"].core.counters["accept.syn"] > 0)
        self.assertEqual(self.shut(outcome, "a"), 1)
        self.assert_over(outcome, 0.1)

    def test_while_it_is_adopted(self) -> None:
        """
        It is the front-end's until then.
        """
        outcome = self.begin(_LARGE, 0.0)
        adopter = outcome.cluster.nodes["c"].core.adopter
        outcome.clock.run(1, lambda: len(adopter.flows) > 0)
        self.assertIs(self.back(outcome, "c").state, Adopt.REPLAYING)
        self.assertEqual(self.shut(outcome, "c"), 0)
        self.assertEqual(self.shut(outcome, "a"), 1)
        self.assert_over(outcome, 0.1)

    def test_of_others(self) -> None:
        outcome = self.begin(evolve(_LARGE, requests=(Request(path="/r/"),)), 0.02)
        for name, port in (("a", 1), ("c", 1), ("b", 0)):
            self.assertEqual(self.shut(outcome, name, port), 0)
        self.assert_answered(outcome)
