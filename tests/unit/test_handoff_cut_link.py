# SPDX-License-Identifier: MIT
"""
The link between two nodes is lost at every single message that they say about flows.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

from attrs import define, evolve, field
from twisted.trial.unittest import SynchronousTestCase

from btcp.handoff.messages import Adopted, Handoff, Refused, Terminate
from tests.simulation.cluster import GRACE, LINK_DELAY, ORIGIN, Message
from tests.simulation.http import Request
from tests.simulation.scenario import Outcome, Scenario

NEVER = -1
ARRIVED = 0.05
BACK = (0.3 * GRACE, 3 * GRACE, 0.0)
"""Seconds after which the link is back: before it is given up, after, and never."""


@define
class Scissors:
    """
    Cuts the link on which message number C{at} travels.

    @ivar late: just after the message arrived; else it is lost.
    @ivar back: seconds until the link is up again, 0 for never.
    @ivar said: kinds of all messages.
    @ivar begun: what the client has of a response when what was under way has arrived.
    @ivar told: whether it was reset when the link was given up.
    """

    outcome: Outcome
    at: int = NEVER
    late: bool = False
    back: float = 0.0
    said: list[type[Message]] = field(factory=list)
    begun: int = 0
    told: bool = False

    def __attrs_post_init__(self) -> None:
        self.outcome.cluster.overhear = self._overhear

    def _overhear(self, speaker: str, listener: str, message: Message) -> None:
        if len(self.said) == self.at:
            self._cut(speaker, listener)
        self.said.append(type(message))

    def _cut(self, one: str, other: str) -> None:
        cluster, clock = self.outcome.cluster, self.outcome.clock
        delay = 1.5 * LINK_DELAY if self.late else 0.0
        clock.call_later(delay, lambda: cluster.cut_link(one, other))
        clock.call_later(delay + ARRIVED, self._see_begun)
        clock.call_later(delay + GRACE + ARRIVED, self._see_told)
        if self.back:
            clock.call_later(delay + self.back, lambda: cluster.mend_link(one, other))

    def _see_begun(self) -> None:
        self.begun = len(self.outcome.connection.received)

    def _see_told(self) -> None:
        self.told = self.outcome.connection.was_reset


def refusing(outcome: Outcome) -> None:
    """
    The first that is asked has no server program.
    """
    outcome.cluster.nodes["c"].kernel.listening.clear()


def overloaded(outcome: Outcome) -> None:
    """
    The first that is asked does not answer in time.
    """
    outcome.cluster.nodes["c"].kernel.listening[ORIGIN].full = True


def well(outcome: Outcome) -> None:
    """
    Nothing is wrong.
    """


REPLICATED = Scenario(nodes=3, requests=(Request(path="/r/", response=20_000),))


class CutLinkTests(SynchronousTestCase):
    """
    Whichever message it is: nobody hangs, nobody remembers anything, no client gets a mixture
    of two responses, and who has got nothing of one yet gets the whole of it.
    """

    def everywhere(
        self, scenario: Scenario, trouble: Callable[[Outcome], None], check: bool = True
    ) -> set[type[Message]]:
        """
        @param check: the whole response has to come.
        @return: the kinds of messages at which the link was cut.
        """
        whole = Outcome(scenario)
        trouble(whole)
        said = Scissors(whole).said
        whole.run()
        self.assertEqual(whole.complaints(), [])
        for at, late, back in product(range(len(said)), (False, True), BACK):
            outcome = Outcome(scenario)
            trouble(outcome)
            scissors = Scissors(outcome, at, late, back)
            outcome.run()
            where = f"{said[at].__name__}, message {at}, {late=}, {back=}"
            self.assertGreater(len(scissors.said), at, where)
            self.assertEqual(outcome.complaints(), [], where)
            if check:
                self.assert_saved(scissors, where)
        return set(said)

    def assert_saved(self, scissors: Scissors, where: str) -> None:
        """
        The client got all, or could not: then it was told.
        """
        outcome, soon = scissors.outcome, 0 < scissors.back < GRACE
        if scissors.told and scissors.begun and not soon:
            return
        got = outcome.connection.received
        self.assertEqual(len(got), len(outcome.browser.expected), where)
        self.assertEqual(got, bytes(outcome.browser.expected), where)
        self.assertEqual(outcome.resets, 0, where)

    def test_every_message(self) -> None:
        cut: set[type[Message]] = set()
        for trouble, admits, waits in product(
            (well, refusing, overloaded), (False, True), (0.0, 0.2)
        ):
            scenario = evolve(REPLICATED, admits=admits, server_waits=waits)
            cut |= self.everywhere(scenario, trouble)
        self.assertEqual(cut, {Handoff, Adopted, Refused, Terminate})

    def test_several_requests_on_a_connection(self) -> None:
        requests = tuple(Request(path="/r/", response=9000, seed=seed) for seed in range(3))
        self.everywhere(evolve(REPLICATED, requests=requests, server_closes=3), well)

    def test_client_resets(self) -> None:
        """
        Nothing more is to come; all is forgotten nevertheless.
        """
        for octets in (0, 1, 10_000):
            scenario = evolve(REPLICATED, client_resets=octets, server_waits=0.1)
            self.everywhere(scenario, well, check=False)

    def test_server_resets(self) -> None:
        scenario = evolve(REPLICATED, server_resets=True, server_waits=0.1)
        self.everywhere(scenario, well, check=False)
