# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.datapath.choice}, on hosts that lack this or that.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from btcp.datapath import choice
from btcp.datapath.choice import Choice, decide
from btcp.datapath.interface import DatapathError


class DecideTests(SynchronousTestCase):
    """
    Tests for L{decide}.
    """

    def host(self, *lacks: str) -> None:
        """
        @param lacks: of C{programs}, C{adoption} and C{tables}, what it cannot do.
        """
        self.probed: list[str] = []

        def probe(what: str) -> None:
            self.probed.append(what)
            if what in lacks:
                raise DatapathError(f"no {what}")

        for what in ("programs", "adoption", "tables"):
            module: Any = getattr(choice, what)
            self.patch(module, "probe", lambda what=what: probe(what))

    def test_can_all(self) -> None:
        self.host()
        self.assertEqual(decide("auto", "auto"), Choice(True, True, False))
        self.assertEqual(self.probed, ["programs", "adoption"])
        self.assertEqual(decide("auto", "auto", express=True), Choice(True, True, True))
        self.assertEqual(self.probed[2:], ["programs", "adoption", "tables"])

    def test_falls_back(self) -> None:
        self.host("adoption")
        self.assertEqual(decide("auto", "auto"), Choice(True, False, False))
        self.host("programs")
        self.assertEqual(decide("auto", "auto"), Choice(False, False, False))

    def test_express_does_not(self) -> None:
        """
        Who asks for it gets it, or hears why not.
        """
        for lacks, why in (
            ("programs", "needs datapath ebpf"),
            ("adoption", "needs datapath ebpf and adoption cookie"),
            ("tables", "no tables"),
        ):
            self.host(lacks)
            error = self.assertRaises(DatapathError, decide, "auto", "auto", express=True)
            self.assertIn(why, str(error))

    def test_nobody_asks_for_it(self) -> None:
        self.host("tables")
        self.assertEqual(decide("ebpf", "cookie"), Choice(True, True, False))
