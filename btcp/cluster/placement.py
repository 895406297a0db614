# SPDX-License-Identifier: MIT
"""
From a request to the nodes to ask: the partition map, the policy, and how the nodes are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from btcp.cluster.loads import Loads
from btcp.content.contract import RequestKey
from btcp.partition.contract import Cyclic, PartitionMap, ReplicaSet, Snapshot


class Placement:
    """
    @ivar loads: of all nodes.
    @ivar snapshot: the present one.
    @ivar changed: called when it is another, and when the rules are others.
    """

    def __init__(
        self, partition: PartitionMap, policy: Cyclic, node: str, weights: Mapping[str, float]
    ) -> None:
        """
        @param node: this node's name; a handoff always reaches it.
        @param weights: of all nodes, as configured.
        """
        self._partition = partition
        self._policy = policy
        self._weights = dict(weights)
        self.loads = Loads()
        self.changed: Callable[[], None] = lambda: None
        self.snapshot = Snapshot({node: self._weights[node]}, self.loads)

    def join(self, node: str) -> None:
        """
        A handoff can reach C{node}.
        """
        live = {**self.snapshot.live, node: self._weights[node]}
        self.snapshot = Snapshot(live, self.loads)
        self.changed()

    def leave(self, node: str) -> None:
        """
        No handoff can reach C{node}.
        """
        live = {name: weight for name, weight in self.snapshot.live.items() if name != node}
        self.loads.forget(node)
        self.snapshot = Snapshot(live, self.loads)
        self.changed()

    def weigh(self, node: str, weight: float) -> None:
        """
        A node's weight is another now; 0: it gets nothing new.
        """
        self._weights[node] = weight
        if node in self.snapshot.live:
            self.join(node)

    def place(self, key: RequestKey) -> list[str] | None:
        """
        @return: the nodes that should answer, best first; C{None} if none holds
            what is asked for.
        """
        replicas = self._partition.lookup(key)
        return None if replicas is None else self._policy.rank(replicas, key, self.snapshot)

    def replace(self, partition: PartitionMap, policy: Cyclic) -> None:
        """
        Place by other rules from now on.
        """
        self._partition = partition
        self._policy = policy
        self.changed()

    @property
    def partition(self) -> PartitionMap:
        """
        Who holds what.
        """
        return self._partition

    def cycle(self, replicas: ReplicaSet, most: int) -> list[str]:
        """
        See L{btcp.partition.contract.Cyclic.cycle}.
        """
        return self._policy.cycle(replicas, self.snapshot, most)

    def rule(self, key: RequestKey) -> str | None:
        """
        @return: what assigns a request to its nodes, for the record.
        """
        replicas = self._partition.lookup(key)
        return None if replicas is None else replicas.rule
