# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.table}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from btcp.table import describe, flat, printable, table


class TableTests(SynchronousTestCase):
    def test_columns_align(self) -> None:
        rows = [("name", "size"), ("a", 5), ("longer", 1234)]
        self.assertEqual(table(rows), "name    size\na          5\nlonger  1234")

    def test_no_blanks_at_the_end(self) -> None:
        self.assertEqual(table([("a", "long"), ("b", "")]), "a  long\nb")

    def test_text_stays_left(self) -> None:
        self.assertEqual(table([("a", "b"), ("c", "x")]).splitlines()[1], "c  x")


class DescribeTests(SynchronousTestCase):
    def test_flat_joins_keys(self) -> None:
        self.assertEqual(flat({"a": {"b": {"c": 1}}, "d": 2}), {"a.b.c": 1, "d": 2})

    def test_counters(self) -> None:
        self.assertEqual(
            describe("stats", {"flows": {"open": 2}, "node": "a"}),
            "name        value\nflows.open  2\nnode        a",
        )

    def test_list(self) -> None:
        peers = [{"node": "b", "up": True}, {"node": "c", "lost": 1}]
        self.assertEqual(
            describe("all", {"peers": peers}), "node  up    lost\nb     True\nc           1"
        )

    def test_empty_list(self) -> None:
        self.assertEqual(describe("flows", []), "no flows")

    def test_one_value(self) -> None:
        self.assertEqual(describe("flows", 3), "flows 3")


class PrintableTests(SynchronousTestCase):
    """
    Tests for L{printable}.
    """

    def test_text_for_people_is_unchanged(self) -> None:
        text = "naïve – 10 µs\n\tb"
        self.assertEqual(printable(text), text)

    def test_control_characters_are_escaped(self) -> None:
        """
        Neither colours nor titles nor overwritten lines, and no text that runs backwards.
        """
        hostile = "\x1b]0;owned\x07 ok\r\x9b2J\u202egnp"
        self.assertEqual(printable(hostile), r"\x1b]0;owned\x07 ok\r\x9b2J\u202egnp")
