# SPDX-License-Identifier: MIT
"""
How many connections each node has to answer, as far as one front-end knows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any


class Loads(Mapping[str, float]):
    """
    What each node last reported, corrected by what this front-end gave it since.

    A report alone is old: until the next one, everything would go to the node that was
    the emptiest.

    @ivar held: how many connections this front-end has at each node now; the owner
        keeps it.
    """

    def __init__(self, held: Mapping[str, int] = MappingProxyType({})) -> None:
        self.held = held
        self._others: dict[str, float] = {}

    def report(self, node: str, load: float) -> None:
        """
        A node says how many connections it has, those of all front-ends together.
        """
        self._others[node] = max(load - self.held.get(node, 0), 0.0)

    def forget(self, node: str) -> None:
        """
        What a node said counts no more.
        """
        self._others.pop(node, None)

    def __getitem__(self, node: str) -> float:
        return self._others.get(node, 0.0) + self.held.get(node, 0)

    def get(self, node: str, default: Any = None) -> Any:
        """
        As in any mapping, but every node is in this one; faster than what is inherited.
        """
        return self._others.get(node, 0.0) + self.held.get(node, 0)

    def __iter__(self) -> Iterator[str]:
        yield from self._others
        yield from (node for node in self.held if node not in self._others)

    def __len__(self) -> int:
        return sum(1 for _ in self)
