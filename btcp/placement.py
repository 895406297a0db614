# SPDX-License-Identifier: MIT
"""
From a request to the nodes to ask: the partition map, the policy, and who is up.
"""

from __future__ import annotations

from btcp.content.contract import RequestKey
from btcp.partition.contract import PartitionMap, Policy


class Placement:
    """
    @ivar live: the nodes a handoff can reach, this one included; the owner keeps it.
    """

    def __init__(self, partition: PartitionMap, policy: Policy, node: str) -> None:
        self._partition = partition
        self._policy = policy
        self.live = {node}

    def place(self, key: RequestKey) -> list[str] | None:
        """
        @return: the nodes that should answer, best first; C{None} if none holds
            what is asked for.
        """
        replicas = self._partition.lookup(key)
        return None if replicas is None else self._policy.order(replicas, self.live)

    def replace(self, partition: PartitionMap, policy: Policy) -> None:
        """
        Place by other rules from now on.
        """
        self._partition = partition
        self._policy = policy

    def rule(self, key: RequestKey) -> str | None:
        """
        @return: what assigns a request to its nodes, for the record.
        """
        replicas = self._partition.lookup(key)
        return None if replicas is None else replicas.rule
