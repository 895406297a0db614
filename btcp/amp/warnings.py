# SPDX-License-Identifier: MIT
"""
Warnings about other hosts, at a rate that those hosts cannot choose.
"""

from __future__ import annotations

from attrs import define
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

INTERVAL = 10.0
"""Seconds from one warning of a kind to the next."""

log = Logger()


@define
class _Kind:
    """
    @ivar next: when the next warning may be logged, in seconds of the clock.
    @ivar left_out: the number of those that were not logged since the last.
    """

    next: float
    left_out: int = 0


class Warnings:
    """
    A log in which a kind of warning appears once in an interval at most, with the number of those
    left out.  The counters count all of them.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._kinds: dict[str, _Kind] = {}

    def __call__(self, kind: str, text: str, **fields: object) -> None:
        """
        Log a warning, or count it.

        @param kind: the name of a counter; there are few of them.
        @param text: a format string for C{fields}.
        """
        now = self._clock.seconds()
        known = self._kinds.get(kind)
        if known is not None and now < known.next:
            known.left_out += 1
            return
        if known is not None and known.left_out:
            text += " ({left_out} more like it were not logged)"
            fields["left_out"] = known.left_out
        self._kinds[kind] = _Kind(now + INTERVAL)
        log.warn(text, **fields)
