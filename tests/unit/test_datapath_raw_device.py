# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.datapath.raw.device}, as far as they need no rights.
"""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from btcp.datapath.interface import DatapathError
from btcp.datapath.raw import device
from btcp.datapath.raw.device import hardware_address, mtu, require_loose_source_check

MISSING = "no-such-device0"


class FactsTests(SynchronousTestCase):
    """
    What is known of devices.
    """

    def test_mtu(self) -> None:
        expected = int(Path("/sys/class/net/lo/mtu").read_text())
        self.assertEqual(mtu("lo"), expected)

    def test_no_device(self) -> None:
        for ask in (mtu, hardware_address):
            raised = self.assertRaises(DatapathError, ask, MISSING)
            self.assertIn(MISSING, str(raised))

    def test_no_ethernet(self) -> None:
        raised = self.assertRaises(DatapathError, hardware_address, "lo")
        self.assertEqual(str(raised), "device lo is not an Ethernet device")


class SourceCheckTests(SynchronousTestCase):
    """
    The host must not drop what seems to come from the wrong device.
    """

    def set(self, value: str | None) -> None:
        """
        The host says so, or nothing.
        """
        root = Path(self.mktemp())
        path = root / "ipv4/conf/all/rp_filter"
        path.parent.mkdir(parents=True)
        if value is not None:
            path.write_text(value)
        self.patch(device, "_SYSCTL", root)

    def test_strict(self) -> None:
        self.set("1\n")
        raised = self.assertRaises(DatapathError, require_loose_source_check)
        self.assertIn("net.ipv4.conf.all.rp_filter is 1", str(raised))

    def test_loose_or_none(self) -> None:
        for value in ("0\n", "2\n", None):
            self.set(value)
            require_loose_source_check()
