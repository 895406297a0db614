# SPDX-License-Identifier: MIT
"""
The table of packages in C{docs/architecture.md}, compared with the tree and the import contract.
"""

from __future__ import annotations

import re
from configparser import ConfigParser
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| `btcp/(\w+)(?:/|\.py)` \|", re.MULTILINE)


class PackageTableTests(SynchronousTestCase):
    """
    Tests for the table of packages.
    """

    def setUp(self) -> None:
        self.rows = ROW.findall((ROOT / "docs" / "architecture.md").read_text())

    def test_table_lists_every_package_once(self) -> None:
        """
        Every package and loose module of C{btcp} has one row.
        """
        tree = {
            path.stem
            for path in (ROOT / "btcp").iterdir()
            if path.suffix == ".py" or (path / "__init__.py").exists()
        }
        self.assertEqual(sorted(self.rows), sorted(tree - {"__init__"}))

    def test_table_follows_the_import_contract(self) -> None:
        """
        The rows are in the order of the layers that the import linter enforces.
        """
        parser = ConfigParser()
        parser.read(ROOT / "setup.cfg")
        layers = parser["importlinter:contract:layers"]["layers"].split("\n")
        rank = {
            package.strip().removeprefix("btcp."): place
            for place, layer in enumerate(layers)
            for package in layer.split("|")
            if package.strip()
        }
        self.assertEqual(sorted(rank), sorted(self.rows))
        places = [rank[name] for name in self.rows]
        self.assertEqual(places, sorted(places))
