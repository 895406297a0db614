# SPDX-License-Identifier: MIT
"""
The one line for programs: ratios of medians.

Keys are C{WORK.MODE/PEER} for a ratio, C{WORK.MODE.WHAT} for what is a ratio by itself or a
count.  C{None} stands where a system had errors, so that there is no figure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tests.bench.result import Outcome
from tests.bench.systems import MODES, PEERS

_BY_THEMSELVES = {
    "short": ("fe_bytes",),
    "keepalive": ("fe_bytes",),
    "bulk": ("fe_bytes",),
    "flood": ("kept",),
    "flows": ("kept", "octets_per_flow"),
    "locality": ("hits",),
}
"""What needs no peer to be compared with, by work."""

_DIGITS = 4


def peers_of(outcomes: Mapping[str, Outcome]) -> list[str]:
    """
    @return: what the others of a work are compared with: the peers, and where there are none the
        first that was measured.
    """
    known = [peer.name for peer in PEERS if peer.name in outcomes]
    return known or list(outcomes)[:1]


def ratio(outcomes: Mapping[str, Outcome], metric: str, one: str, other: str) -> float | None:
    """
    @return: the quotient of two systems' medians.
    """
    mine, theirs = outcomes[one].spread(metric), outcomes[other].spread(metric)
    return mine.middle / theirs.middle if mine and theirs and theirs.middle else None


def compared(outcomes: Mapping[str, Outcome]) -> Iterator[tuple[str, str]]:
    """
    @return: each system with each of its peers.
    """
    peers = peers_of(outcomes)
    modes = [name for name in outcomes if name not in peers]
    return ((mode, peer) for mode in modes for peer in peers)


def flat(
    works: Mapping[str, Mapping[str, Outcome]], primary: Mapping[str, str]
) -> dict[str, float | None]:
    """
    @param primary: the metric of each work that ratios are made of.
    """
    found: dict[str, float | None] = {}
    for work, outcomes in works.items():
        for mode, peer in compared(outcomes):
            value = ratio(outcomes, primary[work], mode, peer)
            found[f"{work}.{mode}/{peer}"] = _rounded(value)
        for name, outcome in outcomes.items():
            for metric in _BY_THEMSELVES.get(work, ()):
                if outcome.rounds(metric):
                    spread = outcome.spread(metric)
                    value = None if spread is None else spread.middle
                    found[f"{work}.{name}.{metric}"] = _rounded(value)
            found[f"{work}.{name}.errors"] = outcome.errors
        if work == "latency":
            found |= _added(outcomes)
    return found


_MODES: Sequence[str] = tuple(mode.name for mode in MODES)


def _added(outcomes: Mapping[str, Outcome]) -> Iterator[tuple[str, float | None]]:
    """
    Microseconds more than of a direct connection.
    """
    for name in _MODES:
        for metric in ("p50_us", "p99_us"):
            if name in outcomes and "direct" in outcomes:
                mine, floor = outcomes[name].spread(metric), outcomes["direct"].spread(metric)
                added = mine.middle - floor.middle if mine and floor else None
                yield f"latency.{name}.added_{metric}", _rounded(added)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, _DIGITS)
