# SPDX-License-Identifier: MIT
"""
The works whose clients are wrk alone, and what every work is.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from attrs import frozen

from tests.bench.measure import loaded, targets
from tests.bench.result import Run
from tests.bench.stage import Stage
from tests.bench.systems import System
from tests.bench.wrk import Load

SECONDS = 2
TEN_MEGABYTES = 10 << 20


class Work(Protocol):
    """
    @ivar name: C{WORK} of the command, and in the results.
    @ivar title: for people.
    @ivar primary: the metric that ratios are made of.
    @ivar shown: the metrics of the table.
    @ivar systems: in the order in which they are measured.
    """

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def primary(self) -> str: ...
    @property
    def shown(self) -> Sequence[str]: ...
    @property
    def systems(self) -> Sequence[System]: ...

    def stage(self) -> AbstractContextManager[Stage] | None:
        """
        @return: labs of the work's own; C{None} if it shares those of the others.
        """
        ...

    def measure(self, stage: Stage, system: System) -> Run:
        """
        Once.
        """
        ...


_COSTS = ("machine_us", "front_us", "fe_bytes", "fe_packets")
_LATENCY = ("p50_us", "p99_us", "p999_us")


@frozen
class Plain:
    """
    One object, again and again, as fast as can be.
    """

    name: str
    title: str
    systems: Sequence[System]
    load: Load
    path: str = "1k"
    primary: str = "requests_per_s"
    shown: Sequence[str] = ("requests_per_s", *_LATENCY, *_COSTS)

    def stage(self) -> None:
        """
        See L{Work.stage}.
        """
        return None

    def measure(self, stage: Stage, system: System) -> Run:
        """
        See L{Work.measure}.
        """
        return loaded(stage, system, self.load, targets(system, self.path))


def plain(systems: Sequence[System]) -> Sequence[Work]:
    """
    @return: short, keepalive and bulk.
    """
    return (
        Plain(
            "short",
            "New connection for each request, 1 kB",
            systems,
            Load(64, SECONDS, close=True),
        ),
        Plain("keepalive", "Requests on kept connections, 1 kB", systems, Load(64, SECONDS)),
        Plain(
            "bulk",
            "10 MB objects",
            systems,
            Load(8, SECONDS, size=TEN_MEGABYTES),
            path="10m",
            primary="mb_per_s",
            shown=("mb_per_s", *_COSTS),
        ),
    )
