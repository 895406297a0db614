# SPDX-License-Identifier: MIT
"""
Tests for L{tests.integration.standing.early_resets}.
"""

from __future__ import annotations

from pathlib import Path

from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether
from scapy.utils import wrpcap
from twisted.trial.unittest import SynchronousTestCase

from tests.integration.standing import early_resets


class EarlyResetsTests(SynchronousTestCase):
    def early(self, *flags: str) -> int:
        """
        @param flags: of the packets; those of the client in lower case.
        @return: how many are early resets.
        """
        path = Path(self.mktemp()).with_suffix(".pcap")
        up = Ether() / IP(src="198.51.100.10", dst="192.0.2.11")
        down = Ether() / IP(src="192.0.2.11", dst="198.51.100.10")
        wrpcap(
            str(path),
            [
                up / TCP(sport=1000, dport=80, flags=each.upper())
                if each.islower()
                else down / TCP(sport=80, dport=1000, flags=each)
                for each in flags
            ],
        )
        return len(early_resets(path))

    def test_reset_of_an_open_connection(self) -> None:
        for flags in (("R",), ("fa", "R"), ("FA", "R"), ("RA", "fa", "FA"), ("fa", "fa", "R")):
            self.assertEqual(self.early(*flags), 1, flags)

    def test_reset_when_both_have_closed(self) -> None:
        self.assertEqual(self.early("fa", "FA", "fa", "R"), 0)

    def test_none(self) -> None:
        self.assertEqual(self.early("fa", "FA"), 0)
