# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.express.entries} and L{btcp.express.endings}.
"""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from btcp.datapath.ebpf import abi
from btcp.express.endings import Graveyard, by_front, of_back_end
from btcp.express.entries import Entry, reset_client, reset_server
from btcp.handoff.actions import Action, Deliver, Transmit
from btcp.handoff.messages import Endpoint, Reason
from btcp.wire.segment import RST, Segment, reversed_key
from tests.unit.express_case import CLIENT, FIRST, FRONT, ISS, FakeTables, Made

MADE = Made(node=5, lease=3)
HERE = Made(joined=True)


class EntryTests(SynchronousTestCase):
    """
    Tests for L{Entry}.
    """

    def test_what_it_is(self) -> None:
        for entry, front, to_client, joined, number in (
            (MADE.front, True, False, False, 5),
            (MADE.inbound, False, False, False, 3),
            (MADE.outbound, False, True, False, 3),
            (HERE.front, True, False, True, 2),
            (HERE.outbound, False, True, True, 0),
        ):
            self.assertEqual(
                (entry.front, entry.to_client, entry.joined, entry.node),
                (front, to_client, joined, number),
            )
            self.assertTrue(abi.is_express(entry.packed))

    def test_names(self) -> None:
        """
        What one end calls a connection, the other is told.
        """
        for made in (MADE, HERE):
            self.assertEqual(made.outbound.told, made.front.done)
            self.assertEqual(made.front.told, made.inbound.done)
            self.assertEqual(made.ending()[:44], made.outbound.done)
            self.assertEqual(made.ending()[44:88], made.front.done)
            self.assertEqual(abi.DONE.unpack(made.front.done)[1:], (ISS, FIRST))

    def test_ends(self) -> None:
        for made in (MADE, HERE):
            client, listener = Endpoint(CLIENT, 1000), Endpoint(FRONT, 80)
            self.assertEqual({each.client for each in (made.front, made.outbound)}, {client})
            self.assertEqual({each.listener for each in (made.front, made.outbound)}, {listener})
            self.assertEqual((made.inbound.client, made.outbound.origin), (client, 8080))

    def test_states(self) -> None:
        """
        As the core calls them; a front-end does not follow the end.
        """
        for closing, front, back in (
            (0, "FORWARDING", "SPLICED"),
            (1, "FORWARDING", "CLOSING"),
            (abi.OVER, "CLOSED", "CLOSED"),
        ):
            made = evolve(MADE, closing=closing)
            self.assertEqual((made.front.state, made.outbound.state), (front, back))

    def test_opposite(self) -> None:
        self.assertEqual(MADE.outbound.opposite, MADE.inbound.key)
        self.assertEqual(MADE.inbound.opposite, MADE.outbound.key)
        self.assertEqual(HERE.outbound.opposite, HERE.front.key)
        self.assertEqual(HERE.front.opposite, HERE.outbound.key)

    def test_closing(self) -> None:
        """
        And it is over once that was reported.
        """
        for closing, over in ((0, False), (1, False), (abi.OVER, True)):
            entry = evolve(MADE, closing=closing).front
            self.assertEqual((entry.closing, entry.over), (closing > 0, over))

    def test_holds(self) -> None:
        for holds in (False, True):
            made = evolve(MADE, holds=holds)
            self.assertEqual((made.front.holds, made.outbound.holds), (holds, holds))
            self.assertFalse(made.inbound.holds)

    def test_unanswered(self) -> None:
        """
        The number after the last is 0.
        """
        self.assertTrue(MADE.front.unanswered)
        self.assertFalse(evolve(MADE, acked=1).front.unanswered)

    def test_octets(self) -> None:
        """
        Of the client and to it, over the end of the numbers; the FINs are none.
        """
        made = evolve(MADE, acked=8, end=FIRST + 40)
        self.assertEqual(made.front.octets(closed=False), (40, 8))
        self.assertEqual(made.front.octets(closed=True), (39, 7))
        self.assertEqual(made.front.used, made.used)

    def test_not_of_the_core(self) -> None:
        """
        A route of the core has nothing of all this.
        """
        packed = abi.pack_route(MADE.front.route, 7)
        self.assertFalse(abi.is_express(packed))
        entry = Entry(MADE.front.key, packed)
        self.assertEqual((entry.front, entry.joined, entry.node), (False, False, 7))

    def test_as_the_core_would_have_it(self) -> None:
        route = MADE.front.route
        assert route.rewriter is not None
        self.assertEqual((route.key, route.rewriter.splice.new), (MADE.request, MADE.forwarded))
        self.assertEqual((route.ack, route.end, route.used), (0, 600, 1.0))
        self.assertIsNone(MADE.inbound.route.rewriter)


def segments(actions: list[Action], kind: type[Deliver] | type[Transmit]) -> list[Segment]:
    found = [action.segment for action in actions if isinstance(action, kind)]
    assert len(found) == len(actions)
    return found


class ResetTests(SynchronousTestCase):
    """
    Tests for L{reset_client} and L{reset_server}.
    """

    def assert_resets(self, found: list[Segment], key: bytes, *numbers: int) -> None:
        self.assertEqual([(one.key, one.seq) for one in found], [(key, n) for n in numbers])
        self.assertEqual({one.flags for one in found}, {RST})

    def test_client_by_its_front_end(self) -> None:
        made = evolve(MADE, acked=77)
        found = segments(reset_client(made.front, None), Transmit)
        self.assert_resets(found, reversed_key(made.request), 77)

    def test_client_by_the_back_end(self) -> None:
        """
        With both numbers that it may expect.
        """
        made = evolve(MADE, acked=77)
        found = segments(reset_client(made.outbound, made.inbound.route), Transmit)
        self.assert_resets(found, made.response, 77, 4000)
        found = segments(reset_client(made.outbound, None), Transmit)
        self.assert_resets(found, made.response, 4000)
        made = evolve(MADE, acked=4000)
        found = segments(reset_client(made.outbound, made.inbound.route), Transmit)
        self.assert_resets(found, made.response, 4000)

    def test_server(self) -> None:
        found = segments(reset_server(MADE.outbound), Deliver)
        self.assert_resets(found, MADE.forwarded, 600)


class EndingTests(SynchronousTestCase):
    def test_sorted_out(self) -> None:
        made = [
            evolve(MADE, port=port, lease=lease)
            for port, lease in ((1, 3), (2, 255), (3, 3), (4, 3))
        ]
        whys = (abi.BOTH_CLOSED,) * 3 + (abi.RESET_BY_SERVER,)
        endings = [each.ending(why) for each, why in zip(made, whys, strict=True)]
        first, second, third, reset = (each.front.done for each in made)
        sorted_out = {
            (3, Reason.CLOSED): [first, third],
            (255, Reason.CLOSED): [second],
            (3, Reason.RESET_BY_ORIGIN): [reset],
        }
        self.assertEqual(by_front(endings), sorted_out)
        self.assertEqual(of_back_end(endings), b"".join(each.outbound.done for each in made))
        self.assertEqual((by_front([]), of_back_end([])), ({}, b""))

    def test_graveyard(self) -> None:
        """
        Each kind at once, when the time has come.
        """
        tables, now = FakeTables(), [0.0]
        graveyard = Graveyard(tables.faked, lambda: now[0])
        for at, done, both in ((0.0, b"a", False), (1.0, b"b", True), (1.5, b"c", False)):
            now[0] = at
            graveyard.bury(done, 2.0, both)
        graveyard.tick()
        self.assertEqual(tables.reaped, [])
        now[0] = 3.5
        graveyard.tick()
        self.assertEqual(tables.reaped, [(b"ac", False), (b"b", True)])
        graveyard.tick()
        self.assertEqual(len(tables.reaped), 2)
