# SPDX-License-Identifier: MIT
"""
What holds for policies whatever the nodes, their weights and their loads.
"""

from __future__ import annotations

from collections import Counter
from math import ceil
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from btcp.content.contract import RequestKey
from btcp.partition.consistent import Consistent
from btcp.partition.contract import Policy, PolicyChoice, ReplicaSet, Snapshot
from btcp.partition.leastloaded import LeastLoaded
from btcp.partition.policy import POLICIES
from btcp.partition.roundrobin import RoundRobin

ANY = RequestKey("GET", "", "/")
NAMES = tuple("abcdefgh")

replicas = st.lists(st.sampled_from(NAMES), min_size=1, unique=True).map(
    lambda names: ReplicaSet(tuple(names), "/")
)
whole_weights = st.dictionaries(st.sampled_from(NAMES), st.integers(0, 5).map(float))
weights = st.dictionaries(
    st.sampled_from(NAMES), st.one_of(st.just(0.0), st.floats(0.001, 10_000.0))
)
loads = st.dictionaries(st.sampled_from(NAMES), st.floats(0.0, 1e6))
keys = st.builds(
    RequestKey, st.just("GET"), st.text("ab.", max_size=4), st.text(max_size=4).map("/{}".format)
)
choices = st.one_of(
    st.sampled_from(sorted(POLICIES)).map(PolicyChoice),
    st.builds(PolicyChoice, st.just("consistent"), st.integers(101, 10_000)),
)


def first(policy: Policy, replicas: ReplicaSet, key: RequestKey, snapshot: Snapshot) -> str:
    """
    Who is asked.
    """
    return policy.rank(replicas, key, snapshot)[0]


class EveryPolicy(SynchronousTestCase):
    """
    What L{btcp.partition.contract.Policy} promises.
    """

    @given(
        choice=choices,
        replicas=replicas,
        turns=st.lists(st.tuples(keys, weights, loads), max_size=8),
    )
    def test_all_that_may_be_chosen_and_no_other(
        self,
        choice: PolicyChoice,
        replicas: ReplicaSet,
        turns: list[tuple[RequestKey, dict[str, float], dict[str, float]]],
    ) -> None:
        policy = POLICIES[choice.name](choice, "f")
        for key, live, load in turns:
            snapshot = Snapshot(live, load)
            wanted = sorted(node for node in replicas.nodes if live.get(node, 0.0) > 0)
            for _ in range(3):
                self.assertEqual(sorted(policy.rank(replicas, key, snapshot)), wanted)

    @given(choice=choices, replicas=replicas, key=keys, live=weights)
    def test_an_order_is_the_askers_own(
        self, choice: PolicyChoice, replicas: ReplicaSet, key: RequestKey, live: dict[str, float]
    ) -> None:
        policy, snapshot = POLICIES[choice.name](choice, "f"), Snapshot(live)
        policy.rank(replicas, key, snapshot).clear()
        wanted = [node for node in replicas.nodes if live.get(node, 0.0) > 0]
        self.assertEqual(len(policy.rank(replicas, key, snapshot)), len(wanted))


class RoundRobinProperties(SynchronousTestCase):
    """
    Properties of L{RoundRobin}.
    """

    @given(replicas=replicas, before=st.lists(whole_weights, max_size=5), live=whole_weights)
    def test_shares_are_exact(
        self, replicas: ReplicaSet, before: list[dict[str, float]], live: dict[str, float]
    ) -> None:
        """
        Once all nodes start at nothing.
        """
        policy = RoundRobin("f")
        for earlier in before:
            policy.rank(replicas, ANY, Snapshot(earlier))
        policy.rank(replicas, ANY, Snapshot({}))
        wanted = {node: live[node] for node in replicas.nodes if live.get(node)}
        snapshot, total = Snapshot(live), int(sum(wanted.values()))
        found = Counter(first(policy, replicas, ANY, snapshot) for _ in range(2 * total))
        self.assertEqual(found, {node: 2 * weight for node, weight in wanted.items()})

    @given(
        replicas=replicas,
        live=st.sets(st.sampled_from(NAMES)),
        rounds=st.integers(1, 5),
        front=st.sampled_from((*NAMES, "f1", "f2")),
    )
    def test_equals_take_turns(
        self, replicas: ReplicaSet, live: set[str], rounds: int, front: str
    ) -> None:
        policy, snapshot = RoundRobin(front), Snapshot(dict.fromkeys(live, 1.0))
        alive = [node for node in replicas.nodes if node in live]
        found = [first(policy, replicas, ANY, snapshot) for _ in range(rounds * len(alive))]
        begin = alive.index(found[0]) if alive else 0
        self.assertEqual(found, (alive[begin:] + alive[:begin]) * rounds)

    @given(replicas=replicas, lives=st.lists(weights, max_size=20), live=weights)
    def test_nobody_is_forgotten(
        self, replicas: ReplicaSet, lives: list[dict[str, float]], live: dict[str, float]
    ) -> None:
        """
        Whatever was before, everybody has a turn before somebody has had many.
        """
        policy = RoundRobin("f")
        for earlier in lives:
            policy.rank(replicas, ANY, Snapshot(earlier))
        mine = {node: 1.0 + live[node] / 10_000 for node in replicas.nodes if live.get(node)}
        snapshot = Snapshot(mine)
        found = {first(policy, replicas, ANY, snapshot) for _ in range(1000 if mine else 0)}
        self.assertEqual(found, set(mine))

    @given(replicas=replicas, live=weights, most=st.integers(1, 64), front=st.sampled_from(NAMES))
    def test_a_cycle_is_what_it_would_say(
        self, replicas: ReplicaSet, live: dict[str, float], most: int, front: str
    ) -> None:
        """
        From the beginning, whatever it has said by now; and it says on what it would have said.
        """
        policy, other, snapshot = RoundRobin(front), RoundRobin(front), Snapshot(live)
        alive = {node for node in replicas.nodes if live.get(node)}
        said = policy.cycle(replicas, snapshot, most)
        self.assertEqual(bool(said), bool(alive))
        self.assertLessEqual(len(said), most)
        for asked in said:
            self.assertEqual(first(policy, replicas, ANY, snapshot), asked)
            self.assertEqual(policy.cycle(replicas, snapshot, most), said)
            self.assertEqual(first(other, replicas, ANY, snapshot), asked)

    @given(replicas=replicas, live=whole_weights, unit=st.sampled_from((1.0, 7.0, 100.0)))
    def test_shares_of_a_cycle_are_exact(
        self, replicas: ReplicaSet, live: dict[str, float], unit: float
    ) -> None:
        """
        With whole weights that have few turns; whatever their unit.
        """
        snapshot = Snapshot({node: unit * weight for node, weight in live.items()})
        wanted = {node: live[node] for node in replicas.nodes if live.get(node)}
        found = Counter(RoundRobin("f").cycle(replicas, snapshot, 64))
        times = {wanted[node] / count for node, count in found.items()}
        self.assertEqual(set(found), set(wanted))
        self.assertLessEqual(len(times), 1)

    @given(replicas=replicas, live=weights, most=st.integers(1, 64))
    def test_shares_of_a_cycle(
        self, replicas: ReplicaSet, live: dict[str, float], most: int
    ) -> None:
        """
        To some turns, with any weights.
        """
        wanted = {node: live[node] for node in replicas.nodes if live.get(node)}
        found = RoundRobin("f").cycle(replicas, Snapshot(live), most)
        for node, weight in wanted.items():
            share = len(found) * weight / sum(wanted.values())
            self.assertLess(abs(found.count(node) - share), len(wanted) + 1e-6)

    @given(share=st.floats(0.05, 1.0))
    def test_of_two_the_smaller_share_is_right(self, share: float) -> None:
        """
        As in a slow start; the unit of weights is nobody's business.
        """
        both = ReplicaSet(("a", "b"), "/")
        for unit in (0.01, 1.0, 100.0):
            found = RoundRobin("f").cycle(both, Snapshot({"a": unit, "b": share * unit}), 64)
            right = share / (1 + share)
            self.assertLess(abs(found.count("b") / len(found) - right), 1 / 32)


class ConsistentProperties(SynchronousTestCase):
    """
    Properties of L{Consistent}.
    """

    @given(replicas=replicas, key=keys, live=weights, gone=st.sets(st.sampled_from(NAMES)))
    def test_who_stays_keeps_the_order(
        self, replicas: ReplicaSet, key: RequestKey, live: dict[str, float], gone: set[str]
    ) -> None:
        """
        So what one node had moves to the next of each ranking, and nothing else.
        """
        before = Consistent().rank(replicas, key, Snapshot(live))
        rest = {node: weight for node, weight in live.items() if node not in gone}
        after = Consistent().rank(replicas, key, Snapshot(rest))
        self.assertEqual(after, [node for node in before if node not in gone])

    @given(
        replicas=replicas,
        key=keys,
        live=weights,
        grows=st.sampled_from(NAMES),
        factor=st.floats(1.0, 100.0),
    )
    def test_who_grows_takes_and_gives_nothing(
        self,
        replicas: ReplicaSet,
        key: RequestKey,
        live: dict[str, float],
        grows: str,
        factor: float,
    ) -> None:
        before = Consistent().rank(replicas, key, Snapshot(live))
        more = {**live, grows: live.get(grows, 0.0) * factor}
        after = Consistent().rank(replicas, key, Snapshot(more))
        self.assertEqual(
            [node for node in after if node != grows], [node for node in before if node != grows]
        )
        if grows in before:
            self.assertLessEqual(after.index(grows), before.index(grows))

    @given(replicas=replicas, key=keys, live=weights, order=st.randoms(use_true_random=False))
    def test_how_it_is_written_is_nothing(
        self, replicas: ReplicaSet, key: RequestKey, live: dict[str, float], order: Random
    ) -> None:
        found = Consistent().rank(replicas, key, Snapshot(live))
        nodes = list(replicas.nodes)
        order.shuffle(nodes)
        shuffled = ReplicaSet(tuple(nodes), "/other/")
        self.assertEqual(Consistent().rank(shuffled, key, Snapshot(live)), found)

    @given(
        replicas=replicas,
        live=weights,
        factor=st.integers(101, 1000),
        steps=st.lists(st.tuples(keys, st.integers(0, 3))),
    )
    def test_the_bound_holds(
        self,
        replicas: ReplicaSet,
        live: dict[str, float],
        factor: int,
        steps: list[tuple[RequestKey, int]],
    ) -> None:
        """
        Connections come and end in any order; each goes to the first of its ranking
        that has room, and there is always one.
        """
        policy, load = Consistent(factor), dict.fromkeys(NAMES, 0.0)
        snapshot = Snapshot(live, load)
        mine = {node: live[node] for node in replicas.nodes if live.get(node)}
        had: list[str] = []
        for key, ended in steps if mine else ():
            ranking = Consistent().rank(replicas, key, snapshot)
            chosen = first(policy, replicas, key, snapshot)
            load[chosen] += 1
            had.append(chosen)
            room = {
                node: ceil(len(had) * factor / 100 * (weight / sum(mine.values())))
                for node, weight in mine.items()
            }
            self.assertLessEqual(load[chosen], room[chosen])
            for node in ranking[: ranking.index(chosen)]:
                self.assertGreaterEqual(load[node], room[node])
            for _ in range(min(ended, len(had))):
                load[had.pop(0)] -= 1


class LeastLoadedProperties(SynchronousTestCase):
    """
    Properties of L{LeastLoaded}.
    """

    @given(
        replicas=replicas,
        live=weights,
        load=st.dictionaries(st.sampled_from(NAMES), st.integers(0, 50).map(float)),
        seed=st.text(max_size=3),
    )
    def test_the_better_of_the_first_two(
        self,
        replicas: ReplicaSet,
        live: dict[str, float],
        load: dict[str, float],
        seed: str,
    ) -> None:
        policy, snapshot = LeastLoaded(seed), Snapshot(live, load)
        for _ in range(10):
            order = policy.rank(replicas, ANY, snapshot)
            filled = [(load.get(node, 0.0) + 1) / live[node] for node in order[:2]]
            self.assertEqual(filled, sorted(filled))
