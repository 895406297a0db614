# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.express.decisions}.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from twisted.trial.unittest import SynchronousTestCase

from btcp.cluster.placement import Placement
from btcp.content.contract import RequestKey
from btcp.datapath.ebpf.express import Plan
from btcp.express import decisions
from btcp.express.decisions import Decisions, numbered
from btcp.partition.contract import PolicyChoice, ReplicaSet
from btcp.partition.policy import Policies
from btcp.partition.rules import Rule, RuleMap
from tests.unit.express_case import FakeTables

NUMBERS = {"a": 1, "b": 2, "c": 3}
LONG = "/".ljust(252, "x")

BEFORE = (
    Rule(None, "/", ("a", "b")),
    Rule("h", "/b", ("b",)),
    Rule("gone", "/", ("a",)),
)
AFTER = (
    Rule(None, "/", ("c",)),
    Rule("h", "/b/c", ("a", "c")),
    Rule("new", "/", ("b",)),
    Rule("*.w", "/", ("a",)),
)
ASKED = [(host, path) for host in ("", "h", "gone", "new", "x.w") for path in ("/", "/b", "/b/c")]


class Odd:
    """
    A map that is not one of rules.
    """

    def lookup(self, key: RequestKey) -> ReplicaSet | None:
        return None


class DecisionsTests(SynchronousTestCase):
    """
    Tests for L{Decisions}.
    """

    def setUp(self) -> None:
        self.tables = FakeTables()
        weights = dict.fromkeys(NUMBERS, 100.0)
        self.policies = Policies(PolicyChoice(), "a")
        self.placement = Placement(RuleMap(BEFORE), self.policies, "a", weights)
        self.placement.join("b")
        self.placement.join("c")
        self.decisions = Decisions(self.tables.faked, self.placement, NUMBERS)

    def renew(self, *rules: Rule) -> None:
        """
        @param rules: C{()}: as they are.
        """
        if rules:
            self.placement.replace(RuleMap(rules), self.policies)
        self.decisions.renew()
        self.tables.plan(
            Plan(b"", self.decisions.scope, self.decisions.hosts, True, True, 0, False)
        )
        self.decisions.forget_outdated()

    def right(self, host: str, path: str) -> list[int]:
        """
        What the daemon would say, so far as it is said beforehand.
        """
        partition = self.placement.partition
        assert isinstance(partition, RuleMap)
        scopes = partition.scopes()
        if any(name.startswith("*.") for name in scopes) and host not in scopes:
            return []
        found = partition.lookup(RequestKey("GET", host, path))
        return [NUMBERS[name] for name in self.placement.cycle(found, 64)] if found else []

    def table(self, asked: Iterable[tuple[str, str]] = ASKED) -> list[list[int]]:
        return [self.tables.decided(*each) for each in asked]

    def test_as_the_daemon(self) -> None:
        for rules in (BEFORE, AFTER, (), BEFORE, AFTER[:1], BEFORE[1:]):
            self.renew(*rules)
            self.assertEqual(self.table(), [self.right(*each) for each in ASKED])

    def test_nothing_is_left(self) -> None:
        self.renew(*BEFORE)
        before = len(self.tables.prefixes), len(self.tables.scopes)
        for rules in (AFTER, BEFORE, AFTER, BEFORE):
            self.renew(*rules)
        self.assertEqual((len(self.tables.prefixes), len(self.tables.scopes)), before)
        self.renew(Rule(None, "/", ("a",)))
        self.assertEqual((len(self.tables.prefixes), self.tables.scopes), (1, {}))

    def test_one_map_or_the_other(self) -> None:
        """
        At no time anything else; and never nothing, where both have something.
        """
        self.renew()
        for rules in (AFTER, BEFORE, AFTER[:1], BEFORE, AFTER[1:], BEFORE[1:], BEFORE):
            old = self.table()
            self.placement.replace(RuleMap(rules), self.policies)
            new = [self.right(*each) for each in ASKED]
            self.tables.watch = partial(self.assert_each, old, new)
            self.renew()

    def assert_each(self, old: list[list[int]], new: list[list[int]]) -> None:
        for asked, *each in zip(ASKED, self.table(), old, new, strict=True):
            self.assertIn(each[0], each[1:], asked)

    def test_order(self) -> None:
        """
        First what is new, then the way there, then away with what is old.
        """
        self.renew()
        self.tables.told.clear()
        self.renew(*AFTER)
        order = list(dict.fromkeys(self.tables.told))
        self.assertEqual(order, ["turns", "add", "scope", "plan", "forget", "remove"])

    def test_only_turns_change(self) -> None:
        self.renew()
        self.tables.told.clear()
        self.placement.set_weight("b", 50.0)
        self.decisions.renew()
        self.assertEqual(self.tables.told, ["turns"])
        self.assertEqual(self.tables.decided("", "/"), [1, 2, 1])
        self.placement.leave("b")
        self.decisions.renew()
        self.assertEqual(self.tables.told, ["turns"] * 3)
        self.assertEqual((self.tables.decided("", "/"), self.tables.decided("h", "/b")), ([1], []))
        self.decisions.renew()
        self.assertEqual(len(self.tables.told), 3)

    def test_no_turns(self) -> None:
        """
        Where each request is a case of its own, and where a node has no number.
        """
        own = PolicyChoice("least-loaded")
        self.renew(Rule(None, "/", ("a", "b"), own), Rule(None, "/one", ("b",), own))
        self.assertEqual(self.tables.decided("", "/"), [])
        self.assertEqual(self.tables.decided("", "/one"), [2])
        self.decisions = Decisions(self.tables.faked, self.placement, {"a": 1})
        self.renew(*BEFORE)
        self.assertEqual((self.tables.decided("", "/"), self.tables.decided("h", "/b")), ([], []))
        self.assertEqual(self.tables.decided("gone", "/"), [1])

    def test_long_paths(self) -> None:
        """
        What the kernel cannot tell apart, the daemon decides, in whatever order it is written.
        """
        short, longest, longer = (
            Rule(None, path, (node,)) for path, node in (("/", "a"), (LONG, "b"), (LONG + "y", "c"))
        )
        self.renew(short, longest)
        self.assertEqual(self.tables.decided("", LONG[:-1]), [1])
        self.assertEqual(self.tables.decided("", LONG), [2])
        self.assertEqual(self.tables.decided("", LONG + "y"), [2])
        for rules in ((short, longest, longer), (longer, longest, short), (short, longer)):
            self.renew(*rules)
            self.assertEqual(self.tables.decided("", LONG + "y"), [])
            self.assertEqual(self.tables.decided("", "/y"), [1])

    def test_octets_that_are_no_text(self) -> None:
        """
        Paths come as octets; a prefix is as long as they are.
        """
        wide = "/" + "\u00fc" * 200
        self.renew(Rule(None, "/", ("a",)), Rule(None, "/\udcff", ("b",)), Rule(None, wide, ("c",)))
        sets = self.tables.sets
        paths = {path: sets.get(of, []) for (_, path), of in self.tables.prefixes.items()}
        self.assertEqual(paths, {b"/": [1], b"/\xff": [2], wide.encode()[:252]: []})

    def test_long_hosts(self) -> None:
        """
        The kernel leaves them to the daemon: it only has to know that there are some.
        """
        host = "h" * 64
        self.renew(Rule(host, "/", ("b",)), Rule(None, "/", ("a",)))
        self.assertEqual((self.tables.scopes, self.tables.planned.hosts), ({}, True))
        self.renew(Rule(host[1:], "/", ("b",)), Rule(None, "/", ("a",)))
        self.assertEqual(list(self.tables.scopes), [b"h" * 63])

    def test_other_maps(self) -> None:
        self.renew()
        self.placement.replace(Odd(), self.policies)
        self.renew()
        self.assertEqual(self.table(), [[]] * len(ASKED))
        self.assertEqual((self.tables.prefixes, self.tables.scopes), ({}, {}))

    def test_too_large(self) -> None:
        """
        Both the old map and the new one must have room.
        """
        for name, enough in (("MOST_PREFIXES", 12), ("MOST_HOSTS", 4), ("_SETS", 6)):
            for most, known in ((enough, True), (enough - 2, False)):
                self.patch(decisions, name, most)
                self.renew(*BEFORE, Rule(None, "/c", ("c",)))
                self.assertEqual(any(self.table()), known, (name, most))
            self.patch(decisions, name, 4096)


class NumberTests(SynchronousTestCase):
    """
    Tests for L{numbered}.
    """

    def test_who_has_one_keeps_it(self) -> None:
        lease = FakeTables().lease
        self.assertEqual(numbered(["b", "a"], lease), {"a": 1, "b": 2})
        self.assertEqual(numbered(["0", "b"], lease), {"b": 2, "0": 3})

    def test_no_more_than_there_are(self) -> None:
        """
        The last is one that the rest shares.
        """
        lease = FakeTables().lease
        names = [f"{number:03}" for number in range(300)]
        found = numbered(names, lambda name: min(lease(name), 255))
        self.assertEqual(sorted(found.values()), list(range(1, 255)))
