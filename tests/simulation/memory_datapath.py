# SPDX-License-Identifier: MIT
"""
A datapath without a host: packets come by a method and leave by two callables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from btcp.datapath.interface import Core, Movement, Promise, Repair, Shell
from btcp.handoff.actions import (
    Admit,
    Deliver,
    Install,
    PassPacket,
    Remember,
    Remove,
    Retract,
    Transmit,
)
from btcp.handoff.memo import Relic
from btcp.handoff.messages import Handoff
from btcp.handoff.route import Route
from btcp.wire.gso import split
from btcp.wire.icmp import PacketTooBig
from btcp.wire.segment import Malformed, Segment

Output = Callable[[bytes], None]
"""Takes a whole IP packet."""

_LARGEST = 65_536 + 40
"""Octets: the largest super-packet."""


class Admission(Protocol):
    """
    A local TCP that makes connections without a handshake.
    """

    def admit(self, key: bytes, order: Handoff) -> None:
        """
        See L{btcp.handoff.actions.Admit}.
        """

    def retract(self, key: bytes) -> None:
        """
        See L{btcp.handoff.actions.Retract}.
        """


class MemoryDatapath:
    """
    See L{btcp.datapath.interface.Datapath}.

    @ivar routes: those installed, by their key.
    @ivar memos: what is kept beside them.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        transmit: Output,
        deliver: Output,
        admission: Admission | None = None,
    ) -> None:
        """
        @param clock: monotonic seconds.
        @param transmit: the network.
        @param deliver: the local TCP; must not answer before it returns.
        @param admission: the local TCP, if the core is to use it so.
        """
        self._clock = clock
        self._transmit = transmit
        self._deliver = deliver
        self._admission = admission
        self._buffer = bytearray(_LARGEST)
        self.routes: dict[bytes, Route] = {}
        self.memos: dict[bytes, bytes] = {}
        self._led = False

    # -- Datapath -------------------------------------------------------------

    def start(self, core: Core, shell: Shell) -> None:
        """
        See L{btcp.datapath.interface.Datapath.start}.
        """
        self._core, self._shell = core, shell
        self._led = True

    def halt(self) -> None:
        """
        See L{btcp.datapath.interface.Datapath.halt}: all packets pass here.
        """

    def stop(self) -> None:
        """
        See L{btcp.datapath.interface.Datapath.stop}.
        """
        self.routes.clear()
        self.memos.clear()
        self._led = False

    def leave(self) -> None:
        """
        See L{btcp.datapath.interface.Datapath.leave}: packets of routes are moved, all
        others are lost.
        """
        self._led = False

    def relics(self) -> list[Relic]:
        """
        See L{btcp.datapath.interface.Datapath.relics}.
        """
        keys = dict.fromkeys((*self.routes, *self.memos))
        return [Relic(key, self.routes.get(key), self.memos.get(key)) for key in keys]

    def renew(self, promise: Promise | None, leases: Mapping[str, float]) -> None:
        """
        See L{btcp.datapath.interface.Datapath.renew}: the core decides everything.
        """

    def verify(self) -> list[Repair]:
        """
        See L{btcp.datapath.interface.Datapath.verify}: there is no host.
        """
        return []

    def refresh(self) -> None:
        """
        See L{btcp.datapath.interface.Datapath.refresh}: there are none.
        """

    def perform(self, movement: Movement) -> None:
        """
        See L{btcp.datapath.interface.Datapath.perform}.
        """
        if isinstance(movement, Transmit):
            self._send(movement.segment, local=False)
        elif isinstance(movement, Deliver):
            self._send(movement.segment, local=True)
        elif isinstance(movement, Install):
            self.routes[movement.route.key] = movement.route
        elif isinstance(movement, Remove):
            self.routes.pop(movement.key, None)
            self.memos.pop(movement.key, None)
        elif isinstance(movement, Remember):
            self.memos[movement.key] = movement.memo
        elif isinstance(movement, PassPacket):
            self._pass_packet(movement)
        elif self._admission is not None:
            self._admit(self._admission, movement)

    def _admit(self, admission: Admission, movement: Admit | Retract) -> None:
        if isinstance(movement, Admit):
            admission.admit(movement.key, movement.order)
        else:
            admission.retract(movement.key)

    # -- packets --------------------------------------------------------------

    def receive(
        self, packet: bytes | bytearray, *, partial: bool = False, gso_size: int = 0
    ) -> None:
        """
        Take a packet that a host would have intercepted: of a client, of a
        front-end, or of the local TCP.

        @param packet: a whole IP packet, and perhaps padding.
        @param partial: its checksum is partial.
        @param gso_size: octets of data per segment of a super-packet.
        """
        # One buffer for all, as a datapath of a host has: who keeps a packet copies it.
        self._buffer[: len(packet)] = packet
        try:
            self._take(Segment(self._buffer, 0, len(packet), partial=partial, gso_size=gso_size))
        except Malformed as problem:
            self._odd(bytes(packet), problem)

    def bounced(self, packet: bytes) -> None:
        """
        A packet that was delivered, and not admitted.
        """
        if not self._led:
            return
        segment = Segment(bytearray(packet), 0, len(packet))
        self._shell.perform(self._core.bounced(segment, self._clock()))

    def _take(self, segment: Segment) -> None:
        now, route = self._clock(), self.routes.get(segment.key)
        if route is None or segment.flags & route.punt:
            if not self._led:
                return
            self._shell.perform(self._core.receive(segment, now))
        else:
            route.take(segment, now)
            self._send(segment, local=route.local)

    def _odd(self, packet: bytes, problem: Malformed) -> None:
        """
        No TCP segment: perhaps ICMP.
        """
        if not self._led:
            return
        if problem.counter == "not-tcp":
            try:
                message = PacketTooBig(packet)
            except Malformed as other:
                problem = other
                if other.counter == "not-tcp":  # about another protocol of this host's
                    self._core.counters["icmp.passed-up"] += 1
                    self._deliver(packet)
                    return
            else:
                self._shell.perform(self._core.too_big(message, self._clock()))
                return
        self._core.counters[f"dropped.{problem.counter}"] += 1

    def _send(self, segment: Segment, *, local: bool) -> None:
        output = self._deliver if local else self._transmit
        for packet in split(segment):
            output(bytes(packet))

    def _pass_packet(self, movement: PassPacket) -> None:
        (self._deliver if movement.local else self._transmit)(movement.packet)
