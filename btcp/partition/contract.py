# SPDX-License-Identifier: MIT
"""
What every partition map and every policy promises.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Protocol

from attrs import frozen

from btcp.content.contract import RequestKey


@frozen(slots=True, cache_hash=True)
class ReplicaSet:
    """
    The nodes that hold the same content; any of them may answer.

    @ivar nodes: node names, at least one, each once, in the order configured.
    @ivar rule: what assigned the content to them, for logs.
    """

    nodes: tuple[str, ...]
    rule: str


class PartitionMap(Protocol):
    """
    From a request's key to the nodes that hold what it asks for.
    """

    def lookup(self, key: RequestKey) -> ReplicaSet | None:
        """
        @return: the replica set, or L{None} if no node holds it.
        """
        ...


class Policy(Protocol):
    """
    Picks among the nodes of a replica set.
    """

    def order(self, replicas: ReplicaSet, live: Container[str]) -> list[str]:
        """
        Say whom to ask, and whom next if that one refuses.

        @param live: the nodes a handoff can reach now, the asking node included.
        @return: the live nodes of C{replicas}, most preferred first; may be empty.
        """
        ...
