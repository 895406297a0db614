# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.handoff.states}: every state, every event.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from btcp.content.http import HttpReader
from btcp.handoff.accept import Acceptor
from btcp.handoff.adopt import Adopter
from btcp.handoff.flows import AcceptedFlow, AdoptedFlow
from btcp.handoff.messages import Endpoint, Handoff
from btcp.handoff.states import ACCEPT, ADOPT, Accept, Adopt, Arrival, Progress
from btcp.wire.options import SynOptions
from btcp.wire.segment import flow_key, reversed_key
from tests.simulation.cluster import ORIGIN, PORT
from tests.simulation.script import ADDRESSES, CLIENTS, Script

Table = Mapping[Any, Mapping[Any, tuple[Any, str]]]

KEY = flow_key(CLIENTS[0], 51515, ADDRESSES["a"][0], PORT)
INBOUND = flow_key(CLIENTS[0], 51515, ADDRESSES["a"][0], ORIGIN)

ORDER = Handoff(
    id=1,
    listener="web",
    client=Endpoint(CLIENTS[0], 51515),
    front=Endpoint(ADDRESSES["b"][0], PORT),
    irs=1,
    iss=2,
    window=3,
    mss=1460,
    client_scale=-1,
    front_scale=-1,
    sack=False,
    tsval=-1,
    front_tsval=-1,
    acked=0,
    request=b"GET / HTTP/1.1\r\n\r\n",
)


def accepted(state: Accept) -> AcceptedFlow:
    """
    A front-end's flow.
    """
    return AcceptedFlow(
        number=1,
        key=KEY,
        back=reversed_key(KEY),
        listener="web",
        irs=1,
        iss=2,
        window=3,
        offered=SynOptions(),
        reader=HttpReader(100),
        started=0.0,
        state=state,
    )


def adopted(state: Adopt) -> AdoptedFlow:
    """
    A back-end's flow.
    """
    return AdoptedFlow(
        peer="b",
        order=ORDER,
        inbound=INBOUND,
        outbound=reversed_key(INBOUND),
        started=0.0,
        state=state,
    )


def reached(table: Table, start: Iterable[Any]) -> set[Any]:
    """
    The states that can follow those, and those.
    """
    known, news = set(start), set(start)
    while news:
        news = {after for state in news for after, _ in table[state].values()} - known
        known |= news
    return known


class TableTests(SynchronousTestCase):
    """
    What holds for both tables.
    """

    def tables(self) -> Iterable[tuple[Table, Any, Any, type, set[Any]]]:
        """
        Table, states, events, who does it, where flows begin.
        """
        yield ACCEPT, Accept, Arrival, Acceptor, {Accept.LISTEN}
        yield ADOPT, Adopt, Progress, Adopter, {Adopt.REPLAYING, Adopt.ADMITTING}

    def test_every_state_has_a_row(self) -> None:
        for table, states, _, _, _ in self.tables():
            self.assertEqual(set(table), set(states))

    def test_every_event_is_known_somewhere(self) -> None:
        for table, _, events, _, _ in self.tables():
            self.assertEqual({event for row in table.values() for event in row}, set(events))

    def test_actions_are_methods(self) -> None:
        for table, _, _, machine, _ in self.tables():
            for row in table.values():
                for _, action in row.values():
                    self.assertTrue(callable(getattr(machine, f"_{action}", None)), action)

    def test_every_state_is_reached(self) -> None:
        for table, states, _, _, start in self.tables():
            self.assertEqual(reached(table, start), set(states))

    def test_every_state_leads_to_closed(self) -> None:
        for table, states, _, _, _ in self.tables():
            for state in states:
                self.assertIn(states.CLOSED, reached(table, {state}))

    def test_closed_is_the_end(self) -> None:
        """
        A flow that is over stays so; a new connection is a new flow.
        """
        for table, states, _, _, _ in self.tables():
            self.assertEqual(reached(table, {states.CLOSED}), {states.CLOSED})

    def test_no_flow_waits_for_ever(self) -> None:
        """
        Each state knows what to do when the time is out, when this node stops, and
        when the peer that has to do with it is lost.
        """
        for table, states, events, _, _ in self.tables():
            for state in set(states) - {Accept.LISTEN}:
                self.assertIn(events.TIMEOUT, table[state])
                self.assertIn(events.STOP, table[state])
        with_node = (Accept.HANDING_OFF, Accept.FORWARDING, Accept.CLOSED)
        for state in with_node:
            self.assertLessEqual({Arrival.NODE_LOST, Arrival.RESPONSE_LOST}, set(ACCEPT[state]))
        for row in ADOPT.values():
            self.assertLessEqual({Progress.FRONT_LOST, Progress.TERMINATED}, set(row))


class UnlistedTests(SynchronousTestCase):
    """
    An event that a state does not list moves a counter and nothing else.
    """

    def test_accept(self) -> None:
        tried = 0
        for state in Accept:
            for event in set(Arrival) - set(ACCEPT[state]):
                script, flow = Script(), accepted(state)
                acceptor = script.core.acceptor
                acceptor.flows.add(flow)
                acceptor.flows.half_open = int(state is Accept.SYN_RECEIVED)
                self.unmoved(script, lambda a=acceptor, f=flow, e=event: a.step(f, e, None))
                self.assertIs(flow.state, state)
                self.assertIs(acceptor.flows.by_key[KEY], flow)
                self.assertEqual(acceptor.flows.half_open, int(state is Accept.SYN_RECEIVED))
                tried += 1
        listed = sum(len(row) for row in ACCEPT.values())
        self.assertEqual(tried + listed, len(Accept) * len(Arrival))

    def test_adopt(self) -> None:
        tried = 0
        for state in Adopt:
            for event in set(Progress) - set(ADOPT[state]):
                script, flow = Script(), adopted(state)
                adopter = script.core.adopter
                adopter.flows.add(flow)
                self.unmoved(script, lambda a=adopter, f=flow, e=event: a.step(f, e, None))
                self.assertIs(flow.state, state)
                self.assertIs(adopter.flows.by_order["b", 1], flow)
                tried += 1
        listed = sum(len(row) for row in ADOPT.values())
        self.assertEqual(tried + listed, len(Adopt) * len(Progress))

    def unmoved(self, script: Script, step: Any) -> None:
        """
        One counter is one more; nothing is to be done.
        """
        actions = script.core.context.begin(script.now)
        before = script.core.counters.copy()
        step()
        self.assertEqual(actions, [])
        self.assertFalse(script.core.context.local)
        self.assertEqual(script.core.deadline(), float("inf"))
        moved = script.core.counters - before
        self.assertEqual(sum(moved.values()), 1)
        (name,) = moved
        self.assertRegex(name, r"^(accept|adopt)\.unexpected\.")
