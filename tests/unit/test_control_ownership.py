# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.control.ownership}: what nodes say to each other of the flows they share.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.protocols.amp import AmpBox
from twisted.trial.unittest import SynchronousTestCase

from btcp.amp.boxes import serialize
from btcp.control.fields import Malformed
from btcp.control.ownership import MAX_NUMBERS, WhoOwns, parts
from btcp.handoff.reconcile import Owned
from tests.unit.test_control_peers import Network, termination

NUMBERS = st.lists(st.integers(0, 2**64 - 1), max_size=20)


class WireTests(SynchronousTestCase):
    @given(NUMBERS, st.booleans())
    def test_question(self, numbers: list[int], more: bool) -> None:
        box = WhoOwns.makeArguments({"numbers": numbers, "more": more}, None)
        self.assertEqual(WhoOwns.parseArguments(box, None), {"numbers": numbers, "more": more})

    @given(NUMBERS, NUMBERS)
    def test_answer(self, closed: list[int], unknown: list[int]) -> None:
        box = WhoOwns.makeResponse({"closed": closed, "unknown": unknown}, None)
        self.assertEqual(WhoOwns.parseResponse(box, None), {"closed": closed, "unknown": unknown})

    def test_largest(self) -> None:
        """
        A part fits into a box, and the answer to it.
        """
        numbers = [2**64 - 1] * MAX_NUMBERS
        serialize(AmpBox(WhoOwns.makeArguments({"numbers": numbers, "more": True}, None)))
        serialize(AmpBox(WhoOwns.makeResponse({"closed": [], "unknown": numbers}, None)))

    def test_malformed(self) -> None:
        for numbers in (b"1", b"x" * 15):
            box = AmpBox({b"numbers": numbers, b"more": b"0"})
            self.assertRaises(Malformed, WhoOwns.parseArguments, box, None)
        for box in (AmpBox({b"numbers": b""}), AmpBox({b"numbers": b"", b"more": b"2"})):
            self.assertRaises(Malformed, WhoOwns.parseArguments, box, None)


class PartTests(SynchronousTestCase):
    def test_none(self) -> None:
        """
        To have no flows is news as well.
        """
        self.assertEqual(list(parts([])), [([], False)])

    def test_many(self) -> None:
        self.assertEqual(list(parts([1, 2, 3], 3)), [([1, 2, 3], False)])
        self.assertEqual(list(parts([1, 2, 3], 2)), [([1, 2], True), ([3], False)])


class LinkTests(SynchronousTestCase):
    def test_each_way(self) -> None:
        """
        As soon as there is a link, both nodes hear what the other has, and what it lacks.
        """
        network = Network()
        for number, name in enumerate("ab"):
            network.start(name, 1).owner.shared = [10 * number + 1, 10 * number + 2]
        network["b"].owner.known = {2}
        network.settle()
        a, b = network["a"].owner, network["b"].owner
        self.assertEqual(
            sorted(a.heard, key=str),
            [("named", "b", [11, 12], False), ("owned", "b", Owned([], [1]))],
        )
        self.assertEqual(
            sorted(b.heard, key=str),
            [("named", "a", [1, 2], False), ("owned", "a", Owned([], [11, 12]))],
        )

    def test_after_terminations(self) -> None:
        """
        What was given up on purpose is told before, and so is not taken for forgotten.
        """
        network = Network("a", "b")
        network.deaf.add("b")
        network.advance(5)
        network["a"].peers.terminate("b", termination(7))
        b = network["b"].owner
        heard = len(b.heard)
        seen: list[int] = []
        network["a"].owner.shared = [1]
        network.cut()
        original = b.named

        def named(node: str, numbers: list[int], more: bool) -> Owned:
            seen.extend(record.id for _, record in b.ended)
            return original(node, numbers, more)

        b.named = named  # type: ignore[method-assign]
        network.advance(6)
        self.assertEqual(seen, [7])
        self.assertIn(("named", "a", [1], False), b.heard[heard:])
