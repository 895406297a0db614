# SPDX-License-Identifier: MIT
"""
Medians, how far apart the rounds are, and percentiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from statistics import median

from attrs import frozen

_NORMAL = 1.4826
"""What makes a median absolute deviation a standard deviation, if the law is normal."""


@frozen
class Spread:
    """
    Of the rounds.
    """

    middle: float
    least: float
    most: float


def spread(values: Sequence[float]) -> Spread:
    """
    @param values: at least one.
    """
    return Spread(median(values), min(values), max(values))


def noise(values: Sequence[float]) -> float:
    """
    How far the rounds are from their median, without those few that are very far.

    @return: in the values' unit, comparable to a standard deviation; 0 of a single one.
    """
    middle = median(values)
    return _NORMAL * median(abs(value - middle) for value in values)


def percentile(values: Sequence[float], percent: float) -> float:
    """
    @param values: at least one, in any order.
    @return: the smallest value that so many per cent of the values do not exceed.
    """
    ordered = sorted(values)
    return ordered[max(ceil(len(ordered) * percent / 100), 1) - 1]
