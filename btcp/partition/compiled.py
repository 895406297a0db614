# SPDX-License-Identifier: MIT
"""
Compilation of a rule map to one longest-prefix table that a kernel program can look up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from attrs import frozen

from btcp.partition.contract import PartitionMap, ReplicaSet
from btcp.partition.rules import RuleMap, spellings

DAEMON = 0
"""The scope that stands for hosts that the table does not cover: the daemon decides."""

ANY = "*"


@frozen(slots=True)
class CompiledMap:
    """
    A rule map as a longest-prefix table.

    A look-up takes the host's scope from C{hosts}, or C{default_scope}, and then the entry of
    C{prefixes} with that scope and the longest prefix of the path.  The result is that of
    L{RuleMap.lookup}.

    @ivar hosts: host names that rules name without a wildcard, to scope numbers.
    @ivar default_scope: the scope of all other hosts; L{DAEMON} if rules have wildcards, so
        that other hosts do not all have the same scope.
    @ivar prefixes: scope number and path prefix to the replica set.
    """

    hosts: Mapping[str, int]
    default_scope: int
    prefixes: Mapping[tuple[int, str], ReplicaSet]


def compile_map(partition: PartitionMap) -> CompiledMap | None:
    """
    Compile a partition map.

    @return: the equivalent table; C{None} if C{partition} is not a L{RuleMap}.
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
    return CompiledMap(hosts, DAEMON if wildcards else 1, prefixes)


def _flattened(
    chain: Iterable[Mapping[str, ReplicaSet]],
) -> Iterable[tuple[str, ReplicaSet]]:
    """
    Merge the scopes that apply to one host.

    The first scope that has any prefix of a path decides, even if a later one has a longer
    prefix.  A rule whose path begins with one of an earlier scope can therefore never match.

    @param chain: path prefix to replica set for each scope, the most specific scope first.
    @return: path prefix and replica set of each rule that can match.
    """
    before: list[str] = []
    for scope in chain:
        seen = tuple(before)
        for path, replicas in scope.items():
            if not path.startswith(seen):
                yield path, replicas
                before.append(path)
