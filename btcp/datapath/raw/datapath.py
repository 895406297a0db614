# SPDX-License-Identifier: MIT
"""
The raw datapath in the Twisted reactor.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from errno import errorcode

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from btcp.datapath.interface import Capture, Core, Movement, Promise, Repair, Shell
from btcp.datapath.raw import frame
from btcp.datapath.raw.device import (
    QUEUE,
    Tap,
    hardware_address,
    index,
    require_loose_source_check,
)
from btcp.datapath.raw.sockets import PacketSender, frame_socket
from btcp.datapath.raw.source_check import SourceCheck
from btcp.handoff.actions import Action, Deliver, Install, PassPacket, Remove, Transmit
from btcp.handoff.memo import Relic
from btcp.handoff.messages import UNMEASURED
from btcp.handoff.route import Route
from btcp.wire.gso import split
from btcp.wire.icmp import PacketTooBig
from btcp.wire.segment import Malformed, Segment

TAP = "btcp0"

_QUOTA = 64
"""Maximum frames per turn of the reactor.  Each takes tens of microseconds, so timers and the
control channel wait a few milliseconds at most."""

_TOLD = 10
"""Maximum number of exceptions logged, so that an attacker who can cause one cannot fill the
disk."""


@implementer(IReadDescriptor)
class RawDatapath:
    """
    See L{btcp.datapath.interface.Datapath}.
    """

    log = Logger()

    def __init__(
        self,
        reactor: IReactorFDSet,
        clock: Callable[[], float],
        device: str,
        capture: Capture,
        *,
        vouches: bool = False,
    ) -> None:
        """
        @param clock: returns monotonic seconds.
        @param device: the cluster-facing device.
        @param capture: diverts packets from there to the device L{TAP}.
        @param vouches: whether the capture marks packets of connections whose handshake it has
            performed; see L{frame.BEGINNING}.
        """
        self._reactor = reactor
        self._clock = clock
        self._device = device
        self._capture = capture
        self._said = (frame.BEGINNING, frame.CONTINUING) if vouches else ()
        self._routes: dict[bytes, Route] = {}
        self._halted = False
        self._source_check = SourceCheck(TAP)
        self._buffer = bytearray(frame.LARGEST)
        self._view = memoryview(self._buffer)

    # -- Datapath -------------------------------------------------------------

    def start(self, core: Core, shell: Shell) -> None:
        """
        See L{btcp.datapath.interface.Datapath.start}.
        """
        self._core, self._shell, self._counters = core, shell, core.counters
        require_loose_source_check()
        self._device_index = index(self._device)
        self._own_address = hardware_address(self._device)
        self._sender = PacketSender()
        self._frames = frame_socket(self._device)
        self._tap = Tap(TAP)
        try:
            self._capture.set_up()
        except BaseException:
            self._close()
            raise
        self._read_tap()

    def _read_tap(self) -> None:
        self._headers = {v: frame.headers(v, self._tap.hardware_address) for v in (4, 6)}
        self._reactor.addReader(self)

    def verify(self) -> list[Repair]:
        """
        See L{btcp.datapath.interface.Datapath.verify}.
        """
        found = index(self._device)
        repairs = self._source_check.verify() + self._verify_tap()
        repairs += self._verify_device(found)
        return repairs + self._capture.verify()

    def _verify_tap(self) -> list[Repair]:
        if self._tap.is_there():
            return self._tap.verify()
        self._reactor.removeReader(self)
        self._tap = self._tap.renewed()
        self._read_tap()
        return [Repair("tap", f"device {TAP} had been deleted")]

    def _verify_device(self, found: int) -> list[Repair]:
        """
        Bind the packet socket again if the device was deleted and created again.

        @param found: the current interface index of the device.
        """
        self._own_address = hardware_address(self._device)
        # The kernel unbinds the socket when the device is deleted, even if it comes back unchanged.
        if found == self._device_index and self._frames.getsockname()[0] == self._device:
            return []
        frames = frame_socket(self._device)
        self._frames.close()
        self._frames, self._device_index = frames, found
        return [Repair("device", f"device {self._device} had been made anew")]

    def halt(self) -> None:
        """
        See L{btcp.datapath.interface.Datapath.halt}.  All packets pass through the daemon anyway.
        """
        self._halted = True

    def stop(self) -> None:
        """
        See L{btcp.datapath.interface.Datapath.stop}.
        """
        self._reactor.removeReader(self)
        self._capture.take_down()
        if self._halted:
            # Process all queued frames: nothing else would answer them.
            self._read(QUEUE)
        self._close()

    def leave(self) -> None:
        """
        See L{btcp.datapath.interface.Datapath.leave}.
        """
        self._reactor.removeReader(self)
        self._capture.leave()
        self._close()

    def relics(self) -> list[Relic]:
        """
        See L{btcp.datapath.interface.Datapath.relics}.  There are none: flow entries are lost with
        the process.
        """
        return []

    def renew(self, promise: Promise | None, leases: Mapping[str, float]) -> None:
        """
        See L{btcp.datapath.interface.Datapath.renew}.  Does nothing: this datapath never acts
        without the core.
        """

    def refresh(self) -> None:
        """
        See L{btcp.datapath.interface.Datapath.refresh}.  Does nothing: there are no such counters.
        """

    def perform(self, movement: Movement) -> None:
        """
        See L{btcp.datapath.interface.Datapath.perform}.
        """
        try:
            if isinstance(movement, Transmit):
                self._transmit(movement.segment)
            elif isinstance(movement, Deliver):
                self._deliver(movement.segment)
            elif isinstance(movement, Install):
                self._routes[movement.route.key] = movement.route
            elif isinstance(movement, Remove):
                self._routes.pop(movement.key, None)
            elif isinstance(movement, PassPacket):
                self._pass_packet(movement)
        except OSError as problem:
            self._lost(problem)

    def _close(self) -> None:
        self._tap.close()
        self._frames.close()
        self._sender.close()

    # -- IReadDescriptor ------------------------------------------------------

    def fileno(self) -> int:
        """
        Return the descriptor of the TAP device.
        """
        return self._tap.fd

    def doRead(self) -> None:
        """
        Read and process frames, at most L{_QUOTA}.
        """
        self._read(_QUOTA)

    def _read(self, most: int) -> None:
        now, fd, buffers = self._clock(), self._tap.fd, [self._buffer]
        for _ in range(most):
            try:
                size = os.readv(fd, buffers)
            except BlockingIOError:
                return
            except OSError:  # the device was deleted; see verify()
                self._counters["lost.tap"] += 1
                return
            try:
                self._frame(size, now)
            except Exception:
                # An exception would make the reactor stop reading the device.
                self._defect()

    def connectionLost(self, reason: Failure) -> None:
        """
        The reactor gives up a device that was deleted; L{verify} makes it again.
        """

    def logPrefix(self) -> str:
        """
        See L{twisted.internet.interfaces.ILoggingContext}.
        """
        return "raw datapath"

    # -- packets --------------------------------------------------------------

    def _frame(self, size: int, now: float) -> None:
        try:
            self._take(frame.parse(self._buffer, size), now)
        except Malformed as problem:
            self._odd(size, problem, now)

    def _defect(self) -> None:
        self._counters["failed.packet"] += 1
        if self._counters["failed.packet"] <= _TOLD:
            self.log.failure("exception while processing a packet")

    def _take(self, segment: Segment, now: float) -> None:
        route = self._routes.get(segment.key)
        if route is None or segment.flags & route.punt or route.follows:
            self._shell.perform(self._show(segment, now))
            return
        route.take(segment, now)
        try:
            if route.local:
                self._deliver(segment)
            else:
                self._transmit(segment)
        except OSError as problem:
            self._lost(problem)

    def _show(self, segment: Segment, now: float) -> list[Action]:
        source = frame.source(self._buffer)
        if source == frame.OURS:
            return self._core.bounced(segment, now)
        if source in self._said:
            beginning = source == frame.BEGINNING
            rtt = frame.rtt(self._buffer) if beginning else UNMEASURED
            return self._core.established(segment, beginning, now, rtt)
        return self._core.receive(segment, now)

    def _odd(self, size: int, problem: Malformed, now: float) -> None:
        """
        Process a frame without a valid TCP segment, which may be an ICMP error.
        """
        if problem.counter == "not-tcp":
            start = frame.packet_start(self._buffer, size)
            packet = bytes(self._view[start:size])
            try:
                message = PacketTooBig(packet)
            except Malformed as other:
                problem = other
                if other.counter == "not-tcp":  # an error about another protocol, for this host
                    self._counters["icmp.passed-up"] += 1
                    self.perform(PassPacket(packet, local=True))
                    return
            else:
                self._shell.perform(self._core.too_big(message, now))
                return
        self._counters[f"dropped.{problem.counter}"] += 1

    def _transmit(self, segment: Segment) -> None:
        if segment.frame == 0 and frame.source(self._buffer) == self._own_address:
            # A frame of the local TCP, in which the host has set the next hop.
            self._frames.send(self._view[: segment.end])
            return
        for packet in split(segment):
            self._sender.send(packet, segment.destination)

    def _deliver(self, segment: Segment) -> None:
        if segment.frame == 0:
            frame.address_to(self._buffer, self._tap.hardware_address)
            os.write(self._tap.fd, self._view[: segment.end])
        else:
            packet = memoryview(segment.buffer)[segment.ip : segment.end]
            if segment.partial:
                segment.complete_checksum()
            os.writev(self._tap.fd, [self._headers[segment.version], packet])

    def _pass_packet(self, movement: PassPacket) -> None:
        packet = movement.packet
        version = packet[0] >> 4
        if movement.local:
            os.writev(self._tap.fd, [self._headers[version], packet])
        else:
            self._sender.send(packet, packet[16:20] if version == 4 else packet[24:40])

    def _lost(self, problem: OSError) -> None:
        """
        Count a packet that could not be sent; TCP retransmits it.
        """
        self._counters[f"lost.{errorcode.get(problem.errno or 0, 'unknown')}"] += 1
