# SPDX-License-Identifier: MIT
"""
Nodes that stop, front-ends that start anew, and what is left over of a connection.
"""

from __future__ import annotations

from math import inf

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from btcp.handoff.teardown import Teardown
from btcp.wire.build import compose
from btcp.wire.segment import ACK, FIN, RST, flow_key
from tests.simulation.http import Request
from tests.simulation.scenario import Outcome, Scenario

_LARGE = (Request(path="/r/", response=3_000_000),)
_BASE = Scenario(nodes=3, requests=(Request(path="/r/"),))


class EndsTestCase(SynchronousTestCase):
    """
    The node C{a} is the front-end, C{c} the first choice for the content, C{b} the second.
    """

    def begin(self, scenario: Scenario, seconds: float) -> Outcome:
        """
        A connection that has come so far.
        """
        outcome = Outcome(scenario)
        outcome.connection = outcome.connect(outcome.browser)
        outcome.clock.run(seconds)
        return outcome

    def stop(self, outcome: Outcome, name: str) -> None:
        node = outcome.cluster.nodes[name]
        node.perform(node.core.stop(outcome.clock.now))
        self.assertEqual(len(node.core.acceptor.flows) + len(node.core.adopter.flows), 0)

    def assert_over(self, outcome: Outcome, seconds: float) -> None:
        """
        In so many seconds the client is told, and in the end nobody remembers anything.
        """
        outcome.clock.run(seconds)
        self.assertTrue(outcome.connection.was_reset)
        outcome.rest()
        self.assertEqual(outcome.cluster.remains(), [])

    def assert_answered(self, outcome: Outcome) -> None:
        """
        As if nothing had been.
        """
        outcome.wait(outcome.browser)
        self.assertEqual(outcome.connection.received, bytes(outcome.browser.expected))
        self.assertEqual(outcome.resets, 0)
        outcome.connection.close()
        outcome.rest()
        self.assertEqual(outcome.cluster.remains(), [])


class StopTests(EndsTestCase):
    def test_front_end_stops(self) -> None:
        for version in (4, 6):
            outcome = self.begin(evolve(_BASE, version=version, requests=_LARGE), 0.02)
            self.stop(outcome, "a")
            self.assert_over(outcome, 0.1)

    def test_front_end_stops_before_the_request_is_complete(self) -> None:
        outcome = self.begin(evolve(_BASE, pieces=10), 0.0)
        outcome.clock.run(1, lambda: outcome.cluster.nodes["a"].core.counters["accept.syn"] > 0)
        self.stop(outcome, "a")
        self.assert_over(outcome, 0.1)

    def test_back_end_stops_while_it_answers(self) -> None:
        outcome = self.begin(evolve(_BASE, requests=_LARGE), 0.02)
        self.stop(outcome, "c")
        self.assert_over(outcome, 0.1)

    def test_back_end_stops_before_it_answers(self) -> None:
        """
        Another one answers on the same connection, at once.
        """
        outcome = self.begin(evolve(_BASE, server_waits=0.5), 0.1)
        self.stop(outcome, "c")
        began = outcome.clock.now
        self.assert_answered(outcome)
        self.assertLess(outcome.connection.fed_at, began + 0.51)

    def test_back_end_stops_while_it_adopts(self) -> None:
        outcome = self.begin(_BASE, 0.0)
        adopter = outcome.cluster.nodes["c"].core.adopter
        outcome.clock.run(1, lambda: len(adopter.flows) > 0)
        self.stop(outcome, "c")
        self.assert_answered(outcome)

    def test_only_node_stops(self) -> None:
        """
        Both ends of the flow are on it.
        """
        scenario = evolve(_BASE, requests=(Request(path="/a/", response=3_000_000),))
        outcome = self.begin(scenario, 0.02)
        self.stop(outcome, "a")
        self.assert_over(outcome, 0.1)

    def test_no_connection_begins_while_it_stops(self) -> None:
        outcome = self.begin(evolve(_BASE, requests=_LARGE), 0.02)
        self.stop(outcome, "a")
        late = outcome.connect(outcome.browser, port=40_999)
        outcome.clock.run(0.1)
        self.assertTrue(late.was_reset)
        outcome.rest()
        self.assertEqual(outcome.cluster.remains(), [])


class RestartTests(EndsTestCase):
    def test_client_that_waits_is_told_when_its_front_end_is_back(self) -> None:
        """
        The front-end forgot it, and has no reason to say anything; the back-end remembers.
        """
        outcome = self.begin(evolve(_BASE, server_waits=20.0), 0.1)
        cluster, back = outcome.cluster, outcome.cluster.nodes["c"]
        cluster.kill("a")
        outcome.clock.run(5)
        self.assertFalse(outcome.connection.was_reset)
        back.perform(back.core.peer_lost("a", outcome.clock.now, restarted=True))
        outcome.clock.run(0.1)
        self.assertTrue(outcome.connection.was_reset)

    def test_front_end_that_was_out_of_sight(self) -> None:
        """
        It may have asked another node meanwhile: nothing is said in its name.
        """
        outcome = self.begin(evolve(_BASE, server_waits=2.0), 0.1)
        cluster, back = outcome.cluster, outcome.cluster.nodes["c"]
        cluster.cut_link("a", "c")
        outcome.clock.run(1.5)
        cluster.mend_link("a", "c")
        back.perform(back.core.peer_lost("a", outcome.clock.now, restarted=True))
        self.assert_answered(outcome)


class LeaseTests(EndsTestCase):
    """
    A back-end that has not heard from the front-end for too long may have been given up.
    """

    def prove(self, outcome: Outcome, silence: float) -> None:
        """
        How long the back-end has heard nothing.
        """
        context = outcome.cluster.nodes["c"].core.context
        context.settings = evolve(context.settings, silence=lambda peer: silence, lease=3.0)

    def test_no_response_begins(self) -> None:
        """
        Until the link is proven; then the origin's TCP has only to send it again.
        """
        outcome = self.begin(evolve(_BASE, server_waits=0.5), 0.1)
        self.prove(outcome, 3.1)
        outcome.clock.run(1.0)
        self.assertEqual(outcome.connection.received, b"")
        self.assertGreater(outcome.cluster.nodes["c"].core.counters["adopt.held"], 0)
        self.prove(outcome, 2.9)
        self.assert_answered(outcome)

    def test_no_reset_either(self) -> None:
        """
        The front-end hears of it instead, and asks another node.
        """
        scenario = evolve(_BASE, server_waits=0.5, server_resets=True)
        outcome = self.begin(scenario, 0.1)
        self.prove(outcome, 3.1)
        outcome.clock.run(0.6)
        self.assertFalse(outcome.connection.was_reset)
        self.assertEqual(outcome.cluster.nodes["a"].core.counters["handoff.moved-on"], 1)

    def test_what_was_begun_goes_on(self) -> None:
        outcome = self.begin(evolve(_BASE, requests=_LARGE), 0.02)
        self.assertGreater(len(outcome.connection.received), 0)
        self.prove(outcome, 100.0)
        self.assert_answered(outcome)

    def test_own_front_end_needs_no_proof(self) -> None:
        outcome = self.begin(evolve(_BASE, requests=(Request(path="/a/"),)), 0.0)
        context = outcome.cluster.nodes["a"].core.context
        context.settings = evolve(context.settings, silence=lambda peer: inf, lease=3.0)
        self.assert_answered(outcome)


class LateTests(EndsTestCase):
    def test_reset_after_the_end_stays_here(self) -> None:
        """
        The client closed first, so its TCP has the connection still and the origin's has not.
        """
        outcome = self.begin(_BASE, 0.1)
        outcome.connection.close()
        outcome.clock.run(0.1)
        node = outcome.cluster.nodes["c"]
        (flow,) = node.core.adopter.flows.outbound.values()
        assert flow.to_client is not None
        sent: list[bytes] = []
        outcome.network.watch.append(sent.append)
        late = compose(flow.outbound, flow.to_client.end, 0, RST, 0)
        node.perform(node.core.receive(late, outcome.clock.now))
        outcome.clock.run(0.1)
        self.assertEqual(node.core.counters["adopt.late-reset"], 1)
        self.assertEqual(sent, [])

    def test_guessed_acknowledgment_ends_nothing(self) -> None:
        """
        Only the number after the server's FIN acknowledges it.
        """
        key = flow_key(b"\x01" * 4, 1, b"\x02" * 4, 2)
        teardown = Teardown()
        teardown.from_server(compose(key, 100, 50, FIN | ACK, 0))
        teardown.from_client(compose(key, 50, 101, FIN | ACK, 0))
        teardown.from_server(compose(key, 101, 51, ACK, 0))
        self.assertTrue(teardown.over)
        teardown = Teardown()
        teardown.from_server(compose(key, 100, 50, FIN | ACK, 0))
        for ack in (100, 102, 5000, 1 << 31):
            teardown.from_client(compose(key, 50, ack, FIN | ACK, 0))
        teardown.from_server(compose(key, 101, 51, ACK, 0))
        self.assertFalse(teardown.over)
