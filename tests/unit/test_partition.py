# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.partition}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from btcp.content.contract import RequestKey
from btcp.partition.compiled import DAEMON, compile_map
from btcp.partition.contract import PartitionMap, PolicyChoice, ReplicaSet
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

    def test_policy(self) -> None:
        choice = PolicyChoice("consistent", 125)
        found = RuleMap((Rule(None, "/", ("a",), choice),)).lookup(RequestKey("GET", "", "/"))
        self.assertEqual(found, ReplicaSet(("a",), "/", choice))

    def test_two_rules_for_one_thing(self) -> None:
        error = self.assertRaises(ValueError, RuleMap, (*RULES, Rule("img.example", "/", ("a",))))
        self.assertIn("img.example/", str(error))

    def test_equal_rules_make_equal_maps(self) -> None:
        self.assertEqual(RuleMap(RULES), RuleMap(RULES))
        self.assertNotEqual(RuleMap(RULES), RuleMap(RULES[1:]))


class Odd:
    """
    A map that is not one of rules.
    """

    def lookup(self, key: RequestKey) -> ReplicaSet | None:
        return None


class CompiledTests(SynchronousTestCase):
    """
    Tests for L{compile_map}.
    """

    def table(self, *rules: Rule) -> dict[tuple[int, str], str]:
        """
        The rule of each entry.
        """
        made = compile_map(RuleMap(rules))
        assert made is not None
        return {key: replicas.rule for key, replicas in made.prefixes.items()}

    def test_any_host(self) -> None:
        rules = Rule(None, "/", ("a",)), Rule(None, "/b", ("b",))
        self.assertEqual(self.table(*rules), {(1, "/"): "/", (1, "/b"): "/b"})

    def test_a_host_has_what_holds_everywhere_as_well(self) -> None:
        rules = Rule(None, "/", ("a",)), Rule(None, "/b/c", ("a",)), Rule("h", "/b", ("b",))
        expected = {(1, "/"): "/", (1, "/b/c"): "/b/c", (2, "/"): "/", (2, "/b"): "h/b"}
        self.assertEqual(self.table(*rules), expected)

    def test_a_host_has_what_holds_below_a_suffix(self) -> None:
        rules = Rule("*.h", "/b", ("a",)), Rule("x.h", "/", ("b",)), Rule("y.h", "/c", ("c",))
        self.assertEqual(
            self.table(*rules), {(2, "/"): "x.h/", (3, "/b"): "*.h/b", (3, "/c"): "y.h/c"}
        )

    def test_wildcards_are_the_daemons(self) -> None:
        for host, elsewhere in (("*.h", DAEMON), ("h", 1), (None, 1)):
            made = compile_map(RuleMap((Rule(host, "/", ("a",)), Rule(None, "/b", ("b",)))))
            assert made is not None
            self.assertEqual(made.default_scope, elsewhere)

    def test_nothing(self) -> None:
        self.assertEqual(self.table(), {})

    def test_of_rules_only(self) -> None:
        self.assertIsNone(compile_map(Odd()))
