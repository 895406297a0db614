# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.lab.distance}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from btcp.lab.distance import Line


class LineTests(SynchronousTestCase):
    def test_nothing_under_way(self) -> None:
        line = Line(0.1)
        self.assertIsNone(line.due)
        self.assertIsNone(line.take(99.0))

    def test_delay(self) -> None:
        """
        Each packet arrives after the delay, in order.
        """
        line = Line(0.1)
        self.assertTrue(line.put(b"one", 5.0))
        self.assertTrue(line.put(b"two", 5.05))
        self.assertEqual(line.due, 5.1)
        self.assertIsNone(line.take(5.09))
        self.assertEqual(line.take(5.1), b"one")
        self.assertIsNone(line.take(5.1))
        self.assertEqual(line.take(5.2), b"two")
        self.assertIsNone(line.due)

    def test_rate(self) -> None:
        """
        A packet takes its time, and the next one waits for it.
        """
        line = Line(0.5, rate=100)
        for now in (1.0, 1.0):
            self.assertTrue(line.put(bytes(10), now))
        self.assertAlmostEqual(line.due or 0.0, 1.6)
        line.take(1.61)
        self.assertAlmostEqual(line.due or 0.0, 1.7)

    def test_idle_line_saves_no_time(self) -> None:
        line = Line(0.0, rate=100)
        line.put(bytes(10), 1.0)
        line.take(2.0)
        line.put(bytes(10), 9.0)
        self.assertAlmostEqual(line.due or 0.0, 9.1)

    def test_queue_is_full(self) -> None:
        """
        The octets that wait for their transmission are bounded.
        """
        line = Line(5.0, rate=100, most=25)
        accepted = [line.put(bytes(10), 1.0) for _ in range(5)]
        self.assertEqual(accepted, [True, True, True, False, False])
        self.assertTrue(line.put(bytes(10), 1.3))

    def test_memory_is_bounded_without_a_rate(self) -> None:
        line = Line(1.0, most=25)
        self.assertEqual([line.put(bytes(10), 1.0) for _ in range(3)], [True, True, False])
        line.take(2.0)
        self.assertTrue(line.put(bytes(10), 2.0))
