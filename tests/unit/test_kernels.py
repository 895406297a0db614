# SPDX-License-Identifier: MIT
"""
Tests for L{tests.kernels.packages}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.kernels.packages import KernelError, newest

_NAMES = (
    "linux-image-6.1.0-9-amd64",
    "linux-image-6.1.0-57-amd64",
    "linux-image-6.1.0-58-cloud-amd64",
    "linux-image-6.1.0-58-rt-amd64",
    "linux-image-6.1.0-58-amd64-unsigned",
    "linux-image-6.12.117+deb12-amd64",
    "linux-image-6.12.99+deb12-amd64",
    "linux-image-amd64",
)


class NewestTests(SynchronousTestCase):
    def test_newest_plain_package_of_the_series(self) -> None:
        """
        Versions compare as numbers, and other flavours do not count.
        """
        self.assertEqual(newest("6.1", _NAMES), "linux-image-6.1.0-57-amd64")
        self.assertEqual(newest("6.12", _NAMES), "linux-image-6.12.117+deb12-amd64")

    def test_series_that_is_not_there(self) -> None:
        problem = self.assertRaises(KernelError, newest, "6.9", _NAMES)
        self.assertEqual(str(problem), "the package sources have no kernel 6.9")
