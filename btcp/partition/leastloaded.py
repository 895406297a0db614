# SPDX-License-Identifier: MIT
"""
The C{least-loaded} policy: the better of two nodes drawn at random.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate

from attrs import define

from btcp.content.contract import RequestKey
from btcp.partition.contract import ReplicaSet, Snapshot
from btcp.partition.eligible import PerSet
from btcp.partition.scatter import SplitMix64


@define(slots=True)
class _Shares:
    """
    The weights of one replica set, prepared for weighted random draws.

    @ivar nodes: node names.
    @ivar weights: the weight of each node.
    @ivar edges: the cumulative sum of C{weights}.
    """

    nodes: list[str]
    weights: list[float]
    edges: list[float]

    def at(self, place: float) -> int:
        """
        Find the node whose interval contains a point.

        @param place: at least 0 and less than the sum of the weights.
        @return: an index into C{nodes}.
        """
        return min(bisect_right(self.edges, place), len(self.nodes) - 1)


def _shares(weights: dict[str, float], before: _Shares | None) -> _Shares:
    return _Shares(list(weights), list(weights.values()), list(accumulate(weights.values())))


class LeastLoaded:
    """
    Policy that draws two nodes by weight and prefers the one with fewer connections per
    weight, counting the new connection.

    It does not choose the least loaded node of all: load reports arrive late, so all
    front-ends would send everything to the same node until the next report (Mitzenmacher,
    "How useful is old information?").  The better of two random nodes is nearly as good,
    and the cost does not depend on the number of nodes.
    """

    def __init__(self, seed: str) -> None:
        """
        @param seed: has to differ between front-ends, lest they draw the same nodes.
        """
        self._draw = SplitMix64(seed)
        self._sets = PerSet(_shares)

    def rank(self, replicas: ReplicaSet, key: RequestKey, snapshot: Snapshot) -> list[str]:
        """
        See L{btcp.partition.contract.Policy.rank}.
        """
        shares = self._sets.of(replicas, snapshot)
        nodes, load = shares.nodes, snapshot.load
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
        Draw two different nodes by weight, without replacement.

        @return: their indices.
        """
        total = shares.edges[-1]
        first = shares.at(self._draw.below(total))
        weight = shares.weights[first]
        place = self._draw.below(total - weight)
        if place >= shares.edges[first] - weight:
            place += weight
        second = shares.at(place)
        if second == first:  # possible because sums of floats are rounded
            second = first - 1 if first else 1
        return first, second
