# SPDX-License-Identifier: MIT
"""
L{btcp.partition.rules.RuleMap} answers what trying every rule would, and its table does so, too.
"""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from btcp.content.contract import RequestKey
from btcp.partition.compiled import DAEMON, CompiledMap, compile_map
from btcp.partition.contract import ReplicaSet
from btcp.partition.rules import Rule, RuleMap

NAMES = ("a", "b", "c", "d")

# Few letters, so that rules and keys meet.
hosts = st.lists(st.sampled_from("xyz"), max_size=4).map(".".join)
patterns = st.one_of(st.none(), hosts.filter(bool), hosts.filter(bool).map("*.{}".format))
paths = st.text("/ab\u00fc", max_size=6).map("/{}".format)
replicas = st.lists(st.sampled_from(NAMES), min_size=1, unique=True).map(tuple)
rule_lists = st.lists(
    st.builds(Rule, patterns, paths, replicas), max_size=20, unique_by=lambda r: (r.host, r.path)
)


def covers(rule: Rule, host: str) -> bool:
    """
    Whether C{rule} is about C{host}.
    """
    if rule.host is None:
        return True
    if rule.host.startswith("*."):
        return host.endswith(rule.host[1:])
    return host == rule.host


def rank(rule: Rule) -> tuple[int, int, int]:
    """
    How specific a rule is: kind of host, length of suffix, length of path.
    """
    if rule.host is None:
        return 0, 0, len(rule.path)
    if rule.host.startswith("*."):
        return 1, len(rule.host), len(rule.path)
    return 2, 0, len(rule.path)


class RuleMapProperties(SynchronousTestCase):
    """
    Properties of L{RuleMap}.
    """

    @given(rules=rule_lists, host=hosts, path=paths)
    def test_as_trying_every_rule(self, rules: list[Rule], host: str, path: str) -> None:
        found = RuleMap(tuple(rules)).lookup(RequestKey("GET", host, path))
        fitting = [rule for rule in rules if covers(rule, host) and path.startswith(rule.path)]
        if not fitting:
            self.assertIsNone(found)
        else:
            best = max(fitting, key=rank)
            self.assertEqual(found, ReplicaSet(best.nodes, str(best)))

    @given(rules=rule_lists, host=hosts, path=paths, order=st.randoms(use_true_random=False))
    def test_order_of_rules_is_nothing(
        self, rules: list[Rule], host: str, path: str, order: Random
    ) -> None:
        key = RequestKey("GET", host, path)
        found = RuleMap(tuple(rules)).lookup(key)
        order.shuffle(rules)
        self.assertEqual(RuleMap(tuple(rules)).lookup(key), found)


def looked_up(table: CompiledMap, scope: int, path: str) -> ReplicaSet | None:
    """
    The longest prefix, as a kernel's table would find it.
    """
    fitting = [found for of, found in table.prefixes if of == scope and path.startswith(found)]
    return table.prefixes[scope, max(fitting, key=len)] if fitting else None


class CompiledProperties(SynchronousTestCase):
    """
    Properties of L{compile_map}.
    """

    @given(rules=rule_lists, data=st.data())
    def test_as_the_map(self, rules: list[Rule], data: st.DataObject) -> None:
        """
        But for what it leaves to the daemon: hosts that only a wildcard can name.
        """
        partition = RuleMap(tuple(rules))
        table = compile_map(partition)
        assert table is not None
        wild = any(rule.host is not None and rule.host.startswith("*.") for rule in rules)
        self.assertEqual(table.default_scope, DAEMON if wild else 1)
        self.assertEqual(set(table.hosts), {rule.host for rule in rules if covers_itself(rule)})
        for _ in range(10):
            named = st.sampled_from(sorted(table.hosts) or [""])
            host, path = data.draw(st.one_of(hosts, named)), data.draw(paths)
            scope = table.hosts.get(host, table.default_scope)
            if scope != DAEMON:
                right = partition.lookup(RequestKey("GET", host, path))
                self.assertEqual(looked_up(table, scope, path), right, (host, path))

    @given(rules=rule_lists)
    def test_scopes_are_told_apart(self, rules: list[Rule]) -> None:
        table = compile_map(RuleMap(tuple(rules)))
        assert table is not None
        numbers = [*table.hosts.values(), 1]
        self.assertEqual(len(set(numbers)), len(numbers))
        self.assertNotIn(DAEMON, numbers)
        self.assertLessEqual({scope for scope, _ in table.prefixes}, set(numbers))


def covers_itself(rule: Rule) -> bool:
    """
    Whether C{rule} names a host exactly.
    """
    return rule.host is not None and not rule.host.startswith("*.")
