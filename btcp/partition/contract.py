# SPDX-License-Identifier: MIT
"""
Interfaces of partition maps and policies, and the values that they exchange.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol, runtime_checkable

from attrs import frozen

from btcp.content.contract import RequestKey


@frozen(slots=True)
class PolicyChoice:
    """
    A configured policy and its parameters.

    @ivar name: a key of L{btcp.partition.policy.POLICIES}.
    @ivar balance_factor: for C{consistent}: the load that a node may have, as a percentage of
        its fair share (more than 100); 0 for no bound.
    """

    name: str = "round-robin"
    balance_factor: int = 0

    def __str__(self) -> str:
        bound = f" (balance factor {self.balance_factor})" if self.balance_factor else ""
        return f"{self.name}{bound}"


@frozen(slots=True, cache_hash=True)
class ReplicaSet:
    """
    The nodes that hold the same content, any of which can serve a request for it.

    @ivar nodes: distinct node names, at least one, in the order of the configuration.
    @ivar rule: the rule that assigns the content to them, as text for logs.
    @ivar policy: the policy that ranks them; L{None} selects the cluster-wide policy.
    """

    nodes: tuple[str, ...]
    rule: str
    policy: PolicyChoice | None = None


class PartitionMap(Protocol):
    """
    A mapping of requests to the nodes that hold the requested content.
    """

    def lookup(self, key: RequestKey) -> ReplicaSet | None:
        """
        Find the nodes that hold what a request asks for.

        @return: the replica set, or L{None} if no node holds the content.
        """
        ...


@frozen(slots=True, eq=False)
class Snapshot:
    """
    The state of the nodes at the moment a request is placed.

    The owner makes a new object whenever C{live} changes, so policies may cache what they
    derive from it for as long as they receive the same object.  C{load} changes in place.

    @ivar live: the weight of each node that a handoff can reach now, this node included.
        Weights have no unit, only their ratios matter; a node of weight 0 gets no new
        connections.
    @ivar load: the number of connections that each node is answering, as far as this node
        knows; 0 for nodes that are absent.
    """

    live: Mapping[str, float]
    load: Mapping[str, float] = MappingProxyType({})


class Policy(Protocol):
    """
    A strategy that ranks the nodes of a replica set.
    """

    def rank(self, replicas: ReplicaSet, key: RequestKey, snapshot: Snapshot) -> list[str]:
        """
        Rank the nodes that a request may be handed to.

        @return: the live nodes of C{replicas} with a weight above 0, each once, most
            preferred first; the front-end tries them in this order.  May be empty.
        """
        ...


@runtime_checkable
class Cyclic(Policy, Protocol):
    """
    A policy that can precompute its choices where they depend on neither request nor loads.
    """

    def cycle(self, replicas: ReplicaSet, snapshot: Snapshot, most: int) -> list[str]:
        """
        Precompute the first choice for a series of requests.

        @param most: the maximum length of the result.
        @return: live nodes of C{replicas}, each as often as its weight demands; the caller
            cycles through it.  Empty if the choice depends on the request or the loads.
        """
        ...
