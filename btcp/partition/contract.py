# SPDX-License-Identifier: MIT
"""
What every partition map and every policy promises.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol, runtime_checkable

from attrs import frozen

from btcp.content.contract import RequestKey


@frozen(slots=True)
class Choice:
    """
    Which policy, and what it is told.

    @ivar name: a key of L{btcp.partition.policy.POLICIES}.
    @ivar balance_factor: for C{consistent}: per cent of the mean load that no node is
        to exceed, more than 100; 0 for no bound.
    """

    name: str = "round-robin"
    balance_factor: int = 0

    def __str__(self) -> str:
        bound = f" (balance factor {self.balance_factor})" if self.balance_factor else ""
        return f"{self.name}{bound}"


@frozen(slots=True, cache_hash=True)
class ReplicaSet:
    """
    The nodes that hold the same content; any of them may answer.

    @ivar nodes: node names, at least one, each once, in the order configured.
    @ivar rule: what assigned the content to them, for logs.
    @ivar policy: how one of them is chosen; L{None}: as everywhere.
    """

    nodes: tuple[str, ...]
    rule: str
    policy: Choice | None = None


class PartitionMap(Protocol):
    """
    From a request's key to the nodes that hold what it asks for.
    """

    def lookup(self, key: RequestKey) -> ReplicaSet | None:
        """
        @return: the replica set, or L{None} if no node holds it.
        """
        ...


@frozen(slots=True, eq=False)
class Standing:
    """
    How the nodes are when a request is placed.

    There is a new one whenever C{live} changes, so a policy may keep what it worked out
    for as long as it is given the same one.  C{load} is looked up anew each time.

    @ivar live: weight of each node that a handoff can reach now, the asking node
        included; more is a larger share, 0 is nothing new.  The unit is up to the
        owner: only the ratios of weights count.
    @ivar load: connections that each node has to answer, as far as this node knows;
        one that is not in it has none.
    """

    live: Mapping[str, float]
    load: Mapping[str, float] = MappingProxyType({})


class Policy(Protocol):
    """
    Picks among the nodes of a replica set.
    """

    def order(self, replicas: ReplicaSet, key: RequestKey, standing: Standing) -> list[str]:
        """
        Say whom to ask, and whom next if that one refuses.

        @return: the live nodes of C{replicas} that have a weight, each once, most
            preferred first; may be empty.
        """
        ...


@runtime_checkable
class Cyclic(Policy, Protocol):
    """
    A policy that needs to know neither the request nor the loads; or that can say where it does.
    """

    def cycle(self, replicas: ReplicaSet, standing: Standing, most: int) -> list[str]:
        """
        Say whom to ask first, for many requests in a row.

        @param most: nodes that the answer may have.
        @return: live nodes of C{replicas} that have a weight, as often as their weights say;
            after the last it begins anew.  Empty if each request is a case of its own.
        """
        ...
