# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.datapath.raw.guard}.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from btcp.datapath.interface import DatapathError
from btcp.datapath.raw import guard
from btcp.datapath.raw.guard import Guard, nft
from tests.simulation.cluster import packed

FOUR, OTHER, SIX = packed("192.0.2.11"), packed("192.0.2.100"), packed("2001:db8:2::11")


class FakeFilter:
    """
    A packet filter of which only the names of tables count.

    @ivar scripts: what it was told.
    """

    def __init__(self, tables: str = "") -> None:
        self.tables = tables
        self.scripts: list[str] = []

    def __call__(self, script: str) -> str:
        self.scripts.append(script)
        return self.tables if script.startswith("list") else ""


class RulesTests(SynchronousTestCase):
    """
    The text of the table.
    """

    def elements(self, rules: str) -> dict[str, str | None]:
        """
        What each set holds; C{None} if nothing.
        """
        found: dict[str, str | None] = {}
        for name, body in re.findall(r"set (\w+) \{ type [^;]+; ?(.*) \}", rules):
            match = re.fullmatch(r"elements = \{ (.+) \}", body)
            found[name] = match[1] if match else None
            self.assertTrue(match or not body, body)
        return found

    def test_both_versions(self) -> None:
        made = Guard(
            "eth0", "tap9", [(FOUR, 80), (SIX, 80), (OTHER, 443)], [(FOUR, 8080), (SIX, 8080)]
        )
        expected = {
            "listeners4": "192.0.2.11 . 80, 192.0.2.100 . 443",
            "listeners6": "2001:db8:2::11 . 80",
            "origins4": "192.0.2.11 . 8080",
            "origins6": "2001:db8:2::11 . 8080",
            "fronts4": "192.0.2.11, 192.0.2.100",
            "fronts6": "2001:db8:2::11",
        }
        self.assertEqual(self.elements(made.rules()), expected)

    def test_one_version(self) -> None:
        """
        A set without elements says nothing of elements: nft takes no empty list.
        """
        elements = self.elements(Guard("eth0", "tap9", [(FOUR, 80)], [(FOUR, 8080)]).rules())
        self.assertEqual(
            {name for name, held in elements.items() if held}, {"listeners4", "origins4", "fronts4"}
        )
        self.assertEqual(len(elements), 6)
        elements = self.elements(Guard("eth0", "tap9", [(SIX, 80)], [(SIX, 8080)]).rules())
        self.assertEqual(
            {name for name, held in elements.items() if held}, {"listeners6", "origins6", "fronts6"}
        )

    def test_nothing(self) -> None:
        elements = self.elements(Guard("eth0", "tap9", [], []).rules())
        self.assertEqual(set(elements.values()), {None})

    def test_the_same_end_twice(self) -> None:
        made = Guard("eth0", "tap9", [(FOUR, 80), (FOUR, 80)], [])
        self.assertEqual(self.elements(made.rules())["listeners4"], "192.0.2.11 . 80")

    def test_braces_match(self) -> None:
        rules = Guard("eth0", "tap9", [(FOUR, 80)], [(SIX, 8080)]).rules()
        self.assertEqual(rules.count("{"), rules.count("}"))
        self.assertNotIn("{{", rules)

    def test_devices(self) -> None:
        rules = Guard("ens3", "tap9", [(FOUR, 80)], []).rules()
        self.assertEqual(set(re.findall(r'device "(\w+)"', rules)), {"ens3"})
        self.assertEqual(set(re.findall(r'fwd to "(\w+)"', rules)), {"tap9"})

    def test_our_own_packets_pass_first(self) -> None:
        """
        Else they would come back to us for ever.
        """
        egress = Guard("eth0", "tap9", [], []).rules().partition("chain egress")[2]
        self.assertIn(f"meta mark {guard.MARK} accept", egress.strip().splitlines()[2])

    def test_replaces_what_is_there_at_once(self) -> None:
        """
        In one transaction: there is no moment without a guard.
        """
        lines = Guard("eth0", "tap9", [], []).rules().splitlines()
        self.assertEqual(lines[0], "add table netdev btcp")
        self.assertEqual(lines[1], "delete table netdev btcp")
        self.assertEqual(lines[2], "table netdev btcp {")


class GuardTests(SynchronousTestCase):
    """
    Up and down.
    """

    def test_set_up_and_taken_down(self) -> None:
        told = FakeFilter()
        made = Guard("eth0", "tap9", [(FOUR, 80)], [], told, lambda device: 1)
        made.set_up()
        self.assertIn(made.rules(), told.scripts)
        others = [script for script in told.scripts if script != made.rules()]
        self.assertFalse(any("delete" in script for script in others))
        made.take_down()
        self.assertEqual(told.scripts[-1], "add table netdev btcp\ndelete table netdev btcp\n")

    def test_verified(self) -> None:
        """
        The rules are listed only after a change of the host's rules or of its device, and the
        table is made again only if it differs.
        """
        told, state = FakeFilter("table netdev btcp"), [1]
        made = Guard("eth0", "tap9", [(FOUR, 80)], [], told, lambda device: tuple(state))
        made.set_up()
        told.scripts.clear()
        self.assertEqual(made.verify(), [])
        self.assertEqual(told.scripts, [])
        state[0] = 2
        self.assertEqual(made.verify(), [])
        self.assertEqual(told.scripts, ["list table netdev btcp\n"])
        told.tables, state[0] = "", 3
        self.assertEqual([each.part for each in made.verify()], ["table"])
        self.assertIn(made.rules(), told.scripts)

    def test_left_over(self) -> None:
        told = FakeFilter("table inet filter\ntable netdev btcp\n")
        Guard("eth0", "tap9", [], [], told).clear()
        self.assertEqual(len(told.scripts), 2)
        self.assertIn("delete table netdev btcp", told.scripts[1])

    def test_tables_of_others(self) -> None:
        told = FakeFilter("table inet btcp\ntable netdev btcp2\n")
        Guard("eth0", "tap9", [], [], told).clear()
        self.assertEqual(len(told.scripts), 1)


class NftTests(SynchronousTestCase):
    """
    How the program is run: another one by its name, here.
    """

    def install(self, script: str) -> None:
        """
        Have this for C{nft}, and nothing else in the path.
        """
        directory = Path(self.mktemp())
        directory.mkdir()
        if script:
            program = directory / "nft"
            program.write_text(f"#!/bin/sh\n{script}\n")
            program.chmod(0o755)
        self.patch(os, "environ", {"PATH": str(directory)})

    def test_output(self) -> None:
        self.install('echo "$@"; while read line; do echo "got $line"; done')
        self.assertEqual(nft("a\nb\n"), "-f -\ngot a\ngot b\n")

    def test_refusal(self) -> None:
        """
        The first line of what it says is why.
        """
        self.install("echo 'Error: no such device' >&2; echo more >&2; exit 1")
        raised = self.assertRaises(DatapathError, nft, "")
        self.assertEqual(str(raised), "nft refused the table of btcp: Error: no such device")

    def test_refusal_without_a_word(self) -> None:
        self.install("exit 1")
        raised = self.assertRaises(DatapathError, nft, "")
        self.assertEqual(str(raised), "nft refused the table of btcp: no reason given")

    def test_missing(self) -> None:
        self.install("")
        raised = self.assertRaises(DatapathError, nft, "")
        self.assertIn("install nftables", str(raised))
