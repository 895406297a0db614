# SPDX-License-Identifier: MIT
"""
Tests for L{tests.bench.wan}: cells, and how results are shown and kept.
"""

from __future__ import annotations

import json
from pathlib import Path

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from tests.bench import wan_result
from tests.bench.systems import SYSTEMS
from tests.bench.wan_cells import CHOICE, EVERYTHING, Cell
from tests.bench.wan_result import Found, loaded, rows, write

HEAD = {"date": "today", "tree": "abc", "machine": {"busy_before": 0.5}}
CELL = str(Cell(30, "cubic", "1k"))
RESULT = {
    CELL: {
        "direct": Found([0.1, 0.2, 0.3], [], [0]),
        "express": Found([0.2, 0.2, 0.2], [], [1, 2]),
        "nginx": Found([0.2], ["reset"], [0]),
    },
    "another": {"direct": Found([0.1], [], [0])},
}


class CellTests(SynchronousTestCase):
    def test_names(self) -> None:
        cell = Cell(100, "bbr", "10m", loss=1, timestamps=False, upload=True, family=6)
        self.assertEqual(
            str(evolve(cell, way="early", wait=60.0)),
            "100 ms, bbr, 10m, 1 % loss, POST, no timestamps, IPv6, early 60 s",
        )

    def test_no_two_alike(self) -> None:
        for cells in (CHOICE, EVERYTHING):
            self.assertEqual(len({str(each) for each in cells}), len(cells))

    def test_suits(self) -> None:
        """
        The proxies listen on IPv4 alone, and the raw datapath is measured with small objects.
        """
        suited = {
            (family, size): [
                each.name for each in SYSTEMS if Cell(1, "bbr", size, family=family).suits(each)
            ]
            for family in (4, 6)
            for size in ("1k", "10m")
        }
        self.assertIn("nginx", suited[4, "1k"])
        self.assertNotIn("nginx", suited[6, "1k"])
        self.assertIn("raw+replay", suited[6, "1k"])
        self.assertNotIn("raw+replay", suited[4, "10m"])


class ResultTests(SynchronousTestCase):
    def test_rows(self) -> None:
        self.assertEqual(
            list(rows(RESULT))[2:],
            [
                f"| {CELL} | 200 / 300 (1.00) | 200 / 200 (1.00), 3 again | 1 errors |",
                "| another | 100 / 100 (1.00) |  |  |",
            ],
        )

    def test_written_and_loaded(self) -> None:
        """
        The page keeps what is outside the marks, and says that the machine was busy.
        """
        directory = Path(self.mktemp())
        page = directory / "page.md"
        directory.mkdir()
        page.write_text("before\n<!-- wan -->\nold\n<!-- end of wan -->\nafter\n")
        self.patch(wan_result, "OUTPUT", directory)
        self.patch(wan_result, "PAGE", page)
        write(HEAD, RESULT, True)
        text = page.read_text()
        self.assertTrue(text.startswith("before\n") and text.endswith("after\n"))
        self.assertNotIn("old", text)
        self.assertIn("not quiet", text)
        self.assertEqual(loaded(directory / "wan.json"), (HEAD, RESULT))
        self.assertEqual(json.loads((directory / "wan.json").read_text())["tree"], "abc")
