# SPDX-License-Identifier: MIT
"""
Each node in turn.
"""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from math import lcm
from operator import add

from attrs import define

from btcp.content.contract import RequestKey
from btcp.partition.contract import ReplicaSet, Standing
from btcp.partition.eligible import PerSet
from btcp.partition.scatter import digest


@define(slots=True)
class _Turns:
    """
    @ivar credits: how much of a turn each node has due, in units of weight.
    """

    nodes: list[str]
    weights: list[float]
    credits: list[float]
    total: float


def _turns(front: str, weights: dict[str, float], before: _Turns | None) -> _Turns:
    """
    @param front: the name of the front-end.
    """
    nodes, total = _begun(list(weights), front), sum(weights.values())
    due = [0.0] * len(nodes)
    if before is not None and before.total:
        # A debt of many turns at the old weights is not to become one of more at the new.
        scale = total / before.total
        credits = dict(zip(before.nodes, before.credits, strict=True))
        # Who was away starts at nothing: it is owed none of what others had meanwhile.
        due = [credits.get(node, 0.0) * scale for node in nodes]
    return _Turns(nodes, [weights[node] for node in nodes], due, total)


def _begun(nodes: list[str], front: str) -> list[str]:
    if not nodes:
        return nodes
    first = nodes.index(front) if front in nodes else digest(front) % len(nodes)
    return nodes[first:] + nodes[:first]


def _next(turns: _Turns) -> str:
    turns.credits = list(map(add, turns.credits, turns.weights))
    first = turns.credits.index(max(turns.credits))
    turns.credits[first] -= turns.total
    return turns.nodes[first]


def _length(weights: list[float], most: int) -> int:
    """
    @return: turns after which each node has had its share, or about that.
    """
    # Weights grow with time, and have no unit: only their ratios may be rounded.
    largest = max(weights)
    shares = [Fraction(weight / largest).limit_denominator(most) for weight in weights]
    return min(int(sum(shares) * lcm(*(share.denominator for share in shares))), most)


class RoundRobin:
    """
    Each node of a replica set in turn, as often as its weight says and spread evenly
    (nginx's smooth weighted round robin); every replica set counted by itself.

    With whole weights each node has its exact share every time their sum has gone by.
    The counters belong to one front-end and one configuration.  Of equals, a
    front-end begins with itself, or anywhere: each has few requests for a rule of many
    nodes, and if all began with the first, the last would get none.
    """

    def __init__(self, front: str) -> None:
        """
        @param front: the name of the front-end.
        """
        self._sets: PerSet[_Turns] = PerSet(partial(_turns, front))

    def cycle(self, replicas: ReplicaSet, standing: Standing, most: int) -> list[str]:
        """
        See L{btcp.partition.contract.Cyclic.cycle}.
        """
        turns = self._sets.of(replicas, standing)
        if not turns.nodes:
            return []
        fresh = _turns(turns.nodes[0], dict(zip(turns.nodes, turns.weights, strict=True)), None)
        return [_next(fresh) for _ in range(_length(turns.weights, most))]

    def order(self, replicas: ReplicaSet, key: RequestKey, standing: Standing) -> list[str]:
        """
        See L{btcp.partition.contract.Policy.order}.
        """
        turns = self._sets.of(replicas, standing)
        nodes = turns.nodes
        if len(nodes) < 2:
            return list(nodes)
        first = nodes.index(_next(turns))
        return nodes[first:] + nodes[:first]
