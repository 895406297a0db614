# SPDX-License-Identifier: MIT
"""
The eligible nodes of a replica set, and a cache of values that policies derive from them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from btcp.partition.contract import ReplicaSet, Snapshot

T = TypeVar("T")


def eligible(replicas: ReplicaSet, snapshot: Snapshot) -> dict[str, float]:
    """
    Select the live nodes of a replica set whose weight is above 0.

    @return: their names and weights, in the order of the rule.
    """
    live = snapshot.live
    return {node: live[node] for node in replicas.nodes if live.get(node, 0.0) > 0.0}


class PerSet(Generic[T]):
    """
    A cache of one value for each replica set, recomputed when the snapshot changes.

    There are as many replica sets as rules, so the cache is bounded by the configuration.
    """

    def __init__(self, make: Callable[[dict[str, float], T | None], T]) -> None:
        """
        @param make: computes the value from the weights of the eligible nodes and from the
            previous value (C{None} the first time).
        """
        self._make = make
        self._kept: dict[ReplicaSet, tuple[Snapshot, T]] = {}

    def of(self, replicas: ReplicaSet, snapshot: Snapshot) -> T:
        """
        Return the value of a replica set, computing it if C{snapshot} is not the one it was
        computed for.
        """
        kept = self._kept.get(replicas)
        if kept is not None and kept[0] is snapshot:
            return kept[1]
        value = self._make(eligible(replicas, snapshot), None if kept is None else kept[1])
        self._kept[replicas] = snapshot, value
        return value
