# SPDX-License-Identifier: MIT
"""
How evenly policies spread requests that they place without looking at load.

C{consistent} gives all requests for a content to one node, so how many requests each content
had says how many each node had.  C{round-robin} repeats itself when the sum of the weights has
gone by: one such cycle is run by the policy itself, and repeated for each front-end as often as
it had requests.  Both ways give exactly what as many single decisions would.
"""

from __future__ import annotations

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from btcp.content.contract import RequestKey
from btcp.partition.contract import ReplicaSet, Standing
from btcp.partition.roundrobin import RoundRobin
from tests.fleet.content import Catalogue, Counts, check, names, placed

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
    nodes = names(len(weights))
    turns = int((weights / np.gcd.reduce(weights.astype(int))).sum())
    policy, replicas = RoundRobin(), ReplicaSet(nodes, "/")
    standing = Standing(dict(zip(nodes, weights.tolist(), strict=True)))
    places = {node: place for place, node in enumerate(nodes)}
    chosen = [places[policy.order(replicas, _ANY, standing)[0]] for _ in range(turns)]
    cycle = np.bincount(chosen, minlength=len(nodes))
    each = np.random.default_rng(SEED).multinomial(requests, np.full(fronts, 1 / fronts))
    total = cycle * int((each // turns).sum())
    for rest in (each % turns).tolist():
        total += np.bincount(chosen[:rest], minlength=len(nodes))
    return total


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


def consistent(
    catalogue: Catalogue, requests: int, weights: NDArray[np.float64]
) -> tuple[Counts, Death]:
    """
    @return: requests of each node, and what the death of the busiest does.
    """
    random, nodes = np.random.default_rng(SEED), names(len(weights))
    asked = catalogue.asked(requests, random)
    found = placed(catalogue.numbers(), nodes, weights)
    sample = random.integers(0, catalogue.contents, min(_CHECKED, catalogue.contents))
    check(sample, found, nodes, weights)
    first, second = found
    each = np.bincount(first, weights=asked, minlength=len(nodes)).astype(np.int64)
    dead = int(each.argmax())
    heirs = second[first == dead]
    after = each + np.bincount(heirs, weights=asked[first == dead], minlength=len(nodes))
    after[dead] = 0
    left = np.arange(len(nodes)) != dead
    rest = balance_of(after[left].astype(np.int64), weights[left])
    moved, own = float(asked[first == dead].sum() / requests), float(each[dead] / requests)
    return each, Death(moved, own, len(np.unique(heirs)), rest.most)
