# SPDX-License-Identifier: MIT
"""
How a node of a replica set is chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from btcp.content.contract import RequestKey
from btcp.partition.contract import Policy, ReplicaSet, Standing


class RoundRobin:
    """
    Each live node of a replica set in turn, every replica set counted by itself.

    The counters belong to one front-end and one configuration: it starts with the
    first node of each set, and its memory is bounded by the number of rules.
    """

    def __init__(self) -> None:
        self._turns: dict[ReplicaSet, int] = {}

    def order(self, replicas: ReplicaSet, key: RequestKey, standing: Standing) -> list[str]:
        """
        See L{btcp.partition.contract.Policy.order}.
        """
        # Only live nodes take turns; else the one after a dead node gets two.
        nodes = [node for node in replicas.nodes if standing.live.get(node)]
        if len(nodes) < 2:
            return nodes
        turn = self._turns.get(replicas, 0)
        self._turns[replicas] = turn + 1
        first = turn % len(nodes)
        return nodes[first:] + nodes[:first]


POLICIES: Mapping[str, Callable[[], Policy]] = MappingProxyType({"round-robin": RoundRobin})
"""
Policies by the name the configuration gives.  A factory is called once for each
configuration that is put into service.
"""
