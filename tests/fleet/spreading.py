# SPDX-License-Identifier: MIT
"""
Tables of how evenly policies spread, and what that costs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from btcp.partition.contract import Policy, PolicyChoice
from btcp.partition.policy import POLICIES
from tests.fleet.balance import SEED, Death, Spread, balance_of, mixed, round_robin
from tests.fleet.busy import Busy, Emptiest, Traffic
from tests.fleet.content import Catalogue
from tests.fleet.decisions import decision
from tests.fleet.page import micro, share, table, times
from tests.fleet.scale import Scale

CHOICES = (
    PolicyChoice("round-robin"),
    PolicyChoice("least-loaded"),
    PolicyChoice("consistent"),
    PolicyChoice("consistent", 150),
    PolicyChoice("consistent", 125),
)
LASTS = 2.0
"""Seconds that a connection lasts in the mean."""

EXPONENTS = 0.6, 0.9
SIZES = 3, 10, 100, 1000


def balance(scale: Scale) -> Iterator[str]:
    """
    All requests of the large fleet.
    """
    yield f"### {scale.requests:,} requests, {scale.nodes:,} nodes"
    yield ""
    yield (
        "Requests of the busiest and of the idlest node, of what is its share by weight."
        f" {scale.contents:,} contents by Zipf's law; every node is front-end as well."
    )
    yield ""
    rows: list[tuple[str, ...]] = []
    deaths: list[tuple[str, Death]] = []
    for weights, what in (
        (np.full(scale.nodes, 100.0), "equal"),
        (mixed(scale.nodes), "100 and 200"),
    ):
        found = balance_of(round_robin(scale.nodes, scale.requests, weights), weights)
        rows.append(("round-robin", "any", what, times(found.most), times(found.least)))
        spread = Spread.of(scale.contents, weights)
        for exponent in EXPONENTS:
            random = np.random.default_rng(SEED)
            asked = Catalogue(scale.contents, exponent).asked(scale.requests, random)
            found = balance_of(spread.requests(asked), weights)
            most, least = times(found.most), times(found.least)
            rows.append(("consistent", f"{exponent}", what, most, least))
            deaths.append((f"{exponent}, {what}", spread.death(asked)))
    yield from table(("policy", "exponent", "weights", "busiest", "idlest"), rows)
    yield "The busiest node dies, under `consistent`:"
    yield ""
    yield from table(
        ("exponent, weights", "had", "moves", "to nodes", "busiest then"),
        ((what, share(d.own), share(d.moved), str(d.spread), times(d.most)) for what, d in deaths),
    )


def lasting(scale: Scale) -> Iterator[str]:
    """
    Connections that last.
    """
    yield "### Connections that last"
    yield ""
    yield (
        f"{scale.mean:g} connections to a node in the mean, each {LASTS:g} s in the mean"
        " (exponential); nodes tell their load once a second. Busiest: connections of the"
        " busiest node, of the mean, in the mean over time. Again: share of repeated"
        " requests that found the node that had answered the first for that content."
    )
    yield ""
    rows = []
    for nodes, fronts in scale.busy:
        traffic = Traffic(
            nodes=nodes,
            fronts=fronts,
            mean=scale.mean,
            lasts=LASTS,
            seconds=scale.seconds,
            catalogue=Catalogue(max(scale.contents // 10, 1), EXPONENTS[-1]),
        )
        for name, make in _ways():
            print(f"  {name}, {nodes} nodes", file=sys.stderr)
            seen = Busy(traffic, make).run()
            again = share(seen.stayed)
            rows.append((name, f"{nodes:,}", f"{seen.decisions:,}", times(seen.usual), again))
    yield from table(("policy", "nodes", "decisions", "busiest", "again"), rows)


def _ways() -> Iterator[tuple[str, Callable[[str], Policy]]]:
    for choice in CHOICES:
        yield str(choice), partial(POLICIES[choice.name], choice)
    yield "*the emptiest of all*", lambda front: Emptiest()


def cost(scale: Scale) -> Iterator[str]:
    """
    Of one decision, by the size of a replica set.
    """
    yield "### A decision"
    yield ""
    yield "CPU for one, by how many nodes hold the content (measured)."
    yield ""
    rows = (
        (str(choice), *(micro(decision(choice, nodes)) for nodes in SIZES))
        for choice in (*CHOICES[:3], CHOICES[-1])
    )
    yield from table(("policy", *(f"{nodes:,} nodes" for nodes in SIZES)), rows)
