# SPDX-License-Identifier: MIT
"""
Estimate of the number of connections at each node, for policies.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any


class Loads(Mapping[str, float]):
    """
    Node names to numbers of connections: what the node last reported, corrected by what this
    front-end has handed to it or lost since.

    Without the correction, all connections until the next report would go to the node that
    reported the lowest load.

    @ivar held: the number of connections that this front-end has at each node now; the owner
        updates it.
    """

    def __init__(self, held: Mapping[str, int] = MappingProxyType({})) -> None:
        self.held = held
        self._others: dict[str, float] = {}

    def report(self, node: str, load: float) -> None:
        """
        Record a node's report.

        @param load: connections that the node has from all front-ends together.
        """
        self._others[node] = max(load - self.held.get(node, 0), 0.0)

    def forget(self, node: str) -> None:
        """
        Discard a node's report.
        """
        self._others.pop(node, None)

    def __getitem__(self, node: str) -> float:
        return self._others.get(node, 0.0) + self.held.get(node, 0)

    def get(self, node: str, default: Any = None) -> Any:
        """
        Return a node's load, 0 if it is unknown; C{default} is ignored.  Overridden for speed.
        """
        return self._others.get(node, 0.0) + self.held.get(node, 0)

    def __iter__(self) -> Iterator[str]:
        yield from self._others
        yield from (node for node in self.held if node not in self._others)

    def __len__(self) -> int:
        return sum(1 for _ in self)
