# SPDX-License-Identifier: MIT
"""
A host whose kernel does what the tc programs do: L{EbpfDatapath} over L{Kernel}.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from random import Random
from typing import Any

from btcp.datapath.ebpf.datapath import EbpfDatapath
from btcp.datapath.interface import Core, Movement, Promise, Repair, Shell
from btcp.handoff.memo import Relic
from btcp.handoff.messages import Handoff
from btcp.wire.segment import Malformed, Segment
from tests.simulation.clock import Clock
from tests.simulation.kernel import Fate, Kernel, Reporting
from tests.simulation.memory_datapath import Admission, MemoryDatapath, Output


class Upward(MemoryDatapath):
    """
    Takes what the kernel leaves, as L{RawDatapath<btcp.datapath.raw.datapath.RawDatapath>} does.
    """

    said = Fate.UP

    def receive(
        self, packet: bytes | bytearray, *, partial: bool = False, gso_size: int = 0
    ) -> None:
        """
        See L{MemoryDatapath.receive}.
        """
        self._buffer[: len(packet)] = packet
        try:
            segment = Segment(
                self._buffer, 0, len(packet), frame=0, partial=partial, gso_size=gso_size
            )
            self._take(segment)
        except Malformed as problem:
            self._odd(bytes(packet), problem)

    def _take(self, segment: Segment) -> None:
        now, route = self._clock(), self.routes.get(segment.key)
        if not self._led:
            return
        if self.said is not Fate.UP and (route is None or route.follows):
            beginning = self.said is Fate.BEGINNING
            self._shell.perform(self._core.established(segment, beginning, now))
        elif route is not None and route.follows:
            self._shell.perform(self._core.receive(segment, now))
        else:
            super()._take(segment)


class _Adoption:
    """
    As L{btcp.datapath.ebpf.adoption.Adoption}, of a kernel in memory.
    """

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._admitted: set[bytes] = set()

    def set_up(self, tap: str) -> None:
        """
        There is nothing to do.
        """

    def take_down(self) -> None:
        """
        Nothing is admitted any more.
        """
        self.retract(list(self._admitted))

    def admit(self, orders: Mapping[bytes, Handoff]) -> int:
        """
        See L{btcp.datapath.ebpf.adoption.Adoption.admit}.
        """
        for key, order in orders.items():
            self._admission.admit(key, order)
            self._admitted.add(key)
        return 0

    def retract(self, keys: Iterable[bytes]) -> None:
        """
        See L{btcp.datapath.ebpf.adoption.Adoption.retract}.
        """
        for key in keys:
            if key in self._admitted:
                self._admitted.discard(key)
                self._admission.retract(key)


class _Reactor:
    """
    Turns, for as long as the daemon lives.
    """

    def __init__(self, clock: Clock, reporting: Reporting) -> None:
        self._clock = clock
        self._reporting = reporting
        self._reader: Any = None
        self._asked = False
        self.alive = True

    def callLater(self, delay: float, job: Callable[[], None]) -> None:
        """
        See L{twisted.internet.interfaces.IReactorTime.callLater}.
        """
        self._clock.call_later(delay, lambda: job() if self.alive else None)

    def addReader(self, reader: Any) -> None:
        """
        See L{twisted.internet.interfaces.IReactorFDSet.addReader}.
        """
        self._reader = reader

    def removeReader(self, reader: Any) -> None:
        """
        See L{twisted.internet.interfaces.IReactorFDSet.removeReader}.
        """
        self._reader = None

    def notify(self) -> None:
        """
        There is something to read.
        """
        if not self._asked:
            self._asked = True
            self.callLater(self._reporting.late, self._read)

    def _read(self) -> None:
        self._asked = False
        if self._reader is not None:
            self._reader.doRead()


class FollowingDatapath:
    """
    In the place of L{MemoryDatapath}.
    """

    def __init__(
        self,
        clock: Clock,
        random: Random,
        reporting: Reporting,
        transmit: Output,
        deliver: Output,
        pass_up: Output,
        admission: Admission,
        own: Iterable[bytes],
        port: int,
    ) -> None:
        """
        @param deliver: the local TCP, by way of the TAP device.
        @param pass_up: the same, of packets that are none of ours.
        @param own: this host's addresses.
        @param port: that it listens at.
        """
        self._clock, self._random, self._reporting = clock, random, reporting
        self._transmit, self._deliver, self._pass_up = transmit, deliver, pass_up
        self._admission, self._own = admission, set(own)
        self._listeners = {address + port.to_bytes(2, "big") for address in own}
        self.kernel = self._make_kernel()

    def _make_kernel(self) -> Kernel:
        self._reactor = _Reactor(self._clock, self._reporting)
        return Kernel(
            self._clock.seconds,
            self._random,
            self._listeners,
            self._reporting,
            self._transmit,
            lambda: self._reactor.notify(),
        )

    @property
    def routes(self) -> set[bytes]:
        """
        The keys of those installed.
        """
        return set(self._upward.routes) | set(self.kernel.routes)

    @property
    def memos(self) -> dict[bytes, bytes]:
        """
        What is kept beside them.
        """
        return self.kernel.memos

    # -- Datapath ----------------------------------------------------------------

    def start(self, core: Core, shell: Shell) -> None:
        """
        See L{btcp.datapath.interface.Datapath.start}; after L{leave}, with what was left.
        """
        seconds = self._clock.seconds
        self._reactor = _Reactor(self._clock, self._reporting)
        self.kernel.events.clear()  # nobody inherits those
        self._upward = Upward(seconds, self._transmit, self._deliver)
        self._adoption = _Adoption(self._admission)
        parts: Any = self._upward, self.kernel, self._adoption  # in the place of the real ones
        self._ebpf = EbpfDatapath(self._reactor, seconds, *parts)
        self._ebpf.start(core, shell)

    def halt(self) -> None:
        """
        See L{btcp.datapath.interface.Datapath.halt}.
        """
        self._ebpf.halt()

    def stop(self) -> None:
        """
        The daemon is gone at once, with what it gathered; what the kernel knew goes with the
        programs.
        """
        self.leave()
        self.kernel = self._make_kernel()

    def leave(self) -> None:
        """
        The same, but the programs stay.
        """
        self._reactor.alive = False
        self._adoption.take_down()
        self._upward.leave()

    def verify(self) -> list[Repair]:
        """
        See L{btcp.datapath.interface.Datapath.verify}: there is no host.
        """
        return []

    def relics(self) -> list[Relic]:
        """
        See L{btcp.datapath.interface.Datapath.relics}.
        """
        return self._ebpf.relics()

    def perform(self, movement: Movement) -> None:
        """
        See L{btcp.datapath.interface.Datapath.perform}.
        """
        self._ebpf.perform(movement)

    def renew(self, promise: Promise | None, leases: Mapping[str, float]) -> None:
        """
        See L{btcp.datapath.interface.Datapath.renew}.
        """
        self._ebpf.renew(promise, leases)

    # -- packets -----------------------------------------------------------------

    def bounced(self, packet: bytes) -> None:
        """
        See L{MemoryDatapath.bounced}.
        """
        self._upward.bounced(packet)

    def receive(
        self, packet: bytes | bytearray, *, partial: bool = False, gso_size: int = 0
    ) -> None:
        """
        See L{MemoryDatapath.receive}.
        """
        try:
            segment = Segment(bytearray(packet), 0, len(packet), partial=partial, gso_size=gso_size)
        except Malformed:
            self._upward.receive(packet)
            return
        outgoing = segment.source in self._own
        fate = (self.kernel.egress if outgoing else self.kernel.ingress)(segment)
        if fate is Fate.MOVED:
            entry = self.kernel.routes.get(Segment(bytearray(packet), 0, len(packet)).key)
            local = entry is not None and entry.route.local
            self._upward._send(segment, local=local)
        elif fate is Fate.PASS:
            self._leave(segment, outgoing)
        elif fate is not Fate.DROP:
            self._upward.said = fate
            self._upward.receive(packet, partial=partial, gso_size=gso_size)
            self._upward.said = Fate.UP

    def _leave(self, segment: Segment, outgoing: bool) -> None:
        if outgoing:
            self._upward._send(segment, local=False)
        else:
            self._pass_up(bytes(segment.buffer))
