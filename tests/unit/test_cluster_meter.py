# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.cluster.meter}.
"""

from __future__ import annotations

from collections import Counter

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from btcp.cluster import meter as load
from btcp.cluster.meter import LoadReading, Meter, processor_ticks


class MeterTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.counters: Counter[str] = Counter()
        self.fronts: list[int] = []
        self.backs: list[int] = []
        self.ticks: tuple[int, int] | None = (1000, 5000)
        self.meter = Meter(
            self.clock.seconds, self.counters, self.fronts, self.backs, lambda: self.ticks
        )

    def test_at_first(self) -> None:
        self.assertEqual(self.meter.read(), LoadReading())

    def test_connections(self) -> None:
        """
        As many as there are at this moment.
        """
        self.fronts += [1, 2]
        self.backs += [3]
        self.assertEqual(self.meter.read(), LoadReading(fronts=2, backs=1))

    def test_rate(self) -> None:
        """
        The older, the less it counts.
        """
        rates = []
        for begun in (10, 0, 0):
            self.counters["adopt.begun"] += begun
            self.clock.advance(1)
            rates.append(self.meter.read().rate)
        self.assertEqual(rates, [5.0, 2.5, 1.25])

    def test_cleared(self) -> None:
        """
        Somebody sets the counters back.
        """
        self.counters["adopt.begun"] = 100
        self.clock.advance(1)
        self.meter.read()
        self.counters.clear()
        self.clock.advance(1)
        self.assertGreaterEqual(self.meter.read().rate, 0)

    def test_processors(self) -> None:
        shares = []
        for busy, idle in ((25, 75), (100, 0), (0, 0)):
            assert self.ticks is not None
            self.ticks = self.ticks[0] + busy, self.ticks[1] + busy + idle
            self.clock.advance(1)
            shares.append(self.meter.read().cpu)
        self.assertEqual(shares, [0.25, 0.625, None])

    def test_not_told(self) -> None:
        self.ticks = None
        self.clock.advance(1)
        self.assertIsNone(self.meter.read().cpu)

    def test_asked_often(self) -> None:
        """
        Every link asks with every heartbeat.
        """
        self.counters["adopt.begun"] = 10
        self.clock.advance(1)
        readings = [self.meter.read().rate]
        for _ in range(4):
            self.clock.advance(0.1)
            readings.append(self.meter.read().rate)
        self.assertEqual(readings, [5.0] * 5)


class ProcessorTests(SynchronousTestCase):
    def test_this_host(self) -> None:
        ticks = processor_ticks()
        assert ticks is not None
        busy, all_there_were = ticks
        self.assertTrue(0 < busy <= all_there_were)

    def test_no_such_file(self) -> None:
        self.patch(load, "_STAT", load._STAT / "none")
        self.assertIsNone(processor_ticks())
