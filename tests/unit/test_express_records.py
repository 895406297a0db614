# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.express.records}, by way of what makes them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

from attrs import evolve
from twisted.internet.interfaces import IDelayedCall

from btcp.content.contract import RequestKey
from btcp.control.express import Subject, Word
from btcp.datapath.ebpf import abi
from btcp.express import records
from btcp.express.records import SEEKS
from btcp.express.service import REST, RETRANSMISSION_TIME, SWEEPS
from btcp.handoff import record
from btcp.handoff.actions import Event
from btcp.handoff.messages import Endpoint, Reason
from tests.unit.express_case import CLIENT, FIRST, FRONT, ISS, Made
from tests.unit.test_express_service import A, B, ServiceCase

HEAD = b"GET /a/b?c HTTP/1.1\r\nHost: H.example:80\r\n\r\n"
REQUEST = RequestKey("GET", "h.example", "/a/b")


class RecordCase(ServiceCase):
    """
    Node C{a} is the front-end.
    """

    wanted = "all"

    def setUp(self) -> None:
        super().setUp()
        self.recorder.wanted = self.wanted
        self.express.renew()
        self.pass_time(1.0)
        self.up("b")
        self.made = Made(node=B, used=1.0, acked=9 + ISS + 1 & 0xFFFFFFFF, end=FIRST + 45)

    def pass_time(self, seconds: float) -> None:
        for _ in range(int(seconds / 0.05)):
            self.reactor.advance(0.05)

    def hand(self, *made: Made, head: bytes = HEAD, rule: int = 1) -> None:
        """
        The kernel hands these off.
        """
        for each in made or (self.made,):
            self.tables.install(each.front)
            self.tables.handed_ring.events.append(each.told(head, rule))

    def hear(self, *made: Made, why: Reason = Reason.CLOSED, what: Subject = Subject.ENDED) -> None:
        """
        C{b} says it of these.
        """
        data = b"".join(each.front.done for each in made or (self.made,))
        self.express.said("b", Word(what, data, why))

    def written(self) -> list[tuple[Event, int, object]]:
        """
        @return: of each record the event, the client's port, and the reason.
        """
        self.pass_time(2 * REST)
        found = []
        for note in self.recorder.notes:
            client = note.fields["client"]
            assert isinstance(client, Endpoint)
            found.append((note.event, client.port, note.fields.get("reason")))
        self.recorder.notes.clear()
        return found


class AllTests(RecordCase):
    def test_both(self) -> None:
        """
        The fields of a connection that the core hands off, each in its order.
        """
        replicas, number = next(iter(self.express._decisions._sets.items()))
        self.hand(rule=number)
        self.pass_time(REST)
        [decision] = self.recorder.notes
        request = {
            "client": Endpoint(CLIENT, 1000),
            "front": Endpoint(FRONT, 80),
            "listener": "port 80",
            "request": REQUEST,
            "rule": replicas.rule,
        }
        begun = request | {"node": "b", "adoption": "cookie"}
        fields = begun | {"handoff_seconds": None, "seconds": 0.0}
        self.assertEqual((decision.event, decision.fields), (Event.HANDED_OFF, fields))
        self.tables.install(evolve(self.made, used=1.5).front)
        self.hear()
        self.pass_time(REST)
        ending = self.recorder.notes[1]
        fields = begun | {"seconds": 0.5, "octets_in": 44, "octets_out": 8, "reason": "closed"}
        self.assertEqual((ending.event, ending.fields), (Event.ENDED, fields))
        self.assertEqual(len(self.recorder.notes), 2)
        for note in (decision, ending):
            note.what.format(**note.fields)

    def test_names(self) -> None:
        """
        Those of a connection that the core has.
        """
        flow: Any = Mock(started=0.0, decided=0.0, route=None, discarded=0)
        flow.answer, flow.answer_taken = b"", False
        flow.request.octets = b""
        self.hand()
        self.hear()
        self.pass_time(REST)
        decision, ending = (list(note.fields) for note in self.recorder.notes)
        self.assertEqual(decision, list(record.decision(flow, 0.0)))
        self.assertEqual(ending, list(record.ending(flow, Reason.CLOSED, 0.0)))

    def test_of_this_node(self) -> None:
        """
        Both halves are here; the news of the end comes with that of the beginning.
        """
        made = evolve(self.made, node=A, joined=True)
        self.hand(made)
        self.tables.install(made.outbound)
        self.tables.ring.events.append(made.ending(abi.RESET_BY_SERVER))
        self.express.doRead()
        ended = Event.ENDED, 1000, "reset-by-origin"
        self.assertEqual(self.written(), [(Event.HANDED_OFF, 1000, None), ended])

    def test_head_that_is_no_request(self) -> None:
        """
        One that is cut off, or that the daemon would refuse: nothing is guessed.
        """
        for port, head in ((1, HEAD[:-1]), (2, HEAD.replace(b":", b"")), (3, b"")):
            made = evolve(self.made, port=port)
            self.hand(made, head=head)
            self.hear(made)
            self.pass_time(REST)
            self.assertEqual([note.fields["request"] for note in self.recorder.notes], [None] * 2)
            self.recorder.notes.clear()

    def test_many(self) -> None:
        """
        So many in a turn, in their order, and all before this stops.
        """
        self.patch(records, "PORTION", 2)
        turns: list[Callable[[], None]] = []

        def later(seconds: float, call: Callable[[], None]) -> IDelayedCall:
            turns.append(call)
            made: IDelayedCall = self.reactor.callLater(1e9, call)
            return made

        self.patch(self.express._records, "_later", later)
        made = [evolve(self.made, port=port) for port in range(5)]
        self.hand(*made)
        self.express._records.read()
        self.hear(*made[:2])
        for count in (2, 4):
            turns.pop()()
            self.assertEqual(len(self.recorder.notes), count)
        self.stop()
        right = [(Event.HANDED_OFF, port, None) for port in range(5)]
        self.assertEqual(self.written(), right + [(Event.ENDED, port, "closed") for port in (0, 1)])

    def test_beginning_was_not_told(self) -> None:
        """
        There was no room: all that is known otherwise.
        """
        self.tables.install(self.made.front)
        self.hear()
        self.pass_time(REST)
        [ending] = self.recorder.notes
        known = [ending.fields[name] for name in ("request", "rule", "seconds")]
        self.assertEqual(known, [None, None, None])
        known = [ending.fields[name] for name in ("node", "octets_in", "octets_out", "reason")]
        self.assertEqual(known, ["b", 44, 8, "closed"])
        ending.what.format(**ending.fields)

    def test_of_nobody(self) -> None:
        self.hear()
        self.assertEqual(self.written(), [])

    def test_port_again(self) -> None:
        """
        The route is another connection's: the octets are not known.
        """
        self.hand()
        self.hand(evolve(self.made, iss=7))
        self.hear()
        self.pass_time(REST)
        fields = self.recorder.notes[-1].fields
        known = [fields[name] for name in ("octets_in", "octets_out")]
        self.assertEqual((known, fields["request"]), ([None, None], REQUEST))

    def test_bounds(self) -> None:
        """
        On what is written later, and on what is kept of open connections: what is beyond is
        counted.
        """
        self.patch(records, "MOST_DUE", 2)
        self.patch(records, "UTMOST_DUE", 4)
        made = [evolve(self.made, port=port) for port in range(6)]
        self.hand(*made[:3])
        self.express._records.read()
        self.assertEqual(self.counters["express.unrecorded"], 1)
        self.hear(*made[:3])
        self.assertEqual(self.counters["express.unrecorded"], 2)
        self.assertEqual(len(self.written()), 4)
        self.config = evolve(self.config, limits=evolve(self.config.limits, flows=1))
        self.hand(*made[4:])
        self.assertEqual(self.written(), [(Event.HANDED_OFF, 4, None)])
        self.assertEqual(self.counters["express.unrecorded"], 3)

    def test_after_a_takeover(self) -> None:
        """
        What an earlier daemon handed off has an end.
        """
        self.stop()
        self.tables.install(self.made.front, evolve(self.made, port=2, closing=1).front)
        self.express.startService()
        self.express.peer_lost("b")
        self.assertEqual(self.written(), [(Event.ENDED, 1000, "link-lost")])

    def test_nothing_after_the_end(self) -> None:
        self.hand()
        self.stop()
        self.assertTrue(self.tables.handed_ring.closed)
        self.recorder.notes.clear()
        self.hear()
        self.express.stop()
        self.assertEqual((self.recorder.notes, self.reactor.getDelayedCalls()), ([], []))


class EndTests(RecordCase):
    """
    Whoever ends a connection, and why.
    """

    def assert_ended(self, reason: str | None) -> None:
        """
        @param reason: C{None}: nothing is said of an end.
        """
        ends = [] if reason is None else [(Event.ENDED, 1000, reason)]
        self.assertEqual(self.written(), [(Event.HANDED_OFF, 1000, None), *ends])
        self.assertEqual(self.express._records._open, {})

    def test_as_the_back_end_says(self) -> None:
        self.hand()
        self.hear(why=Reason.IDLE)
        self.assert_ended("idle")

    def test_idle(self) -> None:
        self.hand()
        self.pass_time(101.0 + SWEEPS)
        self.assert_ended("idle")

    def test_stops(self) -> None:
        for joined in (False, True):
            made = evolve(self.made, joined=joined)
            self.hand(made)
            self.tables.install(*[made.outbound] * joined)
            self.express.stop()
            self.assert_ended("stopping")

    def test_shut_down(self) -> None:
        for joined in (False, True):
            made = evolve(self.made, joined=joined)
            self.hand(made)
            self.tables.install(*[made.outbound] * joined)
            self.express.shut_down(Endpoint(CLIENT, 1000))
            self.assert_ended("abandoned")

    def test_back_end_is_lost(self) -> None:
        self.hand()
        self.express.peer_lost("b")
        self.assert_ended("link-lost")

    def lose_unanswered(self) -> Made:
        made = Made(node=B, holds=True)
        self.hand(made)
        self.express.peer_lost("b")
        return made

    def test_lost_and_not_asked_again(self) -> None:
        self.lose_unanswered()
        self.pass_time(RETRANSMISSION_TIME)
        self.assert_ended("link-lost")

    def test_lost_and_asked_again(self) -> None:
        """
        Another node has it; and if its record came before, that is all.
        """
        made = self.lose_unanswered()
        self.hand(evolve(made, node=A))
        self.pass_time(RETRANSMISSION_TIME)
        handed = Event.HANDED_OFF, 1000, None
        self.assertEqual(self.written(), [handed, handed])
        self.hear(made)
        self.assertEqual(self.written(), [(Event.ENDED, 1000, "closed")])

    def test_lost_and_the_core_has_it(self) -> None:
        self.tables.declined.add(self.lose_unanswered().front.done)
        self.pass_time(RETRANSMISSION_TIME)
        self.assert_ended(None)

    def test_given_back_by_the_kernel(self) -> None:
        """
        The core hands it off, and records that; nothing was written yet, or the handoff.
        """
        for read in (False, True):
            self.hand()
            if read:
                self.pass_time(2 * REST)
            self.tables.handed_ring.events.append(self.made.told(kind=abi.HANDED_BACK))
            self.tables.remove([self.made.front.key])
            if read:
                self.assert_ended(None)
            else:
                self.assertEqual(self.written(), [])

    def test_given_back_by_a_node_that_stops(self) -> None:
        self.hand()
        self.hear(what=Subject.BACK)
        refused = Event.REFUSED, 1000, "stopping"
        self.assertEqual(self.written(), [(Event.HANDED_OFF, 1000, None), refused])

    def test_nobody_says(self) -> None:
        """
        The client has used its port again, and whatever was said got lost.
        """
        self.hand()
        self.tables.remove([self.made.front.key])
        self.pass_time(SEEKS)
        self.assertEqual(len(self.written()), 1)
        self.pass_time(2 * SEEKS)
        self.assertEqual(self.written(), [(Event.ENDED, 1000, "abandoned")])

    def test_those_that_are_there_stay(self) -> None:
        self.hand()
        self.tables.install(evolve(self.made, used=1e6).front)
        self.pass_time(3 * SEEKS)
        self.assert_open()

    def test_nobody_says_and_the_core_had_it(self) -> None:
        self.hand()
        self.tables.remove([self.made.front.key])
        self.tables.declined.add(self.made.front.done)
        self.pass_time(3 * SEEKS)
        self.assert_ended(None)

    def assert_open(self) -> None:
        self.assertEqual(self.written(), [(Event.HANDED_OFF, 1000, None)])
        self.assertEqual(list(self.express._records._open), [self.made.front.done])


class ErrorsTests(RecordCase):
    wanted = "errors"

    def test_only_errors(self) -> None:
        """
        With what was asked for, which nobody reads of the others.
        """
        good, bad = (evolve(self.made, port=port) for port in (1, 2))
        self.hand(good, bad)
        self.pass_time(REST)
        kept = self.express._records._open[bad.front.done]
        self.assertEqual(kept.head, HEAD)
        self.hear(good)
        self.hear(bad, why=Reason.RESET_BY_ORIGIN)
        self.pass_time(REST)
        [note] = self.recorder.notes
        self.assertEqual(
            (note.fields["request"], note.fields["reason"]), (REQUEST, "reset-by-origin")
        )
        self.assertEqual(self.express._records._open, {})


class OffTests(RecordCase):
    wanted = "off"

    def test_nothing_is_asked_for(self) -> None:
        self.assertFalse(self.tables.planned.records)
        self.hand()
        self.express.peer_lost("b")
        self.hear()
        self.assertEqual(self.written(), [])
        self.assertEqual(self.express._records._open, {})

    def test_another_configuration(self) -> None:
        """
        What is wanted from now on; of what was, nothing is left.
        """
        self.recorder.wanted = "all"
        self.express.renew()
        self.hand()
        self.assertEqual(self.written(), [(Event.HANDED_OFF, 1000, None)])
        self.assertTrue(self.tables.planned.records)
        self.recorder.wanted = "off"
        self.express.renew()
        self.reactor.advance(0)
        self.assertFalse(self.tables.planned.records)
        self.assertEqual(self.express._records._open, {})
