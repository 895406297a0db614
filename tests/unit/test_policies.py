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
from btcp.partition.contract import Choice, Cyclic, Policy, ReplicaSet, Standing
from btcp.partition.leastloaded import LeastLoaded
from btcp.partition.policy import POLICIES, Policies
from btcp.partition.roundrobin import RoundRobin
from btcp.partition.scatter import Sequence, digest, scatter

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
        self.policy: Policy = RoundRobin("a")
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

    def test_front_ends_begin_differently(self) -> None:
        """
        With themselves, or with any.
        """
        for front in "abc":
            self.assertEqual(RoundRobin(front).order(self.three, ANY, alive("abc"))[0], front)
        others = Counter(
            RoundRobin(f"n{number}").order(self.three, ANY, alive("abc"))[0]
            for number in range(300)
        )
        self.assertEqual(set(others), set("abc"))
        self.assertGreater(min(others.values()), 70)

    def test_weights(self) -> None:
        """
        Spread evenly, not one after the other; the example is nginx's own.
        """
        standing = Standing({"a": 5, "b": 1, "c": 1})
        first = [self.policy.order(self.three, ANY, standing)[0] for _ in range(14)]
        self.assertEqual("".join(first), "aabacaa" * 2)

    def test_no_weight_no_turn(self) -> None:
        orders = [
            self.policy.order(self.three, ANY, Standing({"a": 0, "b": 1, "c": 1})) for _ in range(2)
        ]
        self.assertEqual(sorted(orders), [["b", "c"], ["c", "b"]])

    def test_who_comes_back_is_owed_nothing(self) -> None:
        standing = alive("ab")
        for _ in range(9):
            self.policy.order(self.three, ANY, standing)
        both = alive("abc")
        first = [self.policy.order(self.three, ANY, both)[0] for _ in range(30)]
        self.assertEqual(Counter(first), {"a": 10, "b": 10, "c": 10})
        self.assertNotIn("cc", "".join(first))

    def test_turns_of_a_cycle(self) -> None:
        """
        From the beginning, and no more than may be.
        """
        policy = RoundRobin("a")
        standing = Standing({"a": 500, "b": 100, "c": 100})
        policy.order(self.three, ANY, standing)
        self.assertEqual("".join(policy.cycle(self.three, standing, 64)), "aabacaa")
        self.assertEqual("".join(policy.cycle(self.three, standing, 4)), "aaba")
        self.assertEqual(policy.cycle(self.three, alive(""), 64), [])

    def test_turns_of_a_slow_start(self) -> None:
        """
        Little is not nothing.
        """
        standing = Standing({"a": 1.0, "b": 0.05})
        found = Counter(RoundRobin("a").cycle(self.three, standing, 64))
        self.assertEqual(found, {"a": 20, "b": 1})


def shares(policy: Policy, replicas: ReplicaSet, standing: Standing, count: int) -> Counter[str]:
    """
    Who goes first, how often, with another content each time.
    """
    keys = (RequestKey("GET", "www.example", f"/{number}") for number in range(count))
    return Counter(policy.order(replicas, key, standing)[0] for key in keys)


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
        found = shares(Consistent(), self.five, Standing(weights), count)
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
            found = "".join(Consistent().order(self.five, key, alive("abcde")))
            self.assertEqual(found, order, path)

    def test_the_method_is_nothing(self) -> None:
        standing = alive("abcde")
        orders = {
            tuple(Consistent().order(self.five, RequestKey(method, "h", "/x"), standing))
            for method in ("GET", "HEAD", "POST")
        }
        self.assertEqual(len(orders), 1)

    def test_host_and_path(self) -> None:
        """
        Each of them counts.
        """
        standing = alive("abcde")
        hosts = {
            tuple(Consistent().order(self.five, RequestKey("GET", host, "/"), standing))
            for host in map(str, range(50))
        }
        self.assertGreater(len(hosts), 30)

    def test_equal_weights_in_any_unit(self) -> None:
        key = RequestKey("GET", "", "/x")
        for weight in (0.001, 1.0, 10_000.0):
            nearly = {**dict.fromkeys("abcde", weight), "e": weight * (1 + 1e-12)}
            self.assertEqual(
                Consistent().order(self.five, key, Standing(dict.fromkeys("abcde", weight))),
                Consistent().order(self.five, key, Standing(nearly)),
            )

    def test_bound(self) -> None:
        key = RequestKey("GET", "", "/hot")
        load = dict.fromkeys("abcde", 0.0)
        standing = Standing(dict.fromkeys("abcde", 1.0), load)
        ranking = Consistent().order(self.five, key, standing)
        bounded = Consistent(150)
        self.assertEqual(bounded.order(self.five, key, standing), ranking)
        for _ in range(100):
            load[bounded.order(self.five, key, standing)[0]] += 1
        # 1.5 times the mean of 20, and the last for what is left.
        self.assertEqual([load[node] for node in ranking], [30, 30, 30, 10, 0])
        load[ranking[0]] -= 5
        self.assertEqual(bounded.order(self.five, key, standing)[0], ranking[0])

    def test_the_full_go_last(self) -> None:
        key = RequestKey("GET", "", "/x")
        load = dict.fromkeys("abcde", 0.0)
        standing = Standing(dict.fromkeys("abcde", 1.0), load)
        first, *others = Consistent().order(self.five, key, standing)
        load[first] = 10.0
        self.assertEqual(Consistent(125).order(self.five, key, standing), [*others, first])


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
            standing = Standing({"a": 1, "b": 1}, load)
            for _ in range(10):
                self.assertEqual(policy.order(two, ANY, standing)[0], first)

    def test_for_its_weight(self) -> None:
        two, policy = ReplicaSet(("a", "b"), "/"), LeastLoaded("f")
        load = {"a": 0.0, "b": 0.0}
        standing = Standing({"a": 3, "b": 1}, load)
        for _ in range(400):
            load[policy.order(two, ANY, standing)[0]] += 1
        self.assertEqual(load, {"a": 300, "b": 100})

    def test_never_the_fullest_of_three(self) -> None:
        standing = Standing(dict.fromkeys("abc", 1.0), {"a": 7, "b": 7, "c": 8})
        found = shares(LeastLoaded("f"), self.three, standing, 1000)
        self.assertEqual(set(found), {"a", "b"})
        for count in found.values():
            self.assertGreater(count, 400)

    def test_idle_nodes_share(self) -> None:
        found = shares(LeastLoaded("f"), self.three, alive("abc"), 3000)
        for count in found.values():
            self.assertGreater(count, 900)

    def test_front_ends_draw_differently(self) -> None:
        standing = alive("abc")

        def drawn(name: str) -> list[str]:
            policy = LeastLoaded(name)
            return [policy.order(self.three, ANY, standing)[0] for _ in range(50)]

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
            self.assertIsInstance(POLICIES[name](Choice(name), "f"), kind)
        self.assertEqual(len(POLICIES), 3)

    def test_a_rule_has_its_own(self) -> None:
        policies: Policy = Policies(Choice(), "f")
        usual = ReplicaSet(("a", "b"), "/")
        own = ReplicaSet(("a", "b"), "/own/", Choice("consistent"))
        standing = alive("ab")
        turns = [policies.order(usual, ANY, standing)[0] for _ in range(4)]
        self.assertIn(turns, (["a", "b"] * 2, ["b", "a"] * 2))
        fixed = {policies.order(own, ANY, standing)[0] for _ in range(4)}
        self.assertEqual(len(fixed), 1)

    def test_what_is_chosen_is_heeded(self) -> None:
        load = {"a": 0.0, "b": 0.0}
        standing = Standing({"a": 1.0, "b": 1.0}, load)
        policies = Policies(Choice("consistent", 125), "f")
        for _ in range(100):
            load[policies.order(ReplicaSet(("a", "b"), "/"), ANY, standing)[0]] += 1
        self.assertLess(max(load.values()), 64)

    def test_turns(self) -> None:
        """
        Of those that can say them beforehand; of one node, whatever chooses it.
        """
        standing = alive("ab")
        one, two = ReplicaSet(("b",), "/one/"), ReplicaSet(("a", "b"), "/two/")
        for name, turns in (("round-robin", ["a", "b"]), ("least-loaded", []), ("consistent", [])):
            policies: Cyclic = Policies(Choice(name), "a")
            self.assertEqual(policies.cycle(two, standing, 64), turns)
            self.assertEqual(policies.cycle(one, standing, 64), ["b"])
            self.assertEqual(policies.cycle(one, alive("a"), 64), [])

    def test_turns_of_a_rule_of_its_own(self) -> None:
        policies = Policies(Choice("consistent"), "b")
        own = ReplicaSet(("a", "b"), "/own/", Choice("round-robin"))
        self.assertEqual(policies.cycle(own, alive("ab"), 64), ["b", "a"])

    def test_texts(self) -> None:
        self.assertEqual(str(Choice("least-loaded")), "least-loaded")
        self.assertEqual(str(Choice("consistent", 125)), "consistent (balance factor 125)")


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
        draw = Sequence("s")
        numbers = [draw.below(4.0) for _ in range(1000)]
        self.assertGreaterEqual(min(numbers), 0.0)
        self.assertLess(max(numbers), 4.0)
        self.assertLess(abs(sum(numbers) / 1000 - 2.0), 0.15)
