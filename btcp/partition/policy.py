# SPDX-License-Identifier: MIT
"""
Registry of the policies, and their selection for each replica set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from btcp.content.contract import RequestKey
from btcp.partition.consistent import Consistent
from btcp.partition.contract import Cyclic, Policy, PolicyChoice, ReplicaSet, Snapshot
from btcp.partition.eligible import eligible
from btcp.partition.leastloaded import LeastLoaded
from btcp.partition.roundrobin import RoundRobin

POLICIES: Mapping[str, Callable[[PolicyChoice, str], Policy]] = MappingProxyType(
    {
        "round-robin": lambda choice, node: RoundRobin(node),
        "least-loaded": lambda choice, node: LeastLoaded(node),
        "consistent": lambda choice, node: Consistent(choice.balance_factor),
    }
)
"""
Policy names as in the configuration, to factories.  A factory takes the configured choice and
the name of the front-end.
"""


class Policies:
    """
    A policy that delegates to the one configured for each replica set, or to the default.

    Replica sets with equal choices share a L{Policy} object.
    """

    def __init__(self, default: PolicyChoice, node: str) -> None:
        """
        @param default: the cluster-wide policy.
        @param node: the name of this front-end.
        """
        self._default = default
        self._node = node
        self._made: dict[PolicyChoice, Policy] = {}

    def rank(self, replicas: ReplicaSet, key: RequestKey, snapshot: Snapshot) -> list[str]:
        """
        See L{btcp.partition.contract.Policy.rank}.
        """
        return self._of(replicas).rank(replicas, key, snapshot)

    def cycle(self, replicas: ReplicaSet, snapshot: Snapshot, most: int) -> list[str]:
        """
        See L{btcp.partition.contract.Cyclic.cycle}.
        """
        policy = self._of(replicas)
        if len(replicas.nodes) == 1:
            return list(eligible(replicas, snapshot))
        return policy.cycle(replicas, snapshot, most) if isinstance(policy, Cyclic) else []

    def _of(self, replicas: ReplicaSet) -> Policy:
        choice = replicas.policy or self._default
        policy = self._made.get(choice)
        if policy is None:
            policy = self._made[choice] = POLICIES[choice.name](choice, self._node)
        return policy
