# SPDX-License-Identifier: MIT
"""
The C{round-robin} policy: smooth weighted round robin.
"""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from math import fsum, lcm
from operator import add

from attrs import define

from btcp.content.contract import RequestKey
from btcp.partition.contract import ReplicaSet, Snapshot
from btcp.partition.eligible import PerSet
from btcp.partition.scatter import digest


@define(slots=True)
class _Turns:
    """
    Round-robin state of one replica set.  Lists are in the same order.

    @ivar nodes: node names, beginning with the one that wins ties.
    @ivar weights: the weight of each node.
    @ivar credits: the current credit of each node (nginx: C{current_weight}), in units of
        weight.
    @ivar total: the sum of C{weights}.
    """

    nodes: list[str]
    weights: list[float]
    credits: list[float]
    total: float


def _turns(front: str, weights: dict[str, float], before: _Turns | None) -> _Turns:
    """
    Make the state for new weights, with the credits of nodes that were in the old one.

    @param front: the name of the front-end.
    """
    nodes = _begun(list(weights), front)
    # Unlike sum(), independent of the order of the nodes, which differs between callers.
    total = fsum(weights.values())
    due = [0.0] * len(nodes)
    if before is not None and before.total:
        # Credits scale with the weights, lest a debt of some turns becomes one of many turns.
        scale = total / before.total
        credits = dict(zip(before.nodes, before.credits, strict=True))
        # A node that was not live starts at 0: it gets no compensation for its absence.
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
    Compute the length of the schedule: after that many turns each node has had its share,
    exactly or, if that takes more than C{most} turns, approximately.
    """
    # Weights have no unit (slow start changes them continuously), so only ratios are rounded.
    largest = max(weights)
    shares = [Fraction(weight / largest).limit_denominator(most) for weight in weights]
    return min(int(sum(shares) * lcm(*(share.denominator for share in shares))), most)


class RoundRobin:
    """
    Policy that takes the nodes in turn, in proportion to their weights and evenly spread
    (nginx's smooth weighted round robin).  Each replica set has its own state.

    With integer weights, every node has its exact share after each sum of the weights.
    The state is local to a front-end and lost at a reload.  Ties are won by the front-end
    itself, or by a node that depends on the front-end's name: a front-end may get few
    requests for a rule of many nodes, and if all front-ends began with the first node, the
    last ones would get none.
    """

    def __init__(self, front: str) -> None:
        """
        @param front: the name of the front-end.
        """
        self._sets: PerSet[_Turns] = PerSet(partial(_turns, front))

    def cycle(self, replicas: ReplicaSet, snapshot: Snapshot, most: int) -> list[str]:
        """
        See L{btcp.partition.contract.Cyclic.cycle}.
        """
        turns = self._sets.of(replicas, snapshot)
        if not turns.nodes:
            return []
        fresh = _turns(turns.nodes[0], dict(zip(turns.nodes, turns.weights, strict=True)), None)
        return [_next(fresh) for _ in range(_length(turns.weights, most))]

    def rank(self, replicas: ReplicaSet, key: RequestKey, snapshot: Snapshot) -> list[str]:
        """
        See L{btcp.partition.contract.Policy.rank}.
        """
        turns = self._sets.of(replicas, snapshot)
        nodes = turns.nodes
        if len(nodes) < 2:
            return list(nodes)
        first = nodes.index(_next(turns))
        return nodes[first:] + nodes[:first]
