# SPDX-License-Identifier: MIT
"""
What fell since an earlier result by more than the noise of both.

Ratios are compared, not rates: both systems of a ratio were measured in the same minute, and
the two results were not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from attrs import frozen

from tests.bench.metrics import METRICS
from tests.bench.ratios import compared, ratio
from tests.bench.result import Outcome
from tests.bench.statistic import noise


@frozen
class Fall:
    """
    @ivar key: of the ratio, or of the system that has errors now.
    @ivar before: C{None} if there was no figure.
    @ivar after: C{None} if there is no figure now.
    @ivar noise: of both together.
    """

    key: str
    before: float | None
    after: float | None
    noise: float

    def __str__(self) -> str:
        if self.before is None or self.after is None:
            return f"{self.key}: had a figure, and has errors now"
        return f"{self.key}: {self.before:.3f} -> {self.after:.3f}, noise {self.noise:.3f}"


Works = Mapping[str, Mapping[str, Outcome]]


def falls(before: Works, after: Works, primary: Mapping[str, str]) -> Iterator[Fall]:
    """
    @param primary: the metric of each work that ratios are made of.
    @return: what is worse, of all that both have.
    """
    for work in after:
        old, new = before.get(work, {}), after[work]
        for mode, peer in compared(new):
            if mode in old and peer in old:
                yield from _fall(f"{work}.{mode}/{peer}", old, new, primary[work], mode, peer)


def _fall(
    key: str,
    old: Mapping[str, Outcome],
    new: Mapping[str, Outcome],
    metric: str,
    mode: str,
    peer: str,
) -> Iterator[Fall]:
    was, now = ratio(old, metric, mode, peer), ratio(new, metric, mode, peer)
    if was is None:
        return
    if now is None:
        yield Fall(key, was, None, 0.0)
        return
    both = _noise(old, metric, mode, peer) + _noise(new, metric, mode, peer)
    loss = was - now if METRICS[metric].rises else now - was
    if loss > both:
        yield Fall(key, was, now, both)


def _noise(outcomes: Mapping[str, Outcome], metric: str, mode: str, peer: str) -> float:
    """
    @return: of the ratio, round by round.
    """
    pairs = zip(outcomes[mode].rounds(metric), outcomes[peer].rounds(metric), strict=False)
    rounds = [mine / theirs for mine, theirs in pairs if theirs]
    return noise(rounds) if rounds else 0.0


def agreement(before: Works, after: Works, primary: Mapping[str, str]) -> dict[str, float]:
    """
    How far two results of the same tree are apart.

    @return: for each ratio of both, the difference as a part of the earlier one.
    """
    found = {}
    for work in after:
        old, new = before.get(work, {}), after[work]
        for mode, peer in compared(new):
            if mode in old and peer in old:
                was = ratio(old, primary[work], mode, peer)
                now = ratio(new, primary[work], mode, peer)
                if was and now is not None:
                    found[f"{work}.{mode}/{peer}"] = now / was - 1
    return found
