# SPDX-License-Identifier: MIT
"""
The C{consistent} policy: weighted rendezvous hashing, optionally with bounded loads.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, log

from attrs import define

from btcp.content.contract import RequestKey
from btcp.partition.contract import ReplicaSet, Snapshot
from btcp.partition.eligible import PerSet
from btcp.partition.scatter import BITS, digest, scatter

_PER_CENT = 100


@define(slots=True)
class _Seeds:
    """
    Precomputed values of one replica set.  Lists are in the same order.

    @ivar nodes: node names.
    @ivar seeds: the hash of each node's name.
    @ivar shares: each node's weight divided by the sum of weights.
    @ivar weights: each node's weight, or L{None} if all weights are equal.
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
    Policy that sends the same content to the same node: weighted rendezvous hashing.

    Nodes are ranked by a hash of host, path and node name, scaled by the node's weight.
    All front-ends compute the same ranking without communication.  If a node leaves, only
    its content moves, each item to the next node of its ranking; if a node joins or its
    weight grows, only the content that it takes over moves.

    With a balance factor, nodes whose load has reached the bound are ranked after the others
    (Mirrokni, Thorup, Zadimoghaddam, "Consistent hashing with bounded loads"): requests for
    popular content overflow to the next node of the ranking while the first one is full.
    """

    def __init__(self, balance_factor: int = 0) -> None:
        """
        @param balance_factor: see L{btcp.partition.contract.PolicyChoice}.
        """
        self._factor = balance_factor
        self._sets = PerSet(_seeds)

    def rank(self, replicas: ReplicaSet, key: RequestKey, snapshot: Snapshot) -> list[str]:
        """
        See L{btcp.partition.contract.Policy.rank}.
        """
        seeds = self._sets.of(replicas, snapshot)
        if len(seeds.nodes) < 2:
            return list(seeds.nodes)
        ranking = _ranking(seeds, digest(key.host + key.path))
        if not self._factor:
            return ranking
        return self._bounded(ranking, seeds.shares, snapshot.load)

    def _bounded(
        self, ranking: list[str], shares: Mapping[str, float], load: Mapping[str, float]
    ) -> list[str]:
        loads = [load.get(node, 0.0) for node in ranking]
        # + 1 for the connection that is being placed.
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
        # For exponential variables E(i), E(i) / weight(i) is the minimum with a probability
        # proportional to weight(i); -log of a uniform variable is exponential.  The scores
        # are the negatives, so the maximum wins.
        scores = {
            node: log((number + 1) / (1 << BITS)) / weight
            for node, number, weight in zip(seeds.nodes, numbers, seeds.weights, strict=True)
        }
    return sorted(seeds.nodes, key=scores.__getitem__, reverse=True)
