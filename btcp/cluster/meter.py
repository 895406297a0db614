# SPDX-License-Identifier: MIT
"""
Measurement of this node's own load.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sized
from pathlib import Path

from attrs import evolve, frozen

_FRESH = 0.5
"""Seconds for which a reading is reused.  Every link reads the meter, at its own times."""

_SMOOTHING = 0.5
"""Weight of a new sample in the exponential moving averages."""

_STAT = Path("/proc/stat")


@frozen
class LoadReading:
    """
    One reading of the load.

    @ivar fronts: connections of which this node is the front-end.
    @ivar backs: connections of which this node is the back-end.
    @ivar rate: connections per second that the origin received, a moving average.
    @ivar cpu: busy share of the processors, 0 to 1, a moving average; C{None} if unknown.
    """

    fronts: int = 0
    backs: int = 0
    rate: float = 0.0
    cpu: float | None = None


def processor_ticks() -> tuple[int, int] | None:
    """
    Read the processor times of this host, see C{proc_stat(5)}.

    @return: busy time and total time of all processors since boot, in clock ticks; C{None} if
        they cannot be read.
    """
    try:
        words = _STAT.read_bytes().partition(b"\n")[0].split()[1:9]
        user, nice, system, idle, waiting, *stolen = map(int, words)
    except (OSError, ValueError):
        return None
    busy = user + nice + system + sum(stolen)
    return busy, busy + idle + waiting


class Meter:
    """
    Load meter of this node: numbers of connections, and moving averages of connection rate and
    processor use.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        counters: Counter[str],
        fronts: Sized,
        backs: Sized,
        ticks: Callable[[], tuple[int, int] | None] = processor_ticks,
    ) -> None:
        self._fronts, self._backs = fronts, backs
        self._clock = clock
        self._counters = counters
        self._ticks = ticks
        self._at, self._begun, self._before = clock(), self._count_begun(), ticks()
        self._load = LoadReading()

    def read(self) -> LoadReading:
        """
        Take a reading.  Averages are updated at most twice a second.
        """
        self._count()
        return evolve(self._load, fronts=len(self._fronts), backs=len(self._backs))

    def _count_begun(self) -> int:
        return self._counters["adopt.begun"] + self._counters["ebpf.adopted"]

    def _count(self) -> None:
        now = self._clock()
        passed = now - self._at
        if passed >= _FRESH:
            begun, ticks = self._count_begun(), self._ticks()
            rate = (begun - self._begun) / passed
            cpu = _share(self._before, ticks)
            if cpu is not None and self._load.cpu is not None:
                cpu += (self._load.cpu - cpu) * (1 - _SMOOTHING)
            rate += (self._load.rate - rate) * (1 - _SMOOTHING)
            self._at, self._begun, self._before = now, begun, ticks
            # An operator can reset counters, which makes the difference negative.
            cpu = None if cpu is None else round(cpu, 3)
            self._load = LoadReading(rate=max(rate, 0.0), cpu=cpu)


class CombinedSize:
    """
    The number of connections in the core's table and of those that the kernel handles alone.
    """

    def __init__(self, core: Sized, others: Callable[[], int]) -> None:
        self._core = core
        self._others = others

    def __len__(self) -> int:
        return len(self._core) + self._others()


def _share(before: tuple[int, int] | None, after: tuple[int, int] | None) -> float | None:
    if before is None or after is None or after[1] <= before[1]:
        return None
    return min(max((after[0] - before[0]) / (after[1] - before[1]), 0.0), 1.0)
