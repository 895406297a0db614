# SPDX-License-Identifier: MIT
"""
Tests for what a node tells the part that hands connections off in the kernel.
"""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from btcp.cluster.state import Admin
from btcp.config import loads
from btcp.control.express import Subject, Word
from btcp.datapath.ebpf.express import Destination
from btcp.handoff.memo import digest
from btcp.lab.topology import node_yaml
from btcp.node.service import Node
from tests.scratch import short_directory
from tests.simulation.cluster import CAPABILITIES
from tests.simulation.memory_datapath import MemoryDatapath
from tests.unit.express_case import FakeTables, Made

A, B = 1, 2


class NodeTests(SynchronousTestCase):
    """
    A node that is not started, and hears of others.
    """

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.tables = FakeTables()
        self.config = loads(node_yaml("a", short_directory(self), "ab"), "node.yaml")
        clock = self.reactor.seconds
        datapath = MemoryDatapath(clock, lambda packet: None, lambda packet: None)
        made: Any = self.reactor
        self.node = Node(
            made,
            clock,
            self.config,
            datapath,
            CAPABILITIES,
            1,
            b"sixteen octets!!",
            express=self.tables.faked,
        )
        express = self.node._express
        assert express is not None
        express.startService()
        self.addCleanup(express.stopService)
        self.up()

    def up(self, epoch: int = 1) -> None:
        self.node.peer_handler.peer_up("b", epoch, CAPABILITIES)

    def hand(self) -> None:
        """
        A connection to C{b}, which has begun to answer, and one from there.
        """
        self.node.peer_handler.express("b", Word(Subject.KEY, bytes(16)))
        mine, its = Made(node=B, acked=9), Made(port=2, lease=self.tables.leases["b"])
        self.tables.install(mine.front, its.inbound, its.outbound)

    def test_hears_of_peers(self) -> None:
        self.node.peer_handler.express("b", Word(Subject.KEY, bytes(16)))
        self.assertEqual(self.tables.fronts[digest("b")], (bytes(16), B))

    def test_link_is_lost(self) -> None:
        """
        What was handed over goes on, until nobody is expected any more.
        """
        self.hand()
        self.tables.destinations[B] = Destination(bytes(16), b"1234", None)
        self.node.peer_handler.peer_down("b")
        self.assertIsNone(self.tables.destinations[B])
        self.assertEqual(len(self.tables.entries), 3)
        self.reactor.advance(self.config.timeouts.link_grace)
        self.assertEqual(self.tables.entries, {})

    def test_link_comes_back(self) -> None:
        self.hand()
        self.node.peer_handler.peer_down("b")
        self.up()
        self.reactor.advance(self.config.timeouts.link_grace)
        self.assertEqual(len(self.tables.entries), 3)

    def test_another_life(self) -> None:
        """
        Of a node that comes back without its connections.
        """
        self.hand()
        self.node.peer_handler.peer_down("b")
        self.up(2)
        self.assertEqual(self.tables.entries, {})

    def test_another_configuration(self) -> None:
        new = evolve(self.config, limits=evolve(self.config.limits, request=100))
        self.node.source = lambda: new
        self.assertEqual(self.node.reload(), ["limits.request"])
        self.reactor.advance(0)
        self.assertEqual(self.tables.planned.head, 100)

    def test_drains(self) -> None:
        for state, adopts in ((Admin.DRAIN, False), (Admin.READY, True), (Admin.MAINT, False)):
            self.node.membership.set_state("a", state)
            self.reactor.advance(0)
            self.assertIs(self.tables.planned.adopts, adopts, state)
