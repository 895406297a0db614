# SPDX-License-Identifier: MIT
"""
The same content to the same node.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, log

from attrs import define

from btcp.content.contract import RequestKey
from btcp.partition.contract import ReplicaSet, Standing
from btcp.partition.eligible import PerSet
from btcp.partition.scatter import BITS, digest, scatter

_PER_CENT = 100


@define(slots=True)
class _Seeds:
    """
    @ivar weights: L{None} if all are equal.
    """

    nodes: list[str]
    seeds: list[int]
    shares: dict[str, float]
    weights: list[float] | None


def _seeds(weights: dict[str, float], before: _Seeds | None) -> _Seeds:
    known = {} if before is None else dict(zip(before.nodes, before.seeds, strict=True))
    total = sum(weights.values())
    return _Seeds(
        list(weights),
        [known[node] if node in known else digest(node) for node in weights],
        {node: weight / total for node, weight in weights.items()},
        list(weights.values()) if len(set(weights.values())) > 1 else None,
    )


class Consistent:
    """
    Weighted rendezvous hashing: host, path and node make a number, and who has the
    largest goes first.

    It is the same on every front-end, without a word between them.  When a node goes,
    what it had moves to the next of each ranking and nothing else moves; when it comes
    or grows, it takes only what becomes its own.

    With a bound, nodes that have their fill go behind the others (Mirrokni, Thorup,
    Zadimoghaddam, "Consistent hashing with bounded loads"): what is in great demand
    spills over to the next of its ranking, and only as long as it is.
    """

    def __init__(self, balance_factor: int = 0) -> None:
        """
        @param balance_factor: as in L{btcp.partition.contract.Choice}.
        """
        self._factor = balance_factor
        self._sets = PerSet(_seeds)

    def order(self, replicas: ReplicaSet, key: RequestKey, standing: Standing) -> list[str]:
        """
        See L{btcp.partition.contract.Policy.order}.
        """
        seeds = self._sets.of(replicas, standing)
        if len(seeds.nodes) < 2:
            return list(seeds.nodes)
        ranking = _ranking(seeds, digest(key.host + key.path))
        if not self._factor:
            return ranking
        return self._bounded(ranking, seeds.shares, standing.load)

    def _bounded(
        self, ranking: list[str], shares: Mapping[str, float], load: Mapping[str, float]
    ) -> list[str]:
        loads = [load.get(node, 0.0) for node in ranking]
        # With the connection that is to be placed.
        room = (sum(loads) + 1) * self._factor / _PER_CENT
        free: list[str] = []
        full: list[str] = []
        for node, has in zip(ranking, loads, strict=True):
            (free if has < ceil(room * shares[node]) else full).append(node)
        return free + full


def _ranking(seeds: _Seeds, content: int) -> list[str]:
    numbers = list(map(scatter, map(content.__xor__, seeds.seeds)))
    scores: dict[str, float]
    if seeds.weights is None:
        scores = dict(zip(seeds.nodes, numbers, strict=True))
    else:
        # An exponential variable over its weight is the least of all with a probability
        # of its share, and the logarithm of a uniform one is such, but for the sign.
        scores = {
            node: log((number + 1) / (1 << BITS)) / weight
            for node, number, weight in zip(seeds.nodes, numbers, seeds.weights, strict=True)
        }
    return sorted(seeds.nodes, key=scores.__getitem__, reverse=True)
