# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.cli.lab}: what the options mean.
"""

from __future__ import annotations

from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from btcp.cli.lab import Demo, Up


class DistanceTests(SynchronousTestCase):
    def test_none(self) -> None:
        for command in (Up(), Demo()):
            command.parseOptions([])
            self.assertEqual([command[name] for name in ("delay", "rate", "loss")], [0.0, 0.0, 0.0])

    def test_delay(self) -> None:
        for text, seconds in (("30ms", 0.03), ("0.5s", 0.5), ("2.5ms", 0.0025), ("0", 0.0)):
            command = Up()
            command.parseOptions(["--delay", text])
            self.assertAlmostEqual(command["delay"], seconds)

    def test_rate_and_loss(self) -> None:
        command = Demo()
        command.parseOptions(["--rate", "100", "--loss", "0.5"])
        self.assertEqual((command["rate"], command["loss"]), (12_500_000, 0.5))

    def test_refused(self) -> None:
        """
        With what would be right.
        """
        for option, text, right in (
            ("--delay", "30", "30ms"),
            ("--delay", "-3ms", "30ms"),
            ("--delay", "infs", "30ms"),
            ("--rate", "fast", "Mbit/s"),
            ("--rate", "-1", "Mbit/s"),
            ("--loss", "101", "per cent"),
            ("--loss", "nan", "per cent"),
        ):
            error = self.assertRaises(UsageError, Up().parseOptions, [option, text])
            self.assertIn(right, str(error))
