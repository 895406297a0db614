# SPDX-License-Identifier: MIT
"""
How evenly policies spread requests that they place without looking at load.

C{consistent} gives all requests for a content to one node, so how many requests each content
had says how many each node had.  C{round-robin} repeats itself when the sum of the weights has
gone by: one such cycle is run by the policy itself and counted as often as it fits, and so is
what is left over for each front-end.  Both ways give exactly what as many single decisions would.
"""

from __future__ import annotations

import numpy as np
from attrs import define, frozen
from numpy.typing import NDArray

from btcp.content.contract import RequestKey
from btcp.partition.contract import ReplicaSet, Snapshot
from btcp.partition.roundrobin import RoundRobin
from tests.fleet.content import Counts, check, names, numbers, placed

_ANY = RequestKey("GET", "", "/")
_CHECKED = 300
"""Contents that are also ranked by the policy itself, of each fleet."""

SEED = 20


@frozen
class Balance:
    """
    @ivar most: requests of the busiest node for its weight, of the mean.
    @ivar least: of the idlest.
    """

    most: float
    least: float


def balance_of(requests: Counts, weights: NDArray[np.float64]) -> Balance:
    """
    @param requests: of each node.
    """
    fair = requests.sum() * weights / weights.sum()
    ratios = requests / fair
    return Balance(float(ratios.max()), float(ratios.min()))


def mixed(nodes: int) -> NDArray[np.float64]:
    """
    @return: weights, every other one twice as large.
    """
    return np.where(np.arange(nodes) % 2, 200.0, 100.0)


def round_robin(fronts: int, requests: int, weights: NDArray[np.float64]) -> Counts:
    """
    @param requests: of all front-ends together.
    @return: requests of each node.
    """
    nodes, whole = names(len(weights)), weights.astype(int)
    turns = int((whole // np.gcd.reduce(whole)).sum())
    cycle = _turns(nodes[0], turns, weights)
    each = np.random.default_rng(SEED).multinomial(requests, np.full(fronts, 1 / fronts))
    total = cycle * int((each // turns).sum())
    for front, rest in zip(names(fronts), (each % turns).tolist(), strict=True):
        total += _turns(front, rest, weights)
    return total


def _turns(front: str, count: int, weights: NDArray[np.float64]) -> Counts:
    """
    @return: how many of a front-end's first requests go to each node.
    """
    nodes = names(len(weights))
    places = {node: place for place, node in enumerate(nodes)}
    policy, replicas = RoundRobin(front), ReplicaSet(nodes, "/")
    snapshot = Snapshot(dict(zip(nodes, weights.tolist(), strict=True)))
    chosen = [places[policy.rank(replicas, _ANY, snapshot)[0]] for _ in range(count)]
    return np.bincount(np.array(chosen, np.int64), minlength=len(nodes))


@frozen
class Death:
    """
    What the death of one node does under C{consistent}.

    @ivar moved: share of all requests that another node answers now.
    @ivar own: share that the dead node had.
    @ivar spread: how many nodes have a part of them.
    @ivar most: as in L{Balance}, of those that are left.
    """

    moved: float
    own: float
    spread: int
    most: float


@define
class Spread:
    """
    Where C{consistent} puts the contents.

    @ivar places: of each content the first node and the second.
    """

    nodes: tuple[str, ...]
    weights: NDArray[np.float64]
    places: tuple[Counts, Counts]

    @classmethod
    def of(cls, contents: int, weights: NDArray[np.float64]) -> Spread:
        """
        Place them all.

        @raise ValueError: the policy, asked about some of them, says otherwise.
        """
        nodes = names(len(weights))
        found = placed(numbers(contents), nodes, weights)
        sample = np.random.default_rng(SEED).integers(0, contents, min(_CHECKED, contents))
        check(sample, found, nodes, weights)
        return cls(nodes, weights, found)

    def requests(self, asked: Counts) -> Counts:
        """
        @param asked: requests for each content.
        @return: requests of each node.
        """
        return _sums(self.places[0], asked, len(self.nodes))

    def death(self, asked: Counts) -> Death:
        """
        @return: what the death of the busiest node does.
        """
        first, second = self.places
        each = self.requests(asked)
        dead = int(each.argmax())
        lost = first == dead
        after = each + _sums(second[lost], asked[lost], len(self.nodes))
        left = np.arange(len(self.nodes)) != dead
        return Death(
            moved=float(asked[lost].sum() / asked.sum()),
            own=float(each[dead] / each.sum()),
            spread=len(np.unique(second[lost])),
            most=balance_of(after[left], self.weights[left]).most,
        )


def _sums(places: Counts, amounts: Counts, count: int) -> Counts:
    return np.bincount(places, weights=amounts, minlength=count).astype(np.int64)
