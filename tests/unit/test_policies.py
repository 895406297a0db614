# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.partition.policy} and the policies.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from twisted.trial.unittest import SynchronousTestCase

from btcp.content.contract import RequestKey
from btcp.partition.consistent import Consistent
from btcp.partition.contract import Cyclic, Policy, PolicyChoice, ReplicaSet, Snapshot
from btcp.partition.leastloaded import LeastLoaded
from btcp.partition.policy import POLICIES, Policies
from btcp.partition.roundrobin import RoundRobin
from btcp.partition.scatter import SplitMix64, digest, scatter

ANY = RequestKey("GET", "", "/")


def alive(names: str) -> Snapshot:
    """
    These nodes live, all of them equal.
    """
    return Snapshot(dict.fromkeys(names, 1.0))


class RoundRobinTests(SynchronousTestCase):
    """
    Tests for L{RoundRobin}.
    """

    def setUp(self) -> None:
        self.policy: Policy = RoundRobin("a")
        self.three = ReplicaSet(("a", "b", "c"), "/")

    def test_each_in_turn(self) -> None:
        orders = ["".join(self.policy.rank(self.three, ANY, alive("abc"))) for _ in range(4)]
        self.assertEqual(orders, ["abc", "bca", "cab", "abc"])

    def test_each_set_by_itself(self) -> None:
        other = ReplicaSet(("a", "b"), "/other/")
        self.policy.rank(self.three, ANY, alive("ab"))
        self.assertEqual(self.policy.rank(other, ANY, alive("ab")), ["a", "b"])

    def test_the_dead_get_no_turn(self) -> None:
        first = [self.policy.rank(self.three, ANY, alive("ac"))[0] for _ in range(4)]
        self.assertEqual(first, ["a", "c", "a", "c"])

    def test_nobody_lives(self) -> None:
        self.assertEqual(self.policy.rank(self.three, ANY, alive("")), [])

    def test_front_ends_begin_differently(self) -> None:
        """
        With themselves, or with any.
        """
        for front in "abc":
            self.assertEqual(RoundRobin(front).rank(self.three, ANY, alive("abc"))[0], front)
        others = Counter(
            RoundRobin(f"n{number}").rank(self.three, ANY, alive("abc"))[0] for number in range(300)
        )
        self.assertEqual(set(others), set("abc"))
        self.assertGreater(min(others.values()), 70)

    def test_weights(self) -> None:
        """
        Spread evenly, not one after the other; the example is nginx's own.
        """
        snapshot = Snapshot({"a": 5, "b": 1, "c": 1})
        first = [self.policy.rank(self.three, ANY, snapshot)[0] for _ in range(14)]
        self.assertEqual("".join(first), "aabacaa" * 2)

    def test_no_weight_no_turn(self) -> None:
        orders = [
            self.policy.rank(self.three, ANY, Snapshot({"a": 0, "b": 1, "c": 1})) for _ in range(2)
        ]
        self.assertEqual(sorted(orders), [["b", "c"], ["c", "b"]])

    def test_who_comes_back_is_owed_nothing(self) -> None:
        snapshot = alive("ab")
        for _ in range(9):
            self.policy.rank(self.three, ANY, snapshot)
        both = alive("abc")
        first = [self.policy.rank(self.three, ANY, both)[0] for _ in range(30)]
        self.assertEqual(Counter(first), {"a": 10, "b": 10, "c": 10})
        self.assertNotIn("cc", "".join(first))

    def test_turns_of_a_cycle(self) -> None:
        """
        From the beginning, and no more than may be.
        """
        policy = RoundRobin("a")
        snapshot = Snapshot({"a": 500, "b": 100, "c": 100})
        policy.rank(self.three, ANY, snapshot)
        self.assertEqual("".join(policy.cycle(self.three, snapshot, 64)), "aabacaa")
        self.assertEqual("".join(policy.cycle(self.three, snapshot, 4)), "aaba")
        self.assertEqual(policy.cycle(self.three, alive(""), 64), [])

    def test_turns_of_a_slow_start(self) -> None:
        """
        Little is not nothing.
        """
        snapshot = Snapshot({"a": 1.0, "b": 0.05})
        found = Counter(RoundRobin("a").cycle(self.three, snapshot, 64))
        self.assertEqual(found, {"a": 20, "b": 1})


def shares(policy: Policy, replicas: ReplicaSet, snapshot: Snapshot, count: int) -> Counter[str]:
    """
    Who goes first, how often, with another content each time.
    """
    keys = (RequestKey("GET", "www.example", f"/{number}") for number in range(count))
    return Counter(policy.rank(replicas, key, snapshot)[0] for key in keys)


class ConsistentTests(SynchronousTestCase):
    """
    Tests for L{Consistent}.
    """

    def setUp(self) -> None:
        self.five = ReplicaSet(tuple("abcde"), "/")

    def assert_shares(self, weights: Mapping[str, float], count: int) -> None:
        """
        Each node has what its weight says, give or take five standard deviations.
        """
        found = shares(Consistent(), self.five, Snapshot(weights), count)
        total = sum(weights.values())
        for node, weight in weights.items():
            share = weight / total
            allowed = 5 * (count * share * (1 - share)) ** 0.5
            self.assertLessEqual(abs(found[node] - count * share), allowed, (node, found))

    def test_shares(self) -> None:
        self.assert_shares(dict.fromkeys("abcde", 1.0), 20_000)
        self.assert_shares({"a": 1.0, "b": 2.0, "c": 4.0, "d": 0.5, "e": 100.0}, 20_000)

    def test_the_same_for_ever(self) -> None:
        """
        These must not change: front-ends of two releases would disagree.
        """
        for path, order in (("/", "decba"), ("/x", "ecdab"), ("/\udcff", "aecbd")):
            key = RequestKey("GET", "www.example", path)
            found = "".join(Consistent().rank(self.five, key, alive("abcde")))
            self.assertEqual(found, order, path)

    def test_the_method_is_nothing(self) -> None:
        snapshot = alive("abcde")
        orders = {
            tuple(Consistent().rank(self.five, RequestKey(method, "h", "/x"), snapshot))
            for method in ("GET", "HEAD", "POST")
        }
        self.assertEqual(len(orders), 1)

    def test_host_and_path(self) -> None:
        """
        Each of them counts.
        """
        snapshot = alive("abcde")
        hosts = {
            tuple(Consistent().rank(self.five, RequestKey("GET", host, "/"), snapshot))
            for host in map(str, range(50))
        }
        self.assertGreater(len(hosts), 30)

    def test_equal_weights_in_any_unit(self) -> None:
        key = RequestKey("GET", "", "/x")
        for weight in (0.001, 1.0, 10_000.0):
            nearly = {**dict.fromkeys("abcde", weight), "e": weight * (1 + 1e-12)}
            self.assertEqual(
                Consistent().rank(self.five, key, Snapshot(dict.fromkeys("abcde", weight))),
                Consistent().rank(self.five, key, Snapshot(nearly)),
            )

    def test_bound(self) -> None:
        key = RequestKey("GET", "", "/hot")
        load = dict.fromkeys("abcde", 0.0)
        snapshot = Snapshot(dict.fromkeys("abcde", 1.0), load)
        ranking = Consistent().rank(self.five, key, snapshot)
        bounded = Consistent(150)
        self.assertEqual(bounded.rank(self.five, key, snapshot), ranking)
        for _ in range(100):
            load[bounded.rank(self.five, key, snapshot)[0]] += 1
        # 1.5 times the mean of 20, and the last for what is left.
        self.assertEqual([load[node] for node in ranking], [30, 30, 30, 10, 0])
        load[ranking[0]] -= 5
        self.assertEqual(bounded.rank(self.five, key, snapshot)[0], ranking[0])

    def test_the_full_go_last(self) -> None:
        key = RequestKey("GET", "", "/x")
        load = dict.fromkeys("abcde", 0.0)
        snapshot = Snapshot(dict.fromkeys("abcde", 1.0), load)
        first, *others = Consistent().rank(self.five, key, snapshot)
        load[first] = 10.0
        self.assertEqual(Consistent(125).rank(self.five, key, snapshot), [*others, first])


class LeastLoadedTests(SynchronousTestCase):
    """
    Tests for L{LeastLoaded}.
    """

    def setUp(self) -> None:
        self.three = ReplicaSet(("a", "b", "c"), "/")

    def test_the_emptier_of_two(self) -> None:
        two = ReplicaSet(("a", "b"), "/")
        policy = LeastLoaded("f")
        for load, first in (({"a": 1}, "b"), ({"b": 1.5, "a": 1}, "a"), ({"b": 3, "a": 9}, "b")):
            snapshot = Snapshot({"a": 1, "b": 1}, load)
            for _ in range(10):
                self.assertEqual(policy.rank(two, ANY, snapshot)[0], first)

    def test_for_its_weight(self) -> None:
        two, policy = ReplicaSet(("a", "b"), "/"), LeastLoaded("f")
        load = {"a": 0.0, "b": 0.0}
        snapshot = Snapshot({"a": 3, "b": 1}, load)
        for _ in range(400):
            load[policy.rank(two, ANY, snapshot)[0]] += 1
        self.assertEqual(load, {"a": 300, "b": 100})

    def test_never_the_fullest_of_three(self) -> None:
        snapshot = Snapshot(dict.fromkeys("abc", 1.0), {"a": 7, "b": 7, "c": 8})
        found = shares(LeastLoaded("f"), self.three, snapshot, 1000)
        self.assertEqual(set(found), {"a", "b"})
        for count in found.values():
            self.assertGreater(count, 400)

    def test_idle_nodes_share(self) -> None:
        found = shares(LeastLoaded("f"), self.three, alive("abc"), 3000)
        for count in found.values():
            self.assertGreater(count, 900)

    def test_front_ends_draw_differently(self) -> None:
        snapshot = alive("abc")

        def drawn(name: str) -> list[str]:
            policy = LeastLoaded(name)
            return [policy.rank(self.three, ANY, snapshot)[0] for _ in range(50)]

        self.assertEqual(drawn("f"), drawn("f"))
        self.assertNotEqual(drawn("f"), drawn("g"))


class PoliciesTests(SynchronousTestCase):
    """
    Tests for L{Policies}.
    """

    def test_each_makes_a_policy(self) -> None:
        for name, kind in (
            ("round-robin", RoundRobin),
            ("least-loaded", LeastLoaded),
            ("consistent", Consistent),
        ):
            self.assertIsInstance(POLICIES[name](PolicyChoice(name), "f"), kind)
        self.assertEqual(len(POLICIES), 3)

    def test_a_rule_has_its_own(self) -> None:
        policies: Policy = Policies(PolicyChoice(), "f")
        usual = ReplicaSet(("a", "b"), "/")
        own = ReplicaSet(("a", "b"), "/own/", PolicyChoice("consistent"))
        snapshot = alive("ab")
        turns = [policies.rank(usual, ANY, snapshot)[0] for _ in range(4)]
        self.assertIn(turns, (["a", "b"] * 2, ["b", "a"] * 2))
        fixed = {policies.rank(own, ANY, snapshot)[0] for _ in range(4)}
        self.assertEqual(len(fixed), 1)

    def test_what_is_chosen_is_heeded(self) -> None:
        load = {"a": 0.0, "b": 0.0}
        snapshot = Snapshot({"a": 1.0, "b": 1.0}, load)
        policies = Policies(PolicyChoice("consistent", 125), "f")
        for _ in range(100):
            load[policies.rank(ReplicaSet(("a", "b"), "/"), ANY, snapshot)[0]] += 1
        self.assertLess(max(load.values()), 64)

    def test_turns(self) -> None:
        """
        Of those that can say them beforehand; of one node, whatever chooses it.
        """
        snapshot = alive("ab")
        one, two = ReplicaSet(("b",), "/one/"), ReplicaSet(("a", "b"), "/two/")
        for name, turns in (("round-robin", ["a", "b"]), ("least-loaded", []), ("consistent", [])):
            policies: Cyclic = Policies(PolicyChoice(name), "a")
            self.assertEqual(policies.cycle(two, snapshot, 64), turns)
            self.assertEqual(policies.cycle(one, snapshot, 64), ["b"])
            self.assertEqual(policies.cycle(one, alive("a"), 64), [])

    def test_turns_of_a_rule_of_its_own(self) -> None:
        policies = Policies(PolicyChoice("consistent"), "b")
        own = ReplicaSet(("a", "b"), "/own/", PolicyChoice("round-robin"))
        self.assertEqual(policies.cycle(own, alive("ab"), 64), ["b", "a"])

    def test_texts(self) -> None:
        self.assertEqual(str(PolicyChoice("least-loaded")), "least-loaded")
        self.assertEqual(str(PolicyChoice("consistent", 125)), "consistent (balance factor 125)")


class ScatterTests(SynchronousTestCase):
    """
    Tests for L{btcp.partition.scatter}.
    """

    def test_known_numbers(self) -> None:
        """
        SplitMix64 from seed 0, as its authors' program prints it.
        """
        step = 0x9E3779B97F4A7C15
        self.assertEqual(scatter(step), 0xE220A8397B1DCDAF)
        self.assertEqual(scatter(2 * step % 2**64), 0x6E789E6AA1B965F4)

    def test_digest(self) -> None:
        self.assertEqual(digest("a"), digest("a"))
        self.assertNotEqual(digest("a"), digest("b"))
        self.assertNotEqual(digest("\udcff"), digest("\udcfe"))

    def test_sequence(self) -> None:
        draw = SplitMix64("s")
        numbers = [draw.below(4.0) for _ in range(1000)]
        self.assertGreaterEqual(min(numbers), 0.0)
        self.assertLess(max(numbers), 4.0)
        self.assertLess(abs(sum(numbers) / 1000 - 2.0), 0.15)
