# SPDX-License-Identifier: MIT
"""
How evenly policies spread connections that last, with what front-ends know of loads.

Every decision is made by the policy itself, with the L{Loads<btcp.cluster.loads.Loads>} of
its front-end: reports that are as old as the last heartbeat, and what it gave since.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from heapq import heappop, heappush
from random import Random

import numpy as np
from attrs import define, field, frozen

from btcp.cluster.loads import Loads
from btcp.content.contract import RequestKey
from btcp.partition.contract import Policy, ReplicaSet, Snapshot
from tests.fleet.content import Catalogue, key_of, names

HEARTBEAT = 1.0
_LOOKS = 0.1
"""Seconds between two looks at all nodes."""


@frozen(kw_only=True)
class Traffic:
    """
    @ivar mean: connections that a node has at a time, if all have the same.
    @ivar lasts: seconds that a connection lasts, in the mean; it is distributed
        exponentially.
    @ivar seconds: that are looked at, after three times C{lasts} to fill.
    """

    nodes: int
    fronts: int
    mean: float
    lasts: float
    seconds: float
    catalogue: Catalogue

    @property
    def rate(self) -> float:
        """
        Connections in a second, of the fleet.
        """
        return self.nodes * self.mean / self.lasts


class Emptiest:
    """
    What C{least-loaded} could be, and is not: the emptiest of all nodes.
    """

    def rank(self, replicas: ReplicaSet, key: RequestKey, snapshot: Snapshot) -> list[str]:
        """
        See L{btcp.partition.contract.Policy.rank}.
        """
        return sorted(replicas.nodes, key=lambda node: snapshot.load.get(node, 0.0))


@frozen
class Front:
    """
    A front-end, as far as it places.

    @ivar held: how many connections it has at each node.
    """

    policy: Policy
    held: Counter[str]
    snapshot: Snapshot


@define
class Seen:
    """
    @ivar most: connections of the busiest node, of the mean, at each look.
    @ivar again: requests for a content that was asked for before.
    @ivar home: of these, those that went to the node that had it the first time.
    """

    decisions: int = 0
    most: list[float] = field(factory=list)
    again: int = 0
    home: int = 0

    @property
    def usual(self) -> float:
        """
        The mean of L{most}.
        """
        return sum(self.most) / len(self.most)

    @property
    def stayed(self) -> float:
        """
        Share of repeated requests that found the node they had found before.
        """
        return self.home / self.again


@define(eq=False)
class Busy:
    """
    One run.
    """

    traffic: Traffic
    make: Callable[[str], Policy]
    seen: Seen = field(factory=Seen)
    _random: Random = field(factory=lambda: Random(20))
    _now: float = 0.0
    _load: Counter[str] = field(factory=Counter)
    _ends: list[tuple[float, int, str]] = field(factory=list)
    _usual: dict[int, str] = field(factory=dict)

    def run(self) -> Seen:
        """
        Let it happen.
        """
        traffic = self.traffic
        nodes = names(traffic.nodes)
        replicas, weights = ReplicaSet(nodes, "/"), dict.fromkeys(nodes, 1.0)
        fronts = [self._front(name, weights) for name in names(traffic.fronts)]
        begin = 3 * traffic.lasts
        end, look = begin + traffic.seconds, begin
        contents = iter(self._contents(int(traffic.rate * end * 1.2) + 100))
        reports = self._reports(nodes)
        while self._now < end:
            self._now += self._random.expovariate(traffic.rate)
            self._finish(fronts)
            while reports[0][0] <= self._now:
                self._report(reports, fronts)
            self._place(fronts, replicas, next(contents))
            if self._now >= look:
                look += _LOOKS
                self.seen.most.append(max(self._load.values()) / (self._load.total() / len(nodes)))
        return self.seen

    def _front(self, name: str, weights: dict[str, float]) -> Front:
        held: Counter[str] = Counter()
        return Front(self.make(name), held, Snapshot(weights, Loads(held)))

    def _contents(self, count: int) -> list[int]:
        drawn = np.random.default_rng(20).choice(
            self.traffic.catalogue.contents, count, p=self.traffic.catalogue.shares
        )
        return [int(each) for each in drawn]

    def _reports(self, nodes: tuple[str, ...]) -> list[tuple[float, str]]:
        # Heartbeats of different nodes know nothing of each other.
        return sorted((self._random.random() * HEARTBEAT, node) for node in nodes)

    def _report(self, reports: list[tuple[float, str]], fronts: list[Front]) -> None:
        at, node = heappop(reports)
        for front in fronts:
            assert isinstance(front.snapshot.load, Loads)
            front.snapshot.load.report(node, self._load[node])
        heappush(reports, (at + HEARTBEAT, node))

    def _place(self, fronts: list[Front], replicas: ReplicaSet, content: int) -> None:
        number = self._random.randrange(len(fronts))
        front, key = fronts[number], key_of(content)
        chosen = front.policy.rank(replicas, key, front.snapshot)[0]
        front.held[chosen] += 1
        self._load[chosen] += 1
        lasts = self._random.expovariate(1 / self.traffic.lasts)
        heappush(self._ends, (self._now + lasts, number, chosen))
        self.seen.decisions += 1
        if content in self._usual:
            self.seen.again += 1
            self.seen.home += self._usual[content] == chosen
        else:
            self._usual[content] = chosen

    def _finish(self, fronts: list[Front]) -> None:
        while self._ends and self._ends[0][0] <= self._now:
            _, number, node = heappop(self._ends)
            fronts[number].held[node] -= 1
            self._load[node] -= 1
