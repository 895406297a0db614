# SPDX-License-Identifier: MIT
"""
How a node of a replica set is chosen: all the ways there are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from btcp.content.contract import RequestKey
from btcp.partition.consistent import Consistent
from btcp.partition.contract import Choice, Cyclic, Policy, ReplicaSet, Standing
from btcp.partition.eligible import eligible
from btcp.partition.leastloaded import LeastLoaded
from btcp.partition.roundrobin import RoundRobin

POLICIES: Mapping[str, Callable[[Choice, str], Policy]] = MappingProxyType(
    {
        "round-robin": lambda choice, node: RoundRobin(node),
        "least-loaded": lambda choice, node: LeastLoaded(node),
        "consistent": lambda choice, node: Consistent(choice.balance_factor),
    }
)
"""
Policies by the name the configuration gives: what makes one, of what was chosen and
the name of the front-end.
"""


class Policies:
    """
    For each replica set its own L{Policy}, or the one for all others.
    """

    def __init__(self, default: Choice, node: str) -> None:
        """
        @param node: the name of the front-end that chooses.
        """
        self._default = default
        self._node = node
        self._made: dict[Choice, Policy] = {}

    def order(self, replicas: ReplicaSet, key: RequestKey, standing: Standing) -> list[str]:
        """
        See L{btcp.partition.contract.Policy.order}.
        """
        return self._of(replicas).order(replicas, key, standing)

    def cycle(self, replicas: ReplicaSet, standing: Standing, most: int) -> list[str]:
        """
        See L{btcp.partition.contract.Cyclic.cycle}.
        """
        policy = self._of(replicas)
        if len(replicas.nodes) == 1:
            return list(eligible(replicas, standing))
        return policy.cycle(replicas, standing, most) if isinstance(policy, Cyclic) else []

    def _of(self, replicas: ReplicaSet) -> Policy:
        choice = replicas.policy or self._default
        policy = self._made.get(choice)
        if policy is None:
            policy = self._made[choice] = POLICIES[choice.name](choice, self._node)
        return policy
