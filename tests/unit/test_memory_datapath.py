# SPDX-License-Identifier: MIT
"""
Tests for L{tests.simulation.memory_datapath}: it stands for the one of a host.
"""

from __future__ import annotations

from attrs import evolve

from btcp.handoff.actions import Admit, Retract
from btcp.handoff.messages import Handoff
from tests.simulation.memory_datapath import MemoryDatapath
from tests.unit import datapath_contract as contract
from tests.unit.back_case import ORDER
from tests.unit.datapath_contract import IN, NOW, PACKET, FakeCore


class FakeAdmission:
    """
    @ivar orders: those admitted.
    """

    def __init__(self) -> None:
        self.orders: dict[bytes, Handoff] = {}

    def admit(self, key: bytes, order: Handoff) -> None:
        """
        See L{tests.simulation.memory_datapath.Admission}.
        """
        self.orders[key] = order

    def retract(self, key: bytes) -> None:
        """
        See L{tests.simulation.memory_datapath.Admission}.
        """
        del self.orders[key]


class MemoryTests(contract.DatapathContract):
    """
    With lists for the network and for the local TCP.
    """

    datapath: MemoryDatapath

    def setUp(self) -> None:
        self.core = FakeCore()
        self._transmitted: list[bytes] = []
        self._delivered: list[bytes] = []
        self.admission = FakeAdmission()
        self.datapath = MemoryDatapath(
            lambda: NOW, self._transmitted.append, self._delivered.append, self.admission
        )
        self.datapath.start(self.core, self)

    def come(self, packet: bytes, *, partial: bool = False, gso_size: int = 0) -> None:
        """
        See L{contract.DatapathCase.come}.
        """
        self.datapath.receive(packet, partial=partial, gso_size=gso_size)

    def transmitted(self) -> list[bytes]:
        """
        See L{contract.DatapathCase.transmitted}.
        """
        taken = self._transmitted[:]
        self._transmitted.clear()
        return taken

    def delivered(self) -> list[bytes]:
        """
        See L{contract.DatapathCase.delivered}.
        """
        taken = self._delivered[:]
        self._delivered.clear()
        return taken

    def test_admission(self) -> None:
        order = evolve(ORDER, id=1)
        self.datapath.perform(Admit(IN, order))
        self.assertEqual(self.admission.orders, {IN: order})
        self.datapath.perform(Retract(IN))
        self.assertEqual(self.admission.orders, {})

    def test_not_admitted(self) -> None:
        self.datapath.bounced(PACKET.pack())
        self.assertEqual(self.core.seen, [("bounced", IN, NOW)])

    def test_stopped(self) -> None:
        self.install(IN, IN, local=True)
        self.datapath.stop()
        self.assertEqual(self.datapath.routes, {})
