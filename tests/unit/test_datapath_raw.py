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
from twisted.trial.unittest import SynchronousTestCase

from btcp.datapath.interface import Capture, DatapathError
from btcp.datapath.raw import datapath, frame
from btcp.datapath.raw.datapath import RawDatapath
from btcp.handoff.actions import Action, Deliver, Install, PassPacket, Remove, Transmit
from btcp.handoff.route import ENDING, Route
from btcp.handoff.splice import Rewriter, Splice
from btcp.wire.build import compose
from btcp.wire.icmp import PacketTooBig
from btcp.wire.segment import ACK, FIN, Segment, flow_key, reversed_key
from tests.simulation.script import ADDRESSES, CLIENTS, Tcp
from tests.unit.test_datapath_raw_frame import VLAN
from tests.unit.test_wire_icmp import CLIENT, FRONT, sent, told

IN = flow_key(CLIENTS[0], 51515, ADDRESSES["a"][0], 80)
TO_B = flow_key(CLIENTS[0], 51515, ADDRESSES["b"][0], 8080)
FROM_ORIGIN = flow_key(ADDRESSES["a"][0], 8080, CLIENTS[0], 51515)
TO_CLIENT = reversed_key(IN)

TAP, DEVICE, ROUTER = b"\x02\0\0\0\0\x01", b"\x02\0\0\0\0\x02", b"\x02\0\0\0\0\x03"
"""Hardware addresses."""

PACKET = Tcp(key=IN, seq=1, ack=2, window=3, payload=b"data")


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
    packets: list[tuple[Tcp, bytes]] = field(factory=list)
    others: list[tuple[bytes, bytes]] = field(factory=list)
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
        elif octets[9] == 6:
            self.packets.append((Tcp.read(octets), destination))
        else:
            self.others.append((octets, destination))

    def close(self) -> None:
        """
        Close the socket.
        """
        self.closed += 1


@define
class FakeCore:
    """
    Sees, and has done what it was told to have done.

    @ivar seen: packets, or what else there was.
    """

    counters: Counter[str] = field(factory=Counter)
    seen: list[object] = field(factory=list)
    actions: list[Action] = field(factory=list)
    problem: Exception | None = None

    def receive(self, segment: Segment, now: float) -> list[Action]:
        """
        See L{btcp.datapath.interface.Core}.
        """
        if self.problem is not None:
            raise self.problem
        packet = segment.buffer[segment.ip : segment.end]
        self.seen.append((Tcp.read(bytes(packet)), now))
        return self.actions

    def bounced(self, segment: Segment, now: float) -> list[Action]:
        """
        See L{btcp.datapath.interface.Core}.
        """
        self.seen.append(("bounced", segment.key, now))
        return []

    def too_big(self, message: PacketTooBig, now: float) -> list[Action]:
        """
        See L{btcp.datapath.interface.Core}.
        """
        self.seen.append(("too big", message.client_key, now))
        return []


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


class RawCase(SynchronousTestCase):
    """
    A datapath, and what is around it.
    """

    def setUp(self) -> None:
        self.tap, self.wire = FakeTap(), FakeWire()
        self.addCleanup(self.tap.kernel.close)
        self.patch(datapath, "Tap", lambda name: self.tap)
        self.patch(datapath, "PacketSender", lambda: self.wire)
        self.patch(datapath, "frame_socket", lambda device: self.wire)
        self.patch(datapath, "hardware_address", lambda device: DEVICE)
        self.patch(datapath, "require_loose_source_check", lambda: None)
        self.core, self.reactor, self.capture = FakeCore(), FakeReactor(), FakeCapture()
        self.datapath = RawDatapath(
            cast(IReactorFDSet, self.reactor), lambda: 5.0, "eth0", cast(Capture, self.capture)
        )

    def start(self) -> None:
        """
        Begin.
        """
        self.datapath.start(self.core, self)
        self.addCleanup(self.datapath.stop)

    def perform(self, actions: list[Action]) -> None:
        """
        See L{btcp.datapath.interface.Shell}.
        """
        for action in actions:
            assert isinstance(action, Transmit | Deliver | PassPacket | Install | Remove)
            self.datapath.perform(action)

    def come(
        self,
        packet: bytes,
        source: bytes = ROUTER,
        flags: int = 0,
        gso_size: int = 0,
        tag: bytes = b"",
    ) -> None:
        """
        A frame is intercepted.
        """
        vnet = bytes((flags, bool(gso_size))) + bytes(2) + gso_size.to_bytes(2, "little")
        ethertype = b"\x08\0" if packet[0] >> 4 == 4 else b"\x86\xdd"
        self.tap.kernel.send(vnet + bytes(4) + DEVICE + source + tag + ethertype + packet)
        self.datapath.doRead()

    def delivered(self) -> list[tuple[bytes, Tcp]]:
        """
        What the local TCP got: the frame's header, and the packet.
        """
        found = []
        while (octets := self.octets()) is not None:
            found.append((octets[:24], Tcp.read(octets[24:])))
        return found

    def octets(self) -> bytes | None:
        """
        The next frame that was delivered.
        """
        try:
            return self.tap.kernel.recv(70_000)
        except BlockingIOError:
            return None

    def install(self, old: bytes, new: bytes, *, local: bool) -> Route:
        """
        A route that adds 100 to the sequence number.
        """
        rewriter = Rewriter(Splice(old=old, new=new, seq=100))
        route = Route(old, rewriter, local=local, punt=ENDING, now=0.0)
        self.datapath.perform(Install(route))
        return route


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

    def test_no_capture(self) -> None:
        """
        Nothing is left behind.
        """
        self.capture.problem = DatapathError("no")
        self.assertRaises(DatapathError, self.datapath.start, self.core, self)
        self.assertEqual(self.reactor.readers, [])
        self.assertTrue(self.tap.closed)
        self.assertEqual(self.wire.closed, 2)


class ReadTests(RawCase):
    """
    What is intercepted.
    """

    def setUp(self) -> None:
        super().setUp()
        self.start()

    def test_to_the_core(self) -> None:
        self.come(PACKET.pack())
        self.come(PACKET.pack(), tag=VLAN)
        self.assertEqual(self.core.seen, [(PACKET, 5.0)] * 2)

    def test_as_many_as_there_are_but_not_for_ever(self) -> None:
        for _ in range(100):
            self.tap.kernel.send(bytes(10))
        self.datapath.doRead()
        self.assertEqual(self.core.counters["dropped.not-ip"], 64)
        self.datapath.doRead()
        self.assertEqual(self.core.counters["dropped.not-ip"], 100)

    def test_what_is_no_packet(self) -> None:
        self.come(PACKET.pack()[:30])
        self.assertEqual(self.core.counters, Counter({"dropped.truncated": 1}))
        self.assertEqual(self.core.seen, [])

    def test_not_admitted(self) -> None:
        """
        It has the source address that we gave it.
        """
        self.come(PACKET.pack(), source=frame.OURS)
        self.assertEqual(self.core.seen, [("bounced", IN, 5.0)])

    def test_too_big(self) -> None:
        self.come(told(bytes(sent(FRONT, CLIENT))))
        self.assertEqual(self.core.seen, [("too big", IN, 5.0)])

    def test_too_big_for_another_protocol(self) -> None:
        """
        It is the host's.
        """
        quoted = bytearray(bytes(sent(FRONT, CLIENT)))
        quoted[9] = 17
        message = told(bytes(quoted))
        self.come(message)
        self.assertEqual(self.octets(), frame.headers(4, TAP) + message)
        self.assertEqual(self.core.seen, [])

    def test_defect(self) -> None:
        """
        An error of ours costs a packet and no more.
        """
        self.core.problem = ZeroDivisionError()
        self.come(PACKET.pack())
        self.assertEqual(self.core.counters["failed.packet"], 1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.core.problem = None
        self.come(PACKET.pack())
        self.assertEqual(len(self.core.seen), 1)


class RouteTests(RawCase):
    """
    What passes without the core.
    """

    def setUp(self) -> None:
        super().setUp()
        self.start()

    def test_forwarded(self) -> None:
        """
        A client's packet goes on as a packet: the host knows the way.
        """
        route = self.install(IN, TO_B, local=False)
        self.come(PACKET.pack())
        self.assertEqual(self.wire.packets, [(PACKET.but(key=TO_B, seq=101), TO_B[4:8])])
        self.assertEqual((route.packets, route.octets, route.used), (1, 4, 5.0))
        self.assertEqual(self.core.seen, [])

    def test_response(self) -> None:
        """
        The local TCP's own frame goes out as it is, but rewritten: the host has found
        the next hop, and the device cuts it.
        """
        self.install(FROM_ORIGIN, TO_CLIENT, local=False)
        packet = PACKET.but(key=FROM_ORIGIN, payload=bytes(3000))
        self.come(packet.pack(), source=DEVICE, flags=1, gso_size=1448)
        (octets,) = self.wire.frames
        self.assertEqual(octets[:6], b"\1\1\0\0" + (1448).to_bytes(2, "little"))
        self.assertEqual(octets[10:22], DEVICE + DEVICE)
        sent = Tcp.read(octets[24:])
        self.assertEqual((sent.key, sent.seq), (TO_CLIENT, 101))
        self.assertEqual(self.wire.packets, [])

    def test_response_by_another_way(self) -> None:
        """
        A super-packet that is not the local TCP's own frame is cut here.
        """
        self.install(FROM_ORIGIN, TO_CLIENT, local=False)
        packet = PACKET.but(key=FROM_ORIGIN, payload=bytes(3000))
        self.come(packet.pack(), flags=1, gso_size=1448)
        sizes = [len(sent.payload) for sent, _ in self.wire.packets]
        self.assertEqual(sizes, [1448, 1448, 104])
        self.assertTrue(all(sent.intact for sent, _ in self.wire.packets))

    def test_local(self) -> None:
        """
        In its frame, addressed to the TAP device.
        """
        self.install(IN, FROM_ORIGIN, local=True)
        self.come(PACKET.pack())
        ((header, packet),) = self.delivered()
        self.assertEqual(header[10:22], TAP + ROUTER)
        self.assertEqual(packet, PACKET.but(key=FROM_ORIGIN, seq=101))

    def test_flags_that_the_core_wants_to_see(self) -> None:
        self.install(IN, TO_B, local=False)
        fin = PACKET.but(flags=FIN | ACK)
        self.come(fin.pack())
        self.assertEqual(self.core.seen, [(fin, 5.0)])
        self.assertEqual(self.wire.packets, [])

    def test_removed(self) -> None:
        self.install(IN, TO_B, local=False)
        for _ in range(2):
            self.datapath.perform(Remove(IN))
        self.come(PACKET.pack())
        self.assertEqual(self.core.seen, [(PACKET, 5.0)])

    def test_options_that_cannot_be_walked(self) -> None:
        rewriter = Rewriter(Splice(old=IN, new=TO_B, ack=1))
        route = Route(IN, rewriter, local=False, punt=ENDING, now=0.0)
        self.datapath.perform(Install(route))
        self.come(PACKET.but(options=b"\5\0\0\0").pack())
        self.assertEqual(self.core.counters["dropped.bad-tcp-options"], 1)
        self.assertEqual(self.wire.packets, [])

    def test_lost(self) -> None:
        """
        What cannot be sent is counted, by why.
        """
        self.install(IN, TO_B, local=False)
        self.wire.problem = OSError(ENOBUFS, "no room")
        self.come(PACKET.pack())
        self.datapath.perform(Transmit(compose(TO_CLIENT, 1, 2, ACK, 3)))
        self.assertEqual(self.core.counters, Counter({"lost.ENOBUFS": 2}))


class ActionTests(RawCase):
    """
    What the core wants done.
    """

    def setUp(self) -> None:
        super().setUp()
        self.start()

    def test_made_packets(self) -> None:
        segment = compose(TO_CLIENT, 1, 2, ACK, 3)
        self.core.actions = [Transmit(segment), Deliver(compose(IN, 4, 5, ACK, 6))]
        self.come(PACKET.pack())
        expected = Tcp(key=TO_CLIENT, seq=1, ack=2, window=3)
        self.assertEqual(self.wire.packets, [(expected, CLIENTS[0])])
        ((header, packet),) = self.delivered()
        self.assertEqual(header, frame.headers(4, TAP))
        self.assertEqual(packet, Tcp(key=IN, seq=4, ack=5, window=6))

    def test_six(self) -> None:
        key = flow_key(CLIENTS[1], 1, ADDRESSES["a"][1], 2)
        self.datapath.perform(Deliver(compose(key, 4, 5, ACK, 6)))
        ((header, packet),) = self.delivered()
        self.assertEqual(header, frame.headers(6, TAP))
        self.assertEqual(packet.key, key)

    def test_kept_packets_with_a_partial_checksum(self) -> None:
        """
        Have left their frame, and what it said of the checksum.
        """
        segment = compose(IN, 4, 5, ACK, 6, payload=b"x")
        segment.partial = True
        segment.buffer[36:38] = b"\0\0"
        self.datapath.perform(Deliver(segment))
        ((_, packet),) = self.delivered()
        self.assertTrue(packet.intact)

    def test_other_packets(self) -> None:
        message = told(bytes(sent(FRONT, CLIENT)))
        self.datapath.perform(PassPacket(message, local=True))
        self.assertEqual(self.octets(), frame.headers(4, TAP) + message)
        self.datapath.perform(PassPacket(message, local=False))
        self.assertEqual(self.wire.others, [(message, message[16:20])])

    def test_device_is_gone(self) -> None:
        """
        The kernel does not take it.
        """
        self.tap.kernel.close()
        self.datapath.perform(Deliver(compose(IN, 4, 5, ACK, 6)))
        self.assertEqual(sum(self.core.counters.values()), 1)
        (name,) = self.core.counters
        self.assertRegex(name, r"^lost\.E[A-Z]+$")
