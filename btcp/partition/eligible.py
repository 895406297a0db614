# SPDX-License-Identifier: MIT
"""
The nodes of a replica set that may be chosen, worked out once for each standing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from btcp.partition.contract import ReplicaSet, Standing

T = TypeVar("T")


def eligible(replicas: ReplicaSet, standing: Standing) -> dict[str, float]:
    """
    @return: the nodes to choose from, in the order of the rule, and their weights.
    """
    live = standing.live
    return {node: live[node] for node in replicas.nodes if live.get(node, 0.0) > 0.0}


class PerSet(Generic[T]):
    """
    What a policy keeps for each replica set.  There are as many as rules.
    """

    def __init__(self, make: Callable[[dict[str, float], T | None], T]) -> None:
        """
        @param make: what to keep for some nodes with these weights, given what was
            kept before they changed.
        """
        self._make = make
        self._kept: dict[ReplicaSet, tuple[Standing, T]] = {}

    def of(self, replicas: ReplicaSet, standing: Standing) -> T:
        """
        @return: what is kept for C{replicas}.
        """
        kept = self._kept.get(replicas)
        if kept is not None and kept[0] is standing:
            return kept[1]
        value = self._make(eligible(replicas, standing), None if kept is None else kept[1])
        self._kept[replicas] = standing, value
        return value
