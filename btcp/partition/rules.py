# SPDX-License-Identifier: MIT
"""
A partition map of rules with host and path prefix.

The most specific rule wins, regardless of the order of the rules.  A look-up tries the rules
of the exact host, then those of C{*.suffix}, longest suffix first, then those of any host.
The first of these scopes that has a prefix of the path decides, with its longest prefix.
Prefixes are compared as text, as in an nginx C{location}: C{/a} matches C{/ab}, C{/a/} does
not match C{/a}.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from attrs import field, frozen

from btcp.content.contract import RequestKey
from btcp.partition.contract import PolicyChoice, ReplicaSet


@frozen(slots=True)
class Rule:
    """
    The assignment of a host's path prefix to nodes.

    @ivar host: a canonical name (L{btcp.content.host.canonical_host}), or C{"*."} and a
        canonical suffix, which matches every name below the suffix but not the suffix
        itself; L{None} matches any host, and requests that name no host.
    @ivar path: a prefix of the decoded path; starts with C{"/"}.
    @ivar nodes: the names of the nodes that hold the content, at least one.
    @ivar policy: see L{ReplicaSet}.
    """

    host: str | None
    path: str
    nodes: tuple[str, ...]
    policy: PolicyChoice | None = None

    def __str__(self) -> str:
        return f"{self.host or ''}{self.path}"


class _Scope:
    """
    The rules of one host.

    A look-up costs one dict access for each distinct prefix length, whatever the number of
    rules.
    """

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._replicas = {
            rule.path: ReplicaSet(rule.nodes, str(rule), rule.policy) for rule in rules
        }
        self._lengths = sorted({len(path) for path in self._replicas}, reverse=True)

    @property
    def replicas(self) -> Mapping[str, ReplicaSet]:
        """
        Path prefixes to replica sets.
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
    Group rules by host, in the spelling of L{spellings}.

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
    Iterate over the scopes that apply to a host, most specific first: the host itself,
    C{*.suffix} for each suffix, and C{*}.
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

    @ivar rules: the rules in the order of the configuration.
    @raise ValueError: two rules have the same host and path.
    """

    rules: tuple[Rule, ...]
    _scopes: dict[str, _Scope] = field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_scopes", _grouped(self.rules))

    def scopes(self) -> dict[str, Mapping[str, ReplicaSet]]:
        """
        Return all rules: host, C{*.suffix} or C{*} to path prefixes to replica sets.
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
