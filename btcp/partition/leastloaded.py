# SPDX-License-Identifier: MIT
"""
The emptier of two.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate

from attrs import define

from btcp.content.contract import RequestKey
from btcp.partition.contract import ReplicaSet, Standing
from btcp.partition.eligible import PerSet
from btcp.partition.scatter import Sequence


@define(slots=True)
class _Shares:
    """
    @ivar edges: the sum of the weights up to and with each node.
    """

    nodes: list[str]
    weights: list[float]
    edges: list[float]

    def at(self, place: float) -> int:
        """
        @return: the node whose share C{place} is in.
        """
        return min(bisect_right(self.edges, place), len(self.nodes) - 1)


def _shares(weights: dict[str, float], before: _Shares | None) -> _Shares:
    return _Shares(list(weights), list(weights.values()), list(accumulate(weights.values())))


class LeastLoaded:
    """
    Two nodes are drawn by their weights, and the one goes first that would have fewer
    connections for its weight.

    Not the emptiest of all: loads are known late, and all front-ends that know the same
    would send everything to one node until they know better (Mitzenmacher, "How useful
    is old information?").  Of two drawn at random the better is nearly as good, and
    costs the same for any number of nodes.
    """

    def __init__(self, seed: str) -> None:
        """
        @param seed: another one on each front-end, or they would draw alike.
        """
        self._draw = Sequence(seed)
        self._sets = PerSet(_shares)

    def order(self, replicas: ReplicaSet, key: RequestKey, standing: Standing) -> list[str]:
        """
        See L{btcp.partition.contract.Policy.order}.
        """
        shares = self._sets.of(replicas, standing)
        nodes, load = shares.nodes, standing.load
        if len(nodes) < 2:
            return list(nodes)
        first, second = self._pair(shares)
        ours, theirs = (
            (load.get(nodes[each], 0.0) + 1) / shares.weights[each] for each in (first, second)
        )
        if theirs < ours:
            first, second = second, first
        chosen = nodes[first], nodes[second]
        rest = nodes[second + 1 :] + nodes[:second]
        rest.remove(chosen[0])
        return [*chosen, *rest]

    def _pair(self, shares: _Shares) -> tuple[int, int]:
        """
        Draw two different nodes, each by its weight among those left.
        """
        total = shares.edges[-1]
        first = shares.at(self._draw.below(total))
        weight = shares.weights[first]
        place = self._draw.below(total - weight)
        if place >= shares.edges[first] - weight:
            place += weight
        second = shares.at(place)
        if second == first:  # sums of floats are not exact
            second = first - 1 if first else 1
        return first, second
