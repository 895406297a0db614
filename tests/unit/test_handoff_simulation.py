# SPDX-License-Identifier: MIT
"""
Whole connections through whole clusters, in memory: nothing is lost, doubled or
mixed up, nobody complains, and in the end nobody remembers anything.
"""

from __future__ import annotations

from functools import partial
from itertools import product
from random import Random
from typing import Any, ClassVar

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from tests.simulation.cluster import GRACE, ORIGIN, PORT
from tests.simulation.http import Browser, Request
from tests.simulation.kernel import Reporting
from tests.simulation.network import Faults
from tests.simulation.scenario import Outcome, Scenario, draw
from tests.simulation.tcp import Abilities

SEEDS = 250
LOSSY = Faults(loss=0.05, doubling=0.05, late=0.1)


class SimulationTestCase(SynchronousTestCase):
    """
    @ivar reporting: of all scenarios; see L{Scenario}.
    """

    reporting: ClassVar[Reporting | None] = None

    def of(self, scenario: Scenario) -> Scenario:
        """
        @return: the scenario, with kernels as these tests have them.
        """
        return evolve(scenario, reporting=self.reporting)


class SeededTests(SimulationTestCase):
    """
    Scenarios drawn from seeds.  To have one again:
    C{draw(Random(seed)).run().failures()}.
    """

    seeds: ClassVar[range] = range(SEEDS)

    def test_everything_arrives(self) -> None:
        failures = {
            seed: said
            for seed in self.seeds
            if (said := self.of(draw(Random(seed))).run().failures())
        }
        self.assertEqual(failures, {})

    def test_resets(self) -> None:
        """
        By either side, at any time; where none is lost, everybody hears of it.
        """
        for seed in self.seeds[: SEEDS // 3]:
            random = Random(seed)
            scenario = evolve(
                draw(random),
                faults=random.choice([Faults(), Faults(late=0.2), Faults(doubling=0.2)]),
                half_close=False,
                client_resets=random.choice([-1, 0, 1, 500, 10_000]),
                server_waits=random.choice([0.0, 0.01, 0.5]),
            )
            scenario = evolve(scenario, server_resets=scenario.client_resets < 0)
            self.assertEqual(self.of(scenario).run().complaints(), [], seed)

    def test_large_responses(self) -> None:
        """
        1 MB over a bad network, both versions of IP, both ways to adopt.
        """
        for version, path in ((4, "/b/"), (6, "/a/")):
            request = Request(path=path, response=1_000_000)
            scenario = Scenario(version=version, faults=LOSSY, requests=(request,), wrap=True)
            self.assertEqual(self.of(scenario).run().failures(), [])


class RequestTests(SimulationTestCase):
    """
    However a request comes, the server gets it as it was sent.
    """

    def arrives(self, scenario: Scenario) -> None:
        """
        Both adoptions, both versions of IP.
        """
        for version in (4, 6):
            for path in ("/a/", "/b/"):
                requests = tuple(evolve(each, path=path) for each in scenario.requests)
                run = self.of(evolve(scenario, version=version, requests=requests)).run()
                self.assertEqual(run.failures(), [], run.scenario)

    def test_one_octet_per_segment(self) -> None:
        self.arrives(Scenario(pieces=1))

    def test_one_octet_per_segment_on_a_bad_network(self) -> None:
        self.arrives(Scenario(pieces=1, faults=LOSSY))

    def test_long_head(self) -> None:
        self.arrives(Scenario(requests=(Request(filler=15_000),)))

    def test_every_packet_twice(self) -> None:
        self.arrives(Scenario(pieces=100, faults=Faults(doubling=1.0)))

    def test_any_order(self) -> None:
        requests = (Request(filler=5000),)
        self.arrives(Scenario(pieces=100, requests=requests, faults=Faults(late=1.0)))

    def test_half_closed_with_the_request(self) -> None:
        self.arrives(Scenario(half_close=True, server_waits=0.5))

    def test_body_after_the_head(self) -> None:
        self.arrives(Scenario(pieces=1000, requests=(Request(body=100_000),)))

    def test_many_requests_on_a_connection(self) -> None:
        self.arrives(Scenario(requests=(Request(), Request(body=5), Request(response=0))))

    def test_server_closes_first(self) -> None:
        self.arrives(Scenario(server_closes=1, faults=LOSSY))

    def test_nothing_agreed(self) -> None:
        plain = Abilities(mss=536, scale=-1, sack=False, timestamps=False)
        requests = (Request(response=100_000),)
        self.arrives(Scenario(client=plain, requests=requests, faults=LOSSY))

    def test_narrow_path_to_the_client(self) -> None:
        """
        A router's "too big" comes to the front-end and goes to the back-end.
        """
        requests = (Request(response=100_000),)
        self.arrives(Scenario(mtu_to_client=1300, requests=requests, faults=LOSSY))

    def test_origin_at_the_port_of_the_listener(self) -> None:
        self.arrives(Scenario(origin=PORT, faults=LOSSY))

    def test_numbers_that_wrap(self) -> None:
        requests = (Request(response=20_000, filler=5000),)
        self.arrives(Scenario(wrap=True, requests=requests, faults=LOSSY))


class EndTests(SimulationTestCase):
    """
    However a connection ends, the other side knows and nobody remembers.
    """

    def test_client_resets(self) -> None:
        for path in ("/a/", "/b/"):
            for after in (0, 1, 30_000):
                requests = (Request(path=path, response=100_000),)
                run = self.of(Scenario(client_resets=after, requests=requests)).run()
                self.assertEqual(run.complaints(), [], run.scenario)
                self.assertEqual([each.was_reset for each in run.served], [True])

    def test_server_resets(self) -> None:
        for path in ("/a/", "/b/"):
            requests = (Request(path=path),)
            scenario = Scenario(server_resets=True, server_waits=0.1, requests=requests)
            run = self.of(scenario).run()
            self.assertEqual(run.complaints(), [])
            self.assertTrue(run.connection.was_reset)
            self.assertLess(run.network.clock.now, 1000.2 + 120)

    def test_the_same_port_again(self) -> None:
        """
        Whoever closed first, and so holds TIME-WAIT, a client may come again.
        """
        for origin, closes, admits, path in product(
            (ORIGIN, PORT), (0, 1), (False, True), ("/a/", "/b/")
        ):
            scenario = Scenario(origin=origin, server_closes=closes, admits=admits)
            self.comes_again(scenario, path)

    def comes_again(self, scenario: Scenario, path: str) -> None:
        """
        Ten times, by the same port.
        """
        run = Outcome(self.of(scenario))
        for seed in range(10):
            browser = Browser([Request(path=path, seed=seed)])
            connection = run.connect(browser)
            run.wait(browser)
            self.assertEqual(connection.received, bytes(browser.expected))
            run.clock.run(0.05)
            run.client.connections.clear()  # the client's TIME-WAIT is over
        run.rest()
        self.assertEqual(run.client.complaints + run.cluster.remains(), [])


class FailureTests(SimulationTestCase):
    """
    What is not there, is silent, or dies.
    """

    def run_with(self, outcome: Outcome) -> Outcome:
        """
        Run to the end; nobody complains and nothing remains, whatever happens.
        """
        outcome.run()
        self.assertEqual(outcome.complaints(), [])
        return outcome

    def served_by(self, outcome: Outcome, node: str) -> None:
        """
        The whole response came, and the only connection that the programs know of
        was to that node.
        """
        self.assertEqual(outcome.connection.received, bytes(outcome.browser.expected))
        address = outcome.cluster.nodes[node].addresses[0]
        whole = [each for each in outcome.served if each.received == bytes(outcome.browser.sent)]
        self.assertIn(address, [each.key[:4] for each in whole])
        self.assertEqual(outcome.resets, 0)

    def replicated(self, **changes: Any) -> Outcome:
        """
        A cluster of which any node can answer; c is asked first, then b, then a.
        """
        scenario = Scenario(nodes=3, requests=(Request(path="/r/", response=20_000),))
        return Outcome(self.of(evolve(scenario, **changes)))

    def test_no_listener(self) -> None:
        for admits in (False, True):
            outcome = self.replicated(admits=admits)
            outcome.cluster.nodes["c"].kernel.listening.clear()
            self.served_by(self.run_with(outcome), "b")

    def test_accept_queue_full(self) -> None:
        for admits in (False, True):
            outcome = self.replicated(admits=admits)
            outcome.cluster.nodes["c"].kernel.listening[ORIGIN].full = True
            self.served_by(self.run_with(outcome), "b")
            counters = outcome.cluster.nodes["a"].core.counters
            self.assertEqual(counters["handoff.refused.accept-queue-full"], 1)

    def test_options_not_kept(self) -> None:
        """
        A kernel that cannot keep what its node said it could.
        """
        for name, poor in (
            ("scale", Abilities(scale=-1)),
            ("SACK", Abilities(sack=False)),
            ("timestamps", Abilities(timestamps=False)),
        ):
            outcome = self.replicated()
            outcome.cluster.nodes["c"].kernel.listening[ORIGIN].can = poor
            self.served_by(self.run_with(outcome), "b")
            counters = outcome.cluster.nodes["a"].core.counters
            self.assertEqual(counters["handoff.refused.options-not-kept"], 1, name)

    def test_silent_node(self) -> None:
        """
        The host has no power, but nobody has noticed yet.
        """
        outcome = self.replicated()
        outcome.cluster.nodes["c"].dead = True
        self.served_by(self.run_with(outcome), "b")

    def test_nobody(self) -> None:
        outcome = self.replicated()
        for node in outcome.cluster.nodes.values():
            node.kernel.listening.clear()
        self.run_with_answer(outcome, b"503")

    def test_no_such_content(self) -> None:
        outcome = self.replicated(requests=(Request(path="/none/"),))
        self.run_with_answer(outcome, b"404")

    def run_with_answer(self, outcome: Outcome, status: bytes) -> None:
        """
        The front-end answers by itself.
        """
        outcome.run()
        self.assertEqual(outcome.connection.received.split(b" ")[1], status)
        self.assertTrue(outcome.connection.finished)
        self.assertEqual(outcome.client.complaints, [])

    def test_node_dies_before_it_answers(self) -> None:
        outcome = self.replicated(server_waits=0.5)
        outcome.clock.call_later(0.2, lambda: outcome.cluster.kill("c"))
        self.served_by(self.run_with(outcome), "b")

    def test_node_dies_while_it_answers(self) -> None:
        """
        The client is told at once, with a reset that it believes.
        """
        requests = (Request(path="/r/", response=3_000_000),)
        outcome = self.replicated(requests=requests)
        outcome.clock.call_later(0.05, lambda: outcome.cluster.kill("c"))
        outcome.clock.call_later(1.1, lambda: self.assertTrue(outcome.connection.was_reset))
        self.run_with(outcome)
        self.assertGreater(len(outcome.connection.received), 0)

    def test_front_dies_while_its_back_answers(self) -> None:
        requests = (Request(path="/r/", response=3_000_000),)
        outcome = self.replicated(requests=requests)
        outcome.clock.call_later(0.05, lambda: outcome.cluster.kill("a"))
        outcome.clock.call_later(1.1, lambda: self.assertTrue(outcome.connection.was_reset))
        self.run_with(outcome)

    def test_daemon_of_the_front_end_restarts(self) -> None:
        """
        Whoever waits is told: at once if it goes on sending, and if it does not, by
        the back-end, for the front-end cannot know.
        """
        for waits in (0.0, 0.5):
            outcome = self.replicated(
                requests=(Request(path="/r/", response=3_000_000),), server_waits=waits
            )
            outcome.clock.call_later(0.05, partial(outcome.cluster.restart, "a"))
            outcome.run()
            self.assertTrue(outcome.connection.was_reset)
            self.assertEqual(outcome.complaints(), [])

    def test_daemon_of_the_back_end_restarts_before_it_answers(self) -> None:
        outcome = self.replicated(server_waits=0.5)
        outcome.clock.call_later(0.05, partial(outcome.cluster.restart, "c"))
        self.served_by(self.run_with(outcome), "b")

    def test_daemon_of_the_back_end_restarts_while_it_answers(self) -> None:
        requests = (Request(path="/r/", response=3_000_000),)
        outcome = self.replicated(requests=requests)
        outcome.clock.call_later(0.05, partial(outcome.cluster.restart, "c"))
        self.run_with(outcome)
        self.assertTrue(outcome.connection.was_reset)

    def test_link_is_down_for_a_moment(self) -> None:
        """
        An answer that was not begun waits for the link; one that was goes on.
        """
        for at in (0.01, 0.2):
            outcome = self.replicated(server_waits=0.1)
            outcome.clock.call_later(at, partial(outcome.cluster.cut_link, "a", "c"))
            outcome.clock.call_later(0.5, partial(outcome.cluster.mend_link, "a", "c"))
            self.served_by(self.run_with(outcome), "c")

    def test_half_closed_while_the_link_is_down(self) -> None:
        outcome = self.replicated(server_waits=0.1)
        outcome.clock.call_later(0.01, lambda: outcome.cluster.cut_link("a", "c"))
        outcome.clock.call_later(0.02, lambda: outcome.connection.close())
        outcome.clock.call_later(0.5, lambda: outcome.cluster.mend_link("a", "c"))
        self.served_by(self.run_with(outcome), "c")

    def test_server_resets_while_the_link_is_down(self) -> None:
        """
        The client hears of it when the link is there again.
        """
        outcome = self.replicated(server_waits=0.1, server_resets=True)
        outcome.clock.call_later(0.01, lambda: outcome.cluster.cut_link("a", "c"))
        outcome.clock.call_later(0.5, lambda: outcome.cluster.mend_link("a", "c"))
        outcome.clock.call_later(1.0, lambda: self.assertTrue(outcome.connection.was_reset))
        self.run_with(outcome)

    def test_link_stays_down(self) -> None:
        """
        Then another node answers, and only that one.
        """
        outcome = self.replicated(server_waits=0.5)
        outcome.clock.call_later(0.01, lambda: outcome.cluster.cut_link("a", "c"))
        self.served_by(self.run_with(outcome), "b")

    def test_long_wait_then_another_node(self) -> None:
        """
        The second node's timestamps go on from what the first one's were, though
        the first one had the connection for long.
        """
        outcome = self.replicated(server_waits=30.0)
        outcome.clock.call_later(20.0, lambda: outcome.connection.probe())
        outcome.clock.call_later(20.1, lambda: outcome.cluster.kill("c"))
        self.served_by(self.run_with(outcome), "b")
        begun = 1000 + 20.1 + GRACE + 30.0
        self.assertLess(outcome.connection.fed_at, begun + 0.5)

    def test_same_port_to_two_nodes(self) -> None:
        """
        Two connections that would be the same one at the back-end: the second goes
        to another node, or is told that there is none.
        """
        for path, answered in (("/r/", True), ("/c/", False)):
            run = Outcome(self.of(Scenario(nodes=3, server_waits=0.2)))
            browsers = [Browser([Request(path=path, seed=n)]) for n in (1, 2)]
            connections = [
                run.connect(browser, front)
                for browser, front in zip(browsers, ("a", "b"), strict=True)
            ]
            run.clock.run(5)
            self.assertEqual(connections[0].received, bytes(browsers[0].expected))
            second = connections[1].received
            self.assertEqual(second == bytes(browsers[1].expected), answered)
            self.assertEqual(second.startswith(b"HTTP/1.1 503"), not answered)
            for each in connections:
                each.close()
            run.rest()
            self.assertEqual(run.client.complaints + run.cluster.remains(), [])
