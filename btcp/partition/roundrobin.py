# SPDX-License-Identifier: MIT
"""
Each node in turn.
"""

from __future__ import annotations

from operator import add

from attrs import define

from btcp.content.contract import RequestKey
from btcp.partition.contract import ReplicaSet, Standing
from btcp.partition.eligible import PerSet


@define(slots=True)
class _Turns:
    """
    @ivar credits: how much of a turn each node has due, in units of weight.
    """

    nodes: list[str]
    weights: list[float]
    credits: list[float]
    total: float


def _turns(weights: dict[str, float], before: _Turns | None) -> _Turns:
    nodes, total = list(weights), sum(weights.values())
    if before is None or not before.total:
        return _Turns(nodes, list(weights.values()), [0.0] * len(nodes), total)
    # A debt of many turns at the old weights is not to become one of more at the new.
    scale = total / before.total
    credits = dict(zip(before.nodes, before.credits, strict=True))
    # Who was away starts at nothing: it is owed none of what others had meanwhile.
    due = [credits.get(node, 0.0) * scale for node in nodes]
    return _Turns(nodes, list(weights.values()), due, total)


class RoundRobin:
    """
    Each node of a replica set in turn, as often as its weight says and spread evenly
    (nginx's smooth weighted round robin); every replica set counted by itself.

    With whole weights each node has its exact share every time their sum has gone by.
    The counters belong to one front-end and one configuration: it starts with the
    heaviest node of each set, of equals the first.
    """

    def __init__(self) -> None:
        self._sets = PerSet(_turns)

    def order(self, replicas: ReplicaSet, key: RequestKey, standing: Standing) -> list[str]:
        """
        See L{btcp.partition.contract.Policy.order}.
        """
        turns = self._sets.of(replicas, standing)
        nodes = turns.nodes
        if len(nodes) < 2:
            return list(nodes)
        turns.credits = list(map(add, turns.credits, turns.weights))
        first = turns.credits.index(max(turns.credits))
        turns.credits[first] -= turns.total
        return nodes[first:] + nodes[:first]
