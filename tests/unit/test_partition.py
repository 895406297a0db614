# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.partition}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from btcp.content.contract import RequestKey
from btcp.partition.contract import PartitionMap, Policy, ReplicaSet, Standing
from btcp.partition.policy import POLICIES, RoundRobin
from btcp.partition.rules import Rule, RuleMap

RULES = (
    Rule(None, "/", ("a",)),
    Rule(None, "/b/", ("b",)),
    Rule(None, "/b/c", ("c",)),
    Rule("img.example", "/", ("b", "c")),
    Rule("*.example", "/x/", ("c",)),
    Rule("*.img.example", "/x/", ("d",)),
)


class RuleMapTests(SynchronousTestCase):
    """
    Tests for L{RuleMap}.
    """

    def look_up(self, host: str, path: str, rules: tuple[Rule, ...] = RULES) -> str | None:
        """
        The text of the rule that answers.
        """
        partition: PartitionMap = RuleMap(rules)
        found = partition.lookup(RequestKey("GET", host, path))
        return None if found is None else found.rule

    def test_longest_prefix(self) -> None:
        for path, rule in (
            ("/", "/"),
            ("/b", "/"),
            ("/b/", "/b/"),
            ("/b/x", "/b/"),
            ("/b/c", "/b/c"),
            ("/b/cd/e", "/b/c"),
        ):
            self.assertEqual(self.look_up("", path), rule, path)

    def test_hosts(self) -> None:
        for host, path, rule in (
            ("img.example", "/b/c", "img.example/"),
            ("img.example", "/x/", "img.example/"),
            ("other.example", "/x/y", "*.example/x/"),
            ("deep.other.example", "/x/y", "*.example/x/"),
            ("one.img.example", "/x/y", "*.img.example/x/"),
            ("example", "/x/y", "/"),
            ("notexample", "/x/y", "/"),
        ):
            self.assertEqual(self.look_up(host, path), rule, (host, path))

    def test_a_scope_without_the_prefix_lets_the_next_answer(self) -> None:
        self.assertEqual(self.look_up("other.example", "/b/c"), "/b/c")
        rules = (Rule("a.example", "/a/", ("a",)), Rule("*.example", "/", ("b",)))
        self.assertEqual(self.look_up("a.example", "/b/", rules), "*.example/")

    def test_nobody(self) -> None:
        self.assertIsNone(self.look_up("", "/b/", (Rule(None, "/a/", ("a",)),)))
        self.assertIsNone(self.look_up("", "/", ()))

    def test_nodes(self) -> None:
        found = RuleMap(RULES).lookup(RequestKey("GET", "img.example", "/"))
        self.assertEqual(found, ReplicaSet(("b", "c"), "img.example/"))

    def test_two_rules_for_one_thing(self) -> None:
        error = self.assertRaises(ValueError, RuleMap, (*RULES, Rule("img.example", "/", ("a",))))
        self.assertIn("img.example/", str(error))

    def test_equal_rules_make_equal_maps(self) -> None:
        self.assertEqual(RuleMap(RULES), RuleMap(RULES))
        self.assertNotEqual(RuleMap(RULES), RuleMap(RULES[1:]))


ANY = RequestKey("GET", "", "/")


def alive(names: str) -> Standing:
    """
    These nodes live, all of them equal.
    """
    return Standing(dict.fromkeys(names, 1.0))


class RoundRobinTests(SynchronousTestCase):
    """
    Tests for L{RoundRobin}.
    """

    def setUp(self) -> None:
        self.policy: Policy = RoundRobin()
        self.three = ReplicaSet(("a", "b", "c"), "/")

    def test_each_in_turn(self) -> None:
        orders = ["".join(self.policy.order(self.three, ANY, alive("abc"))) for _ in range(4)]
        self.assertEqual(orders, ["abc", "bca", "cab", "abc"])

    def test_each_set_by_itself(self) -> None:
        other = ReplicaSet(("a", "b"), "/other/")
        self.policy.order(self.three, ANY, alive("ab"))
        self.assertEqual(self.policy.order(other, ANY, alive("ab")), ["a", "b"])

    def test_the_dead_get_no_turn(self) -> None:
        first = [self.policy.order(self.three, ANY, alive("ac"))[0] for _ in range(4)]
        self.assertEqual(first, ["a", "c", "a", "c"])

    def test_nobody_lives(self) -> None:
        self.assertEqual(self.policy.order(self.three, ANY, alive("")), [])

    def test_registered(self) -> None:
        self.assertIsInstance(POLICIES["round-robin"](), RoundRobin)
