# SPDX-License-Identifier: MIT
"""
Packet trace: a datapath that wraps another one and writes the packets of selected flows to a file.

The flow entries of a traced flow are installed as copies that punt all packets, so that packets
pass through the daemon also with the eBPF datapath.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import IO

from attrs import define, frozen

from btcp.datapath import pcapng
from btcp.datapath.interface import Core, Datapath, Movement, Promise, Repair, Shell
from btcp.datapath.pcapng import INBOUND, OUTBOUND
from btcp.handoff.actions import Action, Deliver, Install, Remove, Transmit
from btcp.handoff.memo import Relic
from btcp.handoff.messages import UNMEASURED
from btcp.handoff.route import EVERYTHING, Reported, Route
from btcp.wire.gso import split
from btcp.wire.icmp import PacketTooBig
from btcp.wire.segment import Segment

MOST_FLOWS = 4096
"""Maximum number of traced flow entries, which bounds the load on the daemon."""

FULL = "the file is as large as it may be"

_NETWORK, _LOCAL = 0, 1
_INTERFACES = (
    ("network", "from clients and front-ends, and to them"),
    ("local", "to this host's own TCP, and from it"),
)


@frozen
class Selection:
    """
    The selection of flows to trace.

    @ivar address: the client's packed address; L{None} matches any.
    @ivar port: the client's port; L{None} matches any.
    @ivar ports: ports of listeners and origins; an empty set matches any.
    """

    address: bytes | None
    port: int | None
    ports: frozenset[int]

    def takes(self, key: bytes) -> bool:
        """
        Return whether a flow is selected.

        @param key: the key of its packets in either direction.
        """
        half = (len(key) - 4) // 2
        source, destination = key[:half], key[half:-4]
        from_port, to_port = key[-4] << 8 | key[-3], key[-2] << 8 | key[-1]
        if self.ports and not (from_port in self.ports or to_port in self.ports):
            return False
        if self.address is None:
            return True
        forth = source == self.address and self.port in (None, from_port)
        return forth or (destination == self.address and self.port in (None, to_port))


@define
class Trace:
    """
    A trace, running or ended.

    @ivar packets: the number of packets written.
    @ivar octets: the size of the file.
    @ivar left: the number of flow entries that were not traced because there were too many.
    @ivar ended: the reason for the end; empty while the trace is running.
    """

    file: IO[bytes]
    path: str
    selection: Selection
    limit: int
    packets: int = 0
    octets: int = 0
    left: int = 0
    ended: str = ""


class TraceDatapath:
    """
    See L{btcp.datapath.interface.Datapath}.
    """

    def __init__(self, datapath: Datapath, own: frozenset[bytes], wall: Callable[[], int]) -> None:
        """
        @param datapath: the datapath to wrap.
        @param own: this host's packed addresses.
        @param wall: returns nanoseconds since 1970.
        """
        self._datapath = datapath
        self._own = own
        self._wall = wall
        self._routes: dict[bytes, Route] = {}
        self._traced: set[bytes] = set()
        self._trace: Trace | None = None
        self._running = False
        self._promise: Promise | None = None
        self._leases: Mapping[str, float] = {}

    # -- Datapath -------------------------------------------------------------

    def start(self, core: Core, shell: Shell) -> None:
        """
        See L{btcp.datapath.interface.Datapath.start}.
        """
        self._datapath.start(_TracedCore(core, self), shell)

    def halt(self) -> None:
        """
        See L{btcp.datapath.interface.Datapath.halt}.
        """
        self._datapath.halt()

    def stop(self) -> None:
        """
        See L{btcp.datapath.interface.Datapath.stop}.
        """
        if self._running:
            self._close("the node stopped")
        self._datapath.stop()

    def leave(self) -> None:
        """
        See L{btcp.datapath.interface.Datapath.leave}.
        """
        if self._running:
            self._close("the node stopped")
        self._datapath.leave()

    def relics(self) -> list[Relic]:
        """
        See L{btcp.datapath.interface.Datapath.relics}.
        """
        relics = self._datapath.relics()
        self._routes.update((each.key, each.route) for each in relics if each.route is not None)
        return relics

    def renew(self, promise: Promise | None, leases: Mapping[str, float]) -> None:
        """
        See L{btcp.datapath.interface.Datapath.renew}.  While a trace runs, the datapath does not
        answer SYNs by itself, so that handshakes are traced.
        """
        self._promise, self._leases = promise, leases
        self._datapath.renew(None if self._running else promise, leases)

    def verify(self) -> list[Repair]:
        """
        See L{btcp.datapath.interface.Datapath.verify}.
        """
        return self._datapath.verify()

    def refresh(self) -> None:
        """
        See L{btcp.datapath.interface.Datapath.refresh}.
        """
        self._datapath.refresh()

    def perform(self, movement: Movement) -> None:
        """
        See L{btcp.datapath.interface.Datapath.perform}.
        """
        if isinstance(movement, Install):
            self._install(movement.route)
            return
        if isinstance(movement, Remove):
            self._routes.pop(movement.key, None)
            self._traced.discard(movement.key)
        elif self._running and isinstance(movement, Transmit | Deliver):
            local = isinstance(movement, Deliver)
            self.write(movement.segment, OUTBOUND, _LOCAL if local else _NETWORK)
        self._datapath.perform(movement)

    def _install(self, route: Route) -> None:
        self._routes[route.key] = route
        if self._running and self._wants(route.key):
            self._traced.add(route.key)
            self._datapath.perform(Install(_all_up(route)))
        else:
            self._datapath.perform(Install(route))

    def _wants(self, key: bytes) -> bool:
        trace = self._trace
        if key in self._traced:
            return True
        if trace is None or not trace.selection.takes(key):
            return False
        if len(self._traced) < MOST_FLOWS:
            return True
        trace.left += 1
        return False

    # -- traces ---------------------------------------------------------------

    def begin(
        self, path: str, client: tuple[bytes, int | None] | None, ports: set[int], limit: int
    ) -> None:
        """
        Start a trace, including existing flows.

        @param path: the file, which must not exist.
        @param client: the client's packed address, and its port or C{None}; L{None} for all.
        @param ports: ports of listeners and origins; empty for all.
        @param limit: the maximum size of the file in octets, at which the trace ends.
        @raise OSError: if the file cannot be created.
        @raise ValueError: if a trace is running.
        """
        if self._trace is not None and self._running:
            raise ValueError(f"a trace is running, into {self._trace.path}: trace stop")
        address, port = client or (None, None)
        selection = Selection(address, port, frozenset(ports))
        # O_EXCL: root must not overwrite an existing file or follow a link.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        file = os.fdopen(os.open(path, flags, 0o600), "wb")
        self._trace = trace = Trace(file, path, selection, limit)
        self._running = True
        self._put(trace, pcapng.header("btcp", _INTERFACES))
        self.renew(self._promise, self._leases)
        for route in self._likely(selection):
            if self._running and self._wants(route.key):
                self._divert(route)

    def end(self) -> None:
        """
        Stop writing.

        @raise ValueError: if no trace is running.
        """
        if not self._running:
            raise ValueError("no trace is running")
        self._close("stopped")

    def show(self) -> dict[str, object]:
        """
        Return the answer to C{show trace}: the running trace, or the last one.
        """
        trace = self._trace
        if trace is None:
            return {"state": "none"}
        return {
            "state": "running" if self._running else "ended",
            "why": trace.ended,
            "file": trace.path,
            "packets": trace.packets,
            "octets": trace.octets,
            "max": trace.limit,
            "flows-left-out": trace.left,
        }

    def _likely(self, selection: Selection) -> list[Route]:
        """
        Preselect flow entries by a fast comparison; includes all that are selected.
        """
        parts = [port.to_bytes(2, "big") for port in selection.ports] or [b""]
        if selection.address is not None:
            parts = [selection.address]
        return [route for key, route in self._routes.items() if any(part in key for part in parts)]

    def _divert(self, route: Route) -> None:
        """
        Make the datapath punt all packets of an installed flow entry.
        """
        self._traced.add(route.key)
        punt, route.punt = route.punt, EVERYTHING
        # Updated first, so that the kernel hands its statistics back without a gap.
        self._datapath.perform(Install(route))
        route.punt = punt
        self._datapath.perform(Install(_all_up(route)))

    def _close(self, why: str) -> None:
        trace = self._trace
        assert trace is not None
        self._running = False
        trace.ended = trace.ended or why
        self.renew(self._promise, self._leases)
        traced, self._traced = self._traced, set()
        for key in traced:
            self._datapath.perform(Install(self._routes[key]))
        try:
            trace.file.close()
        except OSError as problem:
            trace.ended = f"{trace.path}: {problem.strerror}"

    def seen(self, segment: Segment) -> None:
        """
        Record a packet that the datapath passed to the core.
        """
        if self._running:
            local = segment.source in self._own
            self.write(segment, INBOUND, _LOCAL if local else _NETWORK)

    def write(self, segment: Segment, direction: int, interface: int) -> None:
        """
        Write a packet to the file, if its flow is selected.
        """
        trace = self._trace
        if trace is None or not trace.selection.takes(segment.key):
            return
        now = self._wall()
        for packet in split(segment.copy()):
            if not self._put(trace, pcapng.packet(interface, now, direction, bytes(packet))):
                return
            trace.packets += 1

    def _put(self, trace: Trace, block: bytes) -> bool:
        if trace.octets + len(block) > trace.limit:
            trace.ended = FULL
        else:
            try:
                trace.file.write(block)
                trace.octets += len(block)
            except OSError as problem:
                trace.ended = f"{trace.path}: {problem.strerror}"
        if trace.ended and self._running:
            self._close(trace.ended)
        return not trace.ended


class _TracedCore:
    """
    See L{btcp.datapath.interface.Core}.
    """

    def __init__(self, core: Core, trace: TraceDatapath) -> None:
        self._core = core
        self._trace = trace
        self.counters: Counter[str] = core.counters

    def receive(self, segment: Segment, now: float) -> list[Action]:
        self._trace.seen(segment)
        return self._core.receive(segment, now)

    def bounced(self, segment: Segment, now: float) -> list[Action]:
        self._trace.seen(segment)
        return self._core.bounced(segment, now)

    def established(
        self, segment: Segment, beginning: bool, now: float, rtt: int = UNMEASURED
    ) -> list[Action]:
        self._trace.seen(segment)
        return self._core.established(segment, beginning, now, rtt)

    def reported(self, reports: Iterable[Reported], now: float) -> list[Action]:
        return self._core.reported(reports, now)

    def too_big(self, message: PacketTooBig, now: float) -> list[Action]:
        return self._core.too_big(message, now)


def _all_up(route: Route) -> Route:
    """
    Copy a flow entry so that all packets are punted.  The copy has what a later daemon needs after
    a crash.
    """
    return Route(
        route.key,
        route.rewriter,
        local=route.local,
        punt=EVERYTHING,
        ack=route.ack,
        end=route.end,
        now=route.used,
    )
