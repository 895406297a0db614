# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.datapath.raw.datapath}, with sockets for the TAP device and the wire.
"""

from __future__ import annotations

import socket
from collections import Counter
from errno import ENOBUFS
from typing import cast

from attrs import define, field
from twisted.internet.interfaces import IReactorFDSet

from btcp.datapath.interface import Capture, DatapathError
from btcp.datapath.raw import datapath as module
from btcp.datapath.raw import frame
from btcp.datapath.raw.datapath import RawDatapath
from btcp.handoff.actions import Deliver, Install, Transmit
from btcp.handoff.route import Route
from btcp.wire.build import compose
from btcp.wire.segment import ACK, flow_key
from tests.simulation.script import ADDRESSES, CLIENTS, Tcp
from tests.unit import datapath_contract as contract
from tests.unit.datapath_contract import (
    FROM_ORIGIN,
    IN,
    NOW,
    PACKET,
    TO_B,
    TO_CLIENT,
    FakeCore,
)
from tests.unit.test_datapath_raw_frame import VLAN

TAP, DEVICE, ROUTER = b"\x02\0\0\0\0\x01", b"\x02\0\0\0\0\x02", b"\x02\0\0\0\0\x03"
"""Hardware addresses."""


class FakeTap:
    """
    As L{btcp.datapath.raw.device.Tap}, but the kernel is a socket.

    @ivar kernel: reads what is delivered, writes what is intercepted.
    """

    hardware_address = TAP

    def __init__(self) -> None:
        self._ours, self.kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        for each in (self._ours, self.kernel):
            each.setblocking(False)
        self.fd = self._ours.fileno()
        self.closed = False

    def close(self) -> None:
        """
        Remove the device.
        """
        self._ours.close()
        self.closed = True


@define
class FakeWire:
    """
    As both kinds of sending sockets.

    @ivar frames: those sent, as they are.
    @ivar packets: those sent, with where to.
    @ivar problem: why nothing can be sent.
    """

    frames: list[bytes] = field(factory=list)
    packets: list[tuple[bytes, bytes]] = field(factory=list)
    problem: OSError | None = None
    closed: int = 0

    def send(self, packet: memoryview, destination: bytes | None = None) -> None:
        """
        Send a frame, or a packet.
        """
        if self.problem is not None:
            raise self.problem
        octets = bytes(packet)
        if destination is None:
            self.frames.append(octets)
        else:
            self.packets.append((octets, destination))

    def close(self) -> None:
        """
        Close the socket.
        """
        self.closed += 1


@define
class FakeReactor:
    """
    @ivar readers: those it reads for.
    """

    readers: list[object] = field(factory=list)

    def addReader(self, reader: object) -> None:
        """
        See L{IReactorFDSet}.
        """
        self.readers.append(reader)

    def removeReader(self, reader: object) -> None:
        """
        See L{IReactorFDSet}.
        """
        self.readers.remove(reader)


@define
class FakeCapture:
    """
    @ivar done: what it was told.
    """

    done: list[str] = field(factory=list)
    problem: Exception | None = None

    def set_up(self) -> None:
        """
        See L{Capture}.
        """
        self.done.append("up")
        if self.problem is not None:
            raise self.problem

    def take_down(self) -> None:
        """
        See L{Capture}.
        """
        self.done.append("down")

    def clear(self) -> None:
        """
        See L{Capture}.
        """


class RawCase(contract.DatapathCase):
    """
    A datapath, and what is around it.
    """

    datapath: RawDatapath
    vouches = False

    def setUp(self) -> None:
        self.tap, self.wire = FakeTap(), FakeWire()
        self.addCleanup(self.tap.kernel.close)
        self.patch(module, "Tap", lambda name: self.tap)
        self.patch(module, "PacketSender", lambda: self.wire)
        self.patch(module, "frame_socket", lambda device: self.wire)
        self.patch(module, "hardware_address", lambda device: DEVICE)
        self.patch(module, "index", lambda device: 7)
        self.patch(module, "require_loose_source_check", lambda: None)
        self.core, self.reactor, self.capture = FakeCore(), FakeReactor(), FakeCapture()
        self.datapath = RawDatapath(
            cast(IReactorFDSet, self.reactor),
            lambda: NOW,
            "eth0",
            cast(Capture, self.capture),
            vouches=self.vouches,
        )

    def start(self) -> None:
        """
        Begin.
        """
        self.datapath.start(self.core, self)
        self.addCleanup(self.datapath.stop)

    def come(self, packet: bytes, *, partial: bool = False, gso_size: int = 0) -> None:
        """
        See L{contract.DatapathCase.come}.
        """
        self.frame(packet, ROUTER, partial=partial, gso_size=gso_size)

    def frame(
        self,
        packet: bytes,
        source: bytes,
        *,
        partial: bool = False,
        gso_size: int = 0,
        tag: bytes = b"",
    ) -> None:
        """
        A frame is intercepted.
        """
        vnet = bytes((partial, bool(gso_size))) + bytes(2) + gso_size.to_bytes(2, "little")
        ethertype = b"\x08\0" if packet[0] >> 4 == 4 else b"\x86\xdd"
        self.tap.kernel.send(vnet + bytes(4) + DEVICE + source + tag + ethertype + packet)
        self.datapath.doRead()

    def transmitted(self) -> list[bytes]:
        """
        See L{contract.DatapathCase.transmitted}.
        """
        taken = [packet for packet, _ in self.wire.packets]
        self.wire.packets.clear()
        return taken

    def delivered(self) -> list[bytes]:
        """
        See L{contract.DatapathCase.delivered}.
        """
        return [octets[24:] for octets in self.frames()]

    def frames(self) -> list[bytes]:
        """
        What was delivered, as it is.
        """
        found = []
        while True:
            try:
                found.append(self.tap.kernel.recv(70_000))
            except BlockingIOError:
                return found


class RawTests(RawCase, contract.DatapathContract):
    """
    As every datapath.
    """

    def setUp(self) -> None:
        super().setUp()
        self.start()


class LifeTests(RawCase):
    """
    Begin and end.
    """

    def test_start_and_stop(self) -> None:
        self.datapath.start(self.core, self)
        self.assertEqual(self.capture.done, ["up"])
        self.assertEqual(self.reactor.readers, [self.datapath])
        self.assertEqual(self.datapath.fileno(), self.tap.fd)
        self.datapath.stop()
        self.assertEqual(self.capture.done, ["up", "down"])
        self.assertEqual(self.reactor.readers, [])
        self.assertTrue(self.tap.closed)
        self.assertEqual(self.wire.closed, 2)

    def test_what_waits_when_it_stops(self) -> None:
        """
        Nobody sees it; but if the core ended its flows, who sent it has to hear of that.
        """
        for halted in (False, True):
            self.datapath.start(self.core, self)
            for _ in range(100):
                self.tap.kernel.send(bytes(10))
            if halted:
                self.datapath.halt()
            self.datapath.stop()
            self.assertEqual(self.core.counters["dropped.not-ip"], 100 * halted)
            self.tap = FakeTap()
            self.addCleanup(self.tap.kernel.close)

    def test_no_capture(self) -> None:
        """
        Nothing is left behind.
        """
        self.capture.problem = DatapathError("no")
        self.assertRaises(DatapathError, self.datapath.start, self.core, self)
        self.assertEqual(self.reactor.readers, [])
        self.assertTrue(self.tap.closed)
        self.assertEqual(self.wire.closed, 2)


class VouchedTests(RawCase):
    """
    The capture has established connections.
    """

    vouches = True

    def test_beginning_and_what_overtook_it(self) -> None:
        self.start()
        for source in (frame.BEGINNING, frame.CONTINUING, ROUTER, frame.OURS):
            self.frame(PACKET.pack(), source)
        expected = [
            ("established", IN, True, NOW),
            ("established", IN, False, NOW),
            (PACKET, NOW),
            ("bounced", IN, NOW),
        ]
        self.assertEqual(self.core.seen, expected)


class FrameTests(RawCase):
    """
    What only frames have.
    """

    def setUp(self) -> None:
        super().setUp()
        self.start()

    def test_as_many_as_there_are_but_not_for_ever(self) -> None:
        for _ in range(100):
            self.tap.kernel.send(bytes(10))
        self.datapath.doRead()
        self.assertEqual(self.core.counters["dropped.not-ip"], 64)
        self.datapath.doRead()
        self.assertEqual(self.core.counters["dropped.not-ip"], 100)

    def test_vlan_tag(self) -> None:
        self.frame(PACKET.pack(), ROUTER, tag=VLAN)
        self.assertEqual(self.core.seen, [(PACKET, NOW)])

    def test_not_admitted(self) -> None:
        """
        It has the source address that we gave it.
        """
        self.frame(PACKET.pack(), frame.OURS)
        self.assertEqual(self.core.seen, [("bounced", IN, NOW)])

    def test_nobody_vouches(self) -> None:
        """
        Then such an address means nothing: anybody on the wire could have it.
        """
        for source in (frame.BEGINNING, frame.CONTINUING):
            self.frame(PACKET.pack(), source)
        self.assertEqual(self.core.seen, [(PACKET, NOW), (PACKET, NOW)])

    def test_followed_route(self) -> None:
        """
        Whoever follows the flow did not want this packet: the core has to see it.
        """
        route = Route(IN, None, local=False, punt=0, now=0.0, follows=True)
        self.datapath.perform(Install(route))
        self.frame(PACKET.pack(), ROUTER)
        self.assertEqual(self.core.seen, [(PACKET, NOW)])

    def test_forwarded(self) -> None:
        """
        To where it is addressed: the host knows the way.
        """
        self.install(IN, TO_B, local=False)
        self.come(PACKET.pack())
        ((_, destination),) = self.wire.packets
        self.assertEqual(destination, TO_B[4:8])

    def test_response(self) -> None:
        """
        The local TCP's own frame goes out as it is, but rewritten: the host has found
        the next hop, and the device cuts it.
        """
        self.install(FROM_ORIGIN, TO_CLIENT, local=False)
        packet = PACKET.but(key=FROM_ORIGIN, payload=bytes(3000))
        self.frame(packet.pack(), DEVICE, partial=True, gso_size=1448)
        (octets,) = self.wire.frames
        self.assertEqual(octets[:6], b"\1\1\0\0" + (1448).to_bytes(2, "little"))
        self.assertEqual(octets[10:22], DEVICE + DEVICE)
        sent = Tcp.read(octets[24:])
        self.assertEqual((sent.key, sent.seq), (TO_CLIENT, 101))
        self.assertEqual(self.wire.packets, [])

    def test_local(self) -> None:
        """
        In its frame, addressed to the TAP device.
        """
        self.install(IN, FROM_ORIGIN, local=True)
        self.come(PACKET.pack())
        (octets,) = self.frames()
        self.assertEqual(octets[10:22], TAP + ROUTER)

    def test_made(self) -> None:
        """
        In a frame of our own.
        """
        six = flow_key(CLIENTS[1], 1, ADDRESSES["a"][1], 2)
        for version, key in ((4, IN), (6, six)):
            self.datapath.perform(Deliver(compose(key, 4, 5, ACK, 6)))
            (octets,) = self.frames()
            self.assertEqual(octets[:24], frame.headers(version, TAP))


class ProblemTests(RawCase):
    """
    What goes wrong costs a packet, and no more.
    """

    def setUp(self) -> None:
        super().setUp()
        self.start()

    def test_defect(self) -> None:
        """
        An error of ours.
        """
        self.core.problem = ZeroDivisionError()
        self.come(PACKET.pack())
        self.assertEqual(self.core.counters["failed.packet"], 1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.core.problem = None
        self.come(PACKET.pack())
        self.assertEqual(len(self.core.seen), 1)

    def test_lost(self) -> None:
        """
        What cannot be sent is counted, by why.
        """
        self.install(IN, TO_B, local=False)
        self.wire.problem = OSError(ENOBUFS, "no room")
        self.come(PACKET.pack())
        self.datapath.perform(Transmit(compose(TO_CLIENT, 1, 2, ACK, 3)))
        self.assertEqual(self.core.counters, Counter({"lost.ENOBUFS": 2}))

    def test_device_is_gone(self) -> None:
        """
        The kernel does not take it.
        """
        self.tap.kernel.close()
        self.datapath.perform(Deliver(compose(IN, 4, 5, ACK, 6)))
        self.assertEqual(sum(self.core.counters.values()), 1)
        (name,) = self.core.counters
        self.assertRegex(name, r"^lost\.E[A-Z]+$")
