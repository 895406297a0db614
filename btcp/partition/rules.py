# SPDX-License-Identifier: MIT
"""
A partition map written as rules of host and path prefix.

The most specific rule wins, whatever the order they were written in.  Scopes are
tried from the exact host over C{*.suffix}, longest first, to any host; the first scope
with a prefix of the path answers, with its longest.  Prefixes are plain text, as in an
nginx C{location}: C{/a} also holds C{/ab}, C{/a/} does not hold C{/a}.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from attrs import field, frozen

from btcp.content.contract import RequestKey
from btcp.partition.contract import Choice, ReplicaSet


@frozen(slots=True)
class Rule:
    """
    Who holds what begins with a path.

    @ivar host: canonical (L{btcp.content.host.canonical_host}), or C{"*."} and a
        canonical suffix, which stands for every name below it but not for itself;
        L{None} for any host, and for requests that name none.
    @ivar path: a prefix of the decoded path; starts with C{"/"}.
    @ivar nodes: the names of the nodes that hold it, at least one.
    @ivar policy: as in L{ReplicaSet}.
    """

    host: str | None
    path: str
    nodes: tuple[str, ...]
    policy: Choice | None = None

    def __str__(self) -> str:
        return f"{self.host or ''}{self.path}"


class _Scope:
    """
    The rules of one host.  A look-up costs one dict access for each different length
    of prefix, however many rules there are.
    """

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._replicas = {
            rule.path: ReplicaSet(rule.nodes, str(rule), rule.policy) for rule in rules
        }
        self._lengths = sorted({len(path) for path in self._replicas}, reverse=True)

    @property
    def replicas(self) -> Mapping[str, ReplicaSet]:
        """
        By prefix.
        """
        return self._replicas

    def lookup(self, path: str) -> ReplicaSet | None:
        size = len(path)
        for length in self._lengths:
            if length <= size:
                replicas = self._replicas.get(path[:length])
                if replicas is not None:
                    return replicas
        return None


def _grouped(rules: Iterable[Rule]) -> dict[str, _Scope]:
    """
    Group rules by host.  Hosts are spelled as L{spellings} asks for them.

    @raise ValueError: two rules have the same host and path.
    """
    grouped: dict[str, dict[str, Rule]] = {}
    for rule in rules:
        host = "*" if rule.host is None else rule.host
        paths = grouped.setdefault(host, {})
        if rule.path in paths:
            raise ValueError(f"two rules for {rule}")
        paths[rule.path] = rule
    return {host: _Scope(paths.values()) for host, paths in grouped.items()}


def spellings(host: str) -> Iterator[str]:
    """
    The scopes a host is in, most specific first.
    """
    if host:
        yield host
    dot = host.find(".")
    while dot >= 0:
        yield "*" + host[dot:]
        dot = host.find(".", dot + 1)
    yield "*"


@frozen(slots=True)
class RuleMap:
    """
    A L{btcp.partition.contract.PartitionMap} of rules.

    @ivar rules: as configured.
    @raise ValueError: two rules have the same host and path.
    """

    rules: tuple[Rule, ...]
    _scopes: dict[str, _Scope] = field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_scopes", _grouped(self.rules))

    def scopes(self) -> dict[str, Mapping[str, ReplicaSet]]:
        """
        @return: host, C{*.suffix} or C{*} to what is held there, by prefix of the path.
        """
        return {host: scope.replicas for host, scope in self._scopes.items()}

    def lookup(self, key: RequestKey) -> ReplicaSet | None:
        """
        See L{btcp.partition.contract.PartitionMap.lookup}.
        """
        scopes = self._scopes
        for host in spellings(key.host):
            scope = scopes.get(host)
            if scope is not None:
                replicas = scope.lookup(key.path)
                if replicas is not None:
                    return replicas
        return None
