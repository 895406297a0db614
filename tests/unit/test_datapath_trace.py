# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.datapath.trace} and L{btcp.datapath.pcapng}; scapy reads what they wrote.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scapy.layers.inet import TCP
from scapy.layers.l2 import Ether
from scapy.utils import RawPcapNgReader
from twisted.trial.unittest import SynchronousTestCase

from btcp.datapath import pcapng, trace
from btcp.datapath.interface import Core, Movement, Promise, Repair, Shell
from btcp.datapath.trace import Selection, TraceDatapath
from btcp.handoff.actions import Deliver, Install, Remove, Transmit
from btcp.handoff.memo import Relic
from btcp.handoff.route import ENDING, EVERYTHING, Route
from btcp.wire.build import compose
from btcp.wire.segment import ACK, Segment, flow_key, reversed_key
from tests.simulation.cluster import CAPABILITIES
from tests.simulation.memory_datapath import MemoryDatapath
from tests.simulation.script import ADDRESSES, CLIENTS, Tcp
from tests.unit import datapath_contract as contract
from tests.unit.datapath_contract import FROM_ORIGIN, IN, NOW, PACKET, TO_B, TO_CLIENT, FakeCore

CLIENT, OWN = CLIENTS[0], ADDRESSES["a"][0]
OTHER = flow_key(b"\1\2\3\4", 51515, OWN, 80)
WALL = 1_800_000_000_123_456_789
LIMIT = 1 << 20


class FakeKernel:
    """
    A datapath that notes what it is told.
    """

    def __init__(self) -> None:
        self.told: list[Movement] = []
        self.punts: list[int] = []
        self.refreshed = 0
        self.promises: list[Promise | None] = []
        self.left_over: list[Relic] = []
        self.left = False
        self.halted = False

    def start(self, core: Core, shell: Shell) -> None:
        self.core = core

    def halt(self) -> None:
        self.halted = True

    def stop(self) -> None:
        pass

    def leave(self) -> None:
        self.left = True

    def relics(self) -> list[Relic]:
        return self.left_over

    def verify(self) -> list[Repair]:
        return [Repair("tap", "it was down")]

    def refresh(self) -> None:
        self.refreshed += 1

    def renew(self, promise: Promise | None, leases: Mapping[str, float]) -> None:
        self.promises.append(promise)

    def perform(self, movement: Movement) -> None:
        self.told.append(movement)
        if isinstance(movement, Install):
            self.punts.append(movement.route.punt)


class TraceCase(contract.DatapathCase):
    """
    A trace around the datapath in memory.

    @ivar path: where it is to be written.
    """

    datapath: TraceDatapath

    def setUp(self) -> None:
        self.core = FakeCore()
        self._transmitted: list[bytes] = []
        self._delivered: list[bytes] = []
        self.inner = MemoryDatapath(lambda: NOW, self._transmitted.append, self._delivered.append)
        self.datapath = TraceDatapath(self.inner, frozenset([OWN]), lambda: WALL)
        self.datapath.start(self.core, self)
        self.path = Path(self.mktemp())

    def come(self, packet: bytes, *, partial: bool = False, gso_size: int = 0) -> None:
        self.inner.receive(packet, partial=partial, gso_size=gso_size)

    def transmitted(self) -> list[bytes]:
        taken = self._transmitted[:]
        self._transmitted.clear()
        return taken

    def delivered(self) -> list[bytes]:
        taken = self._delivered[:]
        self._delivered.clear()
        return taken

    def begin(
        self, client: tuple[bytes, int | None] | None = None, *ports: int, limit: int = LIMIT
    ) -> None:
        self.datapath.begin(str(self.path), client, set(ports), limit)

    def read(self) -> list[tuple[str, int, Tcp]]:
        """
        End the trace; interface, direction and packet of each record.
        """
        if self.datapath.show()["state"] == "running":
            self.datapath.end()
        return records(self.path)


def records(path: Path) -> list[tuple[str, int, Tcp]]:
    """
    What scapy finds in a file, its times and frames looked at as well.
    """
    found = []
    said: Any
    with RawPcapNgReader(str(path)) as reader:
        for frame, said in reader:
            assert (said.tshigh << 32 | said.tslow) == WALL
            assert TCP in Ether(frame)
            name = said.ifname.decode()
            found.append((name, int(said.direction), Tcp.read(frame[14:])))
    return found


class ContractTests(TraceCase, contract.DatapathContract):
    """
    A datapath like any other, while nothing is traced.
    """


class RunningContractTests(TraceCase, contract.DatapathContract):
    """
    And while others are.
    """

    def setUp(self) -> None:
        super().setUp()
        self.begin((b"\1\2\3\4", None))


class TraceTests(TraceCase):
    """
    Tests for L{TraceDatapath}.
    """

    def test_up_and_down(self) -> None:
        """
        What comes up to the core, and what it sends, each with where and which way.
        """
        self.begin()
        answer = Tcp(key=TO_CLIENT, seq=1, ack=2, window=3)
        replay = Tcp(key=IN, seq=4, ack=5, window=6)
        self.core.actions = [
            Transmit(compose(TO_CLIENT, 1, 2, ACK, 3)),
            Deliver(compose(IN, 4, 5, ACK, 6)),
        ]
        self.come(PACKET.pack())
        self.core.actions = []
        local = Tcp(key=FROM_ORIGIN, seq=7, ack=8, window=9)
        self.come(local.pack())
        self.assertEqual(
            self.read(),
            [
                ("network", pcapng.INBOUND, PACKET),
                ("network", pcapng.OUTBOUND, answer),
                ("local", pcapng.OUTBOUND, replay),
                ("local", pcapng.INBOUND, local),
            ],
        )
        self.assertEqual(os.stat(self.path).st_mode & 0o777, 0o600)

    def test_not_traced(self) -> None:
        self.come(PACKET.pack())
        self.assertEqual(self.datapath.show(), {"state": "none"})
        self.begin()
        self.datapath.end()
        self.come(PACKET.pack())
        self.assertEqual(self.read(), [])

    def test_routes_that_are_there(self) -> None:
        """
        Their packets go to the core while they are traced, as those of new routes; and
        past it before and after.
        """
        self.install(IN, TO_B, local=False)
        self.begin((CLIENT, None))
        self.install(reversed_key(TO_B), TO_CLIENT, local=False)
        back = Tcp(key=reversed_key(TO_B), seq=1, ack=2, window=3)
        for packet in (PACKET, back):
            self.come(packet.pack())
        self.assertEqual(self.core.seen, [(PACKET, NOW), (back, NOW)])
        self.assertEqual(len(self.read()), 2)
        for packet in (PACKET, back):
            self.come(packet.pack())
        self.assertEqual(len(self.core.seen), 2)
        self.assertEqual(len(self.transmitted()), 2)

    def test_others(self) -> None:
        """
        Flows that are not traced pass as ever, and are not written down.
        """
        self.install(OTHER, TO_B, local=False)
        self.begin((CLIENT, 51515))
        self.come(PACKET.but(key=OTHER).pack())
        self.come(PACKET.but(key=flow_key(CLIENT, 1, OWN, 80)).pack())
        self.assertEqual(len(self.transmitted()), 1)
        self.assertEqual(len(self.core.seen), 1)
        self.assertEqual(self.read(), [])

    def test_removed(self) -> None:
        self.install(IN, TO_B, local=False)
        self.begin()
        self.datapath.perform(Remove(IN))
        self.datapath.end()
        self.assertEqual(self.inner.routes, {})

    def test_kernel_gives_its_account_back(self) -> None:
        """
        First an amendment of the very route, so that nothing is lost of what it counted;
        then the copy; and at the end the route as the core wants it by then.
        """
        kernel = FakeKernel()
        datapath = TraceDatapath(kernel, frozenset(), lambda: WALL)
        route = Route(IN, None, local=True, punt=ENDING, now=0.0)
        datapath.perform(Install(route))
        datapath.begin(str(self.path), None, set(), LIMIT)
        self.assertEqual(kernel.punts, [ENDING, EVERYTHING, EVERYTHING])
        self.assertEqual(route.punt, ENDING)
        told = [each.route for each in kernel.told if isinstance(each, Install)]
        self.assertIs(told[1], route)
        self.assertIsNot(told[2], route)
        route.punt = 0
        datapath.perform(Install(route))
        datapath.end()
        self.assertEqual(kernel.punts[3:], [EVERYTHING, 0])
        datapath.refresh()
        self.assertEqual(kernel.refreshed, 1)

    def test_handshakes(self) -> None:
        """
        Nothing that is promised to clients passes the trace by.
        """
        kernel = FakeKernel()
        datapath = TraceDatapath(kernel, frozenset(), lambda: WALL)
        promise = Promise(CAPABILITIES, 7, 100.0)
        datapath.renew(promise, {})
        datapath.begin(str(self.path), None, set(), LIMIT)
        datapath.renew(promise, {})
        datapath.end()
        self.assertEqual(kernel.promises, [promise, None, None, promise])

    def test_established(self) -> None:
        """
        A handshake that was done without us.
        """
        kernel = FakeKernel()
        datapath = TraceDatapath(kernel, frozenset(), lambda: WALL)
        datapath.start(self.core, self)
        datapath.begin(str(self.path), None, set(), LIMIT)
        packet = PACKET.pack()
        segment = Segment(bytearray(packet), 0, len(packet))
        kernel.core.established(segment, True, NOW)
        kernel.core.reported([], NOW)
        self.assertEqual(len(self.core.seen), 2)
        datapath.end()
        self.assertEqual(records(self.path), [("network", pcapng.INBOUND, PACKET)])

    def test_left_over(self) -> None:
        """
        Flows of an earlier daemon are traced as well; and left as they were.
        """
        kernel = FakeKernel()
        route = Route(IN, None, local=True, punt=ENDING, now=0.0)
        kernel.left_over = [Relic(IN, route, None), Relic(OTHER, None, None)]
        datapath = TraceDatapath(kernel, frozenset(), lambda: WALL)
        self.assertEqual(datapath.relics(), kernel.left_over)
        datapath.begin(str(self.path), None, set(), LIMIT)
        datapath.halt()
        self.assertTrue(kernel.halted)
        datapath.leave()
        self.assertEqual(kernel.punts, [EVERYTHING, EVERYTHING, ENDING])
        self.assertTrue(kernel.left)
        self.assertEqual(datapath.show()["why"], "the node stopped")

    def test_too_many(self) -> None:
        self.patch(trace, "MOST_FLOWS", 2)
        for port in range(4):
            self.install(flow_key(CLIENT, port, OWN, 80), TO_B, local=False)
        self.begin((CLIENT, None))
        self.assertEqual(self.datapath.show()["flows-left-out"], 2)

    def test_limit(self) -> None:
        """
        The file never grows beyond it, and flows that were traced go on by themselves.
        """
        self.install(IN, TO_B, local=False)
        self.begin(limit=2000)
        for _ in range(20):
            self.come(PACKET.but(payload=bytes(100)).pack())
        shown = self.datapath.show()
        self.assertEqual((shown["state"], shown["why"]), ("ended", trace.FULL))
        self.assertLessEqual(self.path.stat().st_size, 2000)
        self.assertEqual(shown["octets"], self.path.stat().st_size)
        self.assertEqual(len(records(self.path)), shown["packets"])
        self.assertEqual(len(self.core.seen) + len(self.transmitted()), 20)

    def test_limit_too_small(self) -> None:
        self.install(IN, TO_B, local=False)
        self.begin(limit=100)
        self.assertEqual(self.datapath.show()["state"], "ended")
        self.come(PACKET.pack())
        self.assertEqual(self.core.seen, [])

    def test_super_packets(self) -> None:
        """
        As what they stand for, with whole checksums; the packet itself is left as it is.
        """
        self.begin()
        self.come(PACKET.but(payload=bytes(3000)).pack(), partial=True, gso_size=1448)
        sizes = [len(packet.payload) for _, _, packet in self.read()]
        self.assertEqual(sizes, [1448, 1448, 104])
        self.assertTrue(all(packet.intact for _, _, packet in records(self.path)))

    def test_one_at_a_time(self) -> None:
        self.assertRaises(ValueError, self.datapath.end)
        self.begin()
        self.assertRaises(ValueError, self.begin)
        self.datapath.end()
        self.assertRaises(FileExistsError, self.begin)
        self.assertEqual(self.datapath.show()["state"], "ended")

    def test_no_link_is_followed(self) -> None:
        elsewhere = Path(self.mktemp())
        self.path.symlink_to(elsewhere)
        self.assertRaises(FileExistsError, self.begin)
        self.assertFalse(elsewhere.exists())

    def test_disk_full(self) -> None:
        self.path = Path("/dev/full")
        self.patch(os, "open", lambda path, flags, mode, open=os.open: open(path, os.O_WRONLY))
        self.begin()
        for _ in range(10):
            self.come(PACKET.but(payload=bytes(1400)).pack())
        shown = self.datapath.show()
        self.assertEqual(
            (shown["state"], shown["why"]), ("ended", "/dev/full: No space left on device")
        )
        self.assertEqual(len(self.core.seen), 10)

    def test_stopped(self) -> None:
        self.begin()
        self.come(PACKET.pack())
        self.datapath.stop()
        self.assertEqual(self.datapath.show()["why"], "the node stopped")
        self.assertEqual(len(records(self.path)), 1)


class SelectionTests(SynchronousTestCase):
    """
    Tests for L{Selection}.
    """

    def test_takes(self) -> None:
        v6 = flow_key(bytes(15) + b"\1", 9, bytes(15) + b"\2", 80)
        for chosen, key, taken in (
            (Selection(None, None, frozenset()), IN, True),
            (Selection(CLIENT, None, frozenset()), IN, True),
            (Selection(CLIENT, None, frozenset()), TO_CLIENT, True),
            (Selection(CLIENT, 51515, frozenset()), TO_CLIENT, True),
            (Selection(CLIENT, 51514, frozenset()), TO_CLIENT, False),
            (Selection(CLIENT, 80, frozenset()), IN, False),
            (Selection(CLIENT, None, frozenset()), OTHER, False),
            (Selection(CLIENT, None, frozenset()), v6, False),
            (Selection(None, None, frozenset([80, 8080])), TO_B, True),
            (Selection(None, None, frozenset([80])), TO_B, False),
            (Selection(bytes(15) + b"\1", 9, frozenset([80])), v6, True),
        ):
            self.assertEqual(chosen.takes(key), taken, chosen)
