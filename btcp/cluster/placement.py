# SPDX-License-Identifier: MIT
"""
Placement of requests: applies the partition map and the policy to the current state of the nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from btcp.cluster.loads import Loads
from btcp.content.contract import RequestKey
from btcp.partition.contract import Cyclic, PartitionMap, ReplicaSet, Snapshot


class Placement:
    """
    Ranking of nodes for requests, by the current map, policy, weights and loads.

    @ivar loads: the estimated load of each node.
    @ivar snapshot: the current weights and loads, as passed to policies.
    @ivar changed: called without arguments after C{snapshot}, the map or the policy changed.
    """

    def __init__(
        self, partition: PartitionMap, policy: Cyclic, node: str, weights: Mapping[str, float]
    ) -> None:
        """
        @param node: this node's name; it is always reachable.
        @param weights: the initial weights of all nodes.
        """
        self._partition = partition
        self._policy = policy
        self._weights = dict(weights)
        self.loads = Loads()
        self.changed: Callable[[], None] = lambda: None
        self.snapshot = Snapshot({node: self._weights[node]}, self.loads)
        self._away: dict[str, float] = {}

    def join(self, node: str) -> None:
        """
        Add a node that handoffs can reach from now on.
        """
        self._away.pop(node, None)
        live = {**self.snapshot.live, node: self._weights[node]}
        self.snapshot = Snapshot(live, self.loads)
        self.changed()

    def leave(self, node: str) -> None:
        """
        Remove a node that handoffs cannot reach at present.  Until L{give_up} it is still asked
        for what no other node holds.
        """
        weight = self.snapshot.live.get(node)
        if weight:
            self._away[node] = weight
        live = {name: weight for name, weight in self.snapshot.live.items() if name != node}
        self.loads.forget(node)
        self.snapshot = Snapshot(live, self.loads)
        self.changed()

    def give_up(self, node: str) -> None:
        """
        Stop waiting for a node that handoffs cannot reach.
        """
        self._away.pop(node, None)

    def set_weight(self, node: str, weight: float) -> None:
        """
        Set a node's effective weight; 0 means no new connections.
        """
        self._weights[node] = weight
        if node in self.snapshot.live:
            self.join(node)

    def place(self, key: RequestKey) -> list[str] | None:
        """
        Rank the nodes for a request.

        @return: node names, most preferred first, maybe none; C{None} if the map has no rule
            for the request.
        """
        replicas = self._partition.lookup(key)
        if replicas is None:
            return None
        ranked = self._policy.rank(replicas, key, self.snapshot)
        if ranked or not self._away:
            return ranked
        # Only nodes whose links were lost a moment ago: the handoff waits for the link.
        return self._policy.rank(replicas, key, Snapshot(self._away, self.loads))

    def replace(self, partition: PartitionMap, policy: Cyclic) -> None:
        """
        Replace the partition map and the policy.
        """
        self._partition = partition
        self._policy = policy
        self.changed()

    @property
    def partition(self) -> PartitionMap:
        """
        The current partition map.
        """
        return self._partition

    def cycle(self, replicas: ReplicaSet, most: int) -> list[str]:
        """
        See L{btcp.partition.contract.Cyclic.cycle}.
        """
        return self._policy.cycle(replicas, self.snapshot, most)

    def rule(self, key: RequestKey) -> str | None:
        """
        Return the rule that applies to a request, as text for the access log.
        """
        replicas = self._partition.lookup(key)
        return None if replicas is None else replicas.rule
