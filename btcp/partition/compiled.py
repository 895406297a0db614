# SPDX-License-Identifier: MIT
"""
A map of rules as one table of longest prefixes: what a datapath can look up by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from attrs import frozen

from btcp.partition.contract import PartitionMap, ReplicaSet
from btcp.partition.rules import RuleMap, spellings

DAEMON = 0
"""The scope of hosts of which this table knows nothing."""

ANY = "*"


@frozen(slots=True)
class Compiled:
    """
    What L{RuleMap.lookup} says, for a host and a path: the entry with the longest prefix
    of the path among those of the host's scope.

    @ivar hosts: the scope of each host that is named, exactly, in a rule.
    @ivar elsewhere: the scope of all other hosts; L{DAEMON} if it depends on more than
        whether they are in C{hosts}.
    @ivar prefixes: scope and prefix to the nodes that hold it.
    """

    hosts: Mapping[str, int]
    elsewhere: int
    prefixes: Mapping[tuple[int, str], ReplicaSet]


def compiled(partition: PartitionMap) -> Compiled | None:
    """
    @return: the same map as a table; C{None} if it is not one of rules.
    """
    if not isinstance(partition, RuleMap):
        return None
    scopes = partition.scopes()
    exact = sorted(host for host in scopes if not host.startswith(ANY))
    wildcards = any(host.startswith(ANY) and host != ANY for host in scopes)
    hosts = {host: number for number, host in enumerate(exact, 2)}
    prefixes: dict[tuple[int, str], ReplicaSet] = {}
    for name, number in ((ANY, 1), *hosts.items()):
        chain = [ANY] if name == ANY else list(spellings(name))
        for path, replicas in _flattened([scopes[each] for each in chain if each in scopes]):
            prefixes[number, path] = replicas
    return Compiled(hosts, DAEMON if wildcards else 1, prefixes)


def _flattened(
    chain: Iterable[Mapping[str, ReplicaSet]],
) -> Iterable[tuple[str, ReplicaSet]]:
    """
    @param chain: the rules of each scope, the most specific first.
    @return: those that can ever answer: the first scope that has any prefix of a path does.
    """
    before: list[str] = []
    for scope in chain:
        seen = tuple(before)
        for path, replicas in scope.items():
            if not path.startswith(seen):
                yield path, replicas
                before.append(path)
