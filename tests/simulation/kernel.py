# SPDX-License-Identifier: MIT
"""
What the tc programs do (C{btcp/datapath/bpf}), in Python and in memory: they answer SYNs, move the
packets of routes, follow FINs, and report.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from hashlib import blake2b
from math import inf
from random import Random

from attrs import define, field, frozen

from btcp.datapath.ebpf.abi import COUNTERS, MEMO, Account, pack_key, pack_route, unpack_route
from btcp.datapath.interface import AWAKE, Promise
from btcp.handoff.cookie import SIZES
from btcp.handoff.memo import Relic
from btcp.handoff.reassembly import WINDOW
from btcp.handoff.route import EVERYTHING, Report, Reported, Route
from btcp.handoff.splice import Rewriter
from btcp.wire.build import compose
from btcp.wire.options import SynOptions
from btcp.wire.segment import ACK, FIN, RST, SYN, Malformed, Segment, reversed_key
from btcp.wire.seqnum import add, at_or_before

_SLOT = 68.7
_NO_SCALE = 15
_PLACE = 15
_REACH = 1 << 22
_TIMESTAMPS, _SACK = b"\1\1\x08\n", b"\1\1\5"


class Fate(Enum):
    """
    What becomes of a packet.

    @cvar PASS: nothing is done to it here.
    @cvar BEGINNING: it goes up, with the word that it is the first of a connection.
    @cvar CONTINUING: it goes up, and is of such a connection.
    """

    PASS = 0
    UP = 1
    BEGINNING = 2
    CONTINUING = 3
    DROP = 4
    MOVED = 5


@frozen
class Reporting:
    """
    How reports get to the daemon.

    @ivar late: seconds that they take.
    @ivar lost: how often (0.0-1.0) there is no room for one.
    """

    late: float = 0.0
    lost: float = 0.0


class Entry:
    """
    A route in the kernel: what the rule was when it was made, and an account of its own.
    """

    def __init__(self, route: Route) -> None:
        rewriter = None if route.rewriter is None else Rewriter(route.rewriter.splice)
        self.route = Route(
            route.key,
            rewriter,
            local=route.local,
            punt=route.punt,
            ack=route.ack,
            end=route.end,
            now=route.used,
            follows=route.follows,
            awaits=route.awaits,
            lease=route.lease,
        )
        self.route.progress = route.progress
        self.route.fin, self.route.fin_acked = route.fin, route.fin_acked
        self.closing = route.fin is not None


@define(eq=False)
class Kernel:
    """
    As L{btcp.datapath.ebpf.programs.Programs}, and the packets besides.

    @ivar listeners: packed address and port of each.
    @ivar transmit: sends an answer.
    @ivar notify: called when there are reports.
    """

    clock: Callable[[], float]
    random: Random
    listeners: Iterable[bytes]
    reporting: Reporting
    transmit: Callable[[bytes], None]
    notify: Callable[[], None]
    routes: dict[bytes, Entry] = field(factory=dict)
    memos: dict[bytes, bytes] = field(factory=dict)
    counted: Counter[str] = field(factory=Counter)
    events: list[Reported] = field(factory=list)
    _promise: Promise | None = None
    _leases: dict[str, float] = field(factory=dict)
    _take: Callable[[Reported], None] = lambda report: None
    fd: int = -1

    # -- what the daemon does ----------------------------------------------------

    def promise(self, promise: Promise | None) -> None:
        """
        See L{btcp.datapath.ebpf.programs.Programs.promise}.
        """
        self._promise = promise

    def renew(self, lease: str, until: float) -> None:
        """
        See L{btcp.datapath.ebpf.programs.Programs.renew}.
        """
        self._leases[lease] = until

    def install(self, routes: Iterable[Route]) -> list[bytes]:
        """
        See L{btcp.datapath.ebpf.programs.Programs.install}.
        """
        self.routes.update((route.key, Entry(route)) for route in routes)
        return []

    def amend(self, key: bytes, punt: int) -> bool:
        """
        See L{btcp.datapath.ebpf.programs.Programs.amend}.
        """
        entry = self.routes.get(key)
        if entry is not None:
            entry.route.punt = punt
        return entry is not None

    def halt(self) -> None:
        """
        See L{btcp.datapath.ebpf.programs.Programs.halt}.
        """
        for entry in self.routes.values():
            entry.route.punt = EVERYTHING

    def remove(self, keys: Iterable[bytes]) -> None:
        """
        See L{btcp.datapath.ebpf.programs.Programs.remove}.
        """
        for key in keys:
            self.routes.pop(key, None)
            self.memos.pop(key, None)

    def remember(self, memos: Mapping[bytes, bytes]) -> int:
        """
        See L{btcp.datapath.ebpf.programs.Programs.remember}.
        """
        self.memos.update(memos)
        return 0

    def relics(self) -> list[Relic]:
        """
        See L{btcp.datapath.ebpf.programs.Programs.relics}.
        """
        keys = dict.fromkeys((*self.routes, *self.memos))
        return [Relic(key, self._relic(key), self._memo(key)) for key in keys]

    def _relic(self, key: bytes) -> Route | None:
        entry = self.routes.get(key)
        if entry is None:
            return None
        kept, packed = entry.route, pack_key(key)
        route = unpack_route(packed, pack_route(kept))
        route.packets, route.octets = kept.packets, kept.octets
        route.progress |= kept.rewriter is not None and kept.rewriter.sacked
        return route

    def _memo(self, key: bytes) -> bytes | None:
        memo = self.memos.get(key)
        return memo and MEMO.pack(memo)

    def account(self, key: bytes) -> Account | None:
        """
        See L{btcp.datapath.ebpf.programs.Programs.account}.
        """
        entry = self.routes.get(key)
        if entry is None:
            return None
        route = entry.route
        progress = route.progress or (route.rewriter is not None and route.rewriter.sacked)
        return Account(
            route.used,
            route.packets,
            route.octets,
            route.ack,
            route.end,
            progress,
            route.fin,
            route.fin_acked,
        )

    def counters(self) -> dict[str, int]:
        """
        See L{btcp.datapath.ebpf.programs.Programs.counters}.
        """
        return {name: self.counted[name] for name in COUNTERS}

    def report(self, take: Callable[[Reported], None]) -> Kernel:
        """
        See L{btcp.datapath.ebpf.programs.Programs.report}; this is the ring buffer as well.
        """
        self._take = take
        return self

    def consume(self) -> None:
        """
        See L{btcp.datapath.ebpf.libbpf.Ring.consume}.
        """
        events, self.events[:] = list(self.events), []
        for event in events:
            self._take(event)

    def close(self) -> None:
        """
        See L{btcp.datapath.ebpf.libbpf.Ring.close}.
        """

    # -- packets -----------------------------------------------------------------

    def ingress(self, segment: Segment) -> Fate:
        """
        A packet comes in.
        """
        entry = self.routes.get(segment.key)
        if entry is None:
            if segment.destination + segment.key[-2:] not in self.listeners:
                return Fate.PASS
            return self._meet(segment)
        return Fate.MOVED if self._take_in(segment, entry, True) else Fate.UP

    def egress(self, segment: Segment) -> Fate:
        """
        The local TCP sends a packet.
        """
        entry = self.routes.get(segment.key)
        if entry is None:
            guarded = segment.source + segment.key[-4:-2] in self.listeners
            return Fate.DROP if guarded else Fate.PASS
        return Fate.MOVED if self._take_in(segment, entry, False) else Fate.UP

    def _take_in(self, segment: Segment, entry: Entry, from_client: bool) -> bool:
        """
        @return: whether it is moved; it is rewritten then.
        """
        route = entry.route
        if segment.flags & route.punt:
            return False
        if not from_client:
            if route.awaits is not None and not self._admitted(segment, route):
                return False
            if self._too_late(segment, route):
                return False
        if _is_odd(segment, route):
            return False
        before = segment.seq, segment.next, segment.ack
        route.take(segment, self.clock())
        if route.follows:
            self._follow(segment.flags, before[1], before[2], entry, from_client)
        return True

    def _admitted(self, segment: Segment, route: Route) -> bool:
        if not segment.flags & ACK or segment.ack != route.awaits:
            return False
        route.awaits = None
        self._report(Reported(route.key, Report.TAKEN))
        return True

    def _too_late(self, segment: Segment, route: Route) -> bool:
        if route.lease is None or route.octets or not (segment.size or segment.flags & FIN):
            return False
        until = (self._leases.get(lease, -inf) for lease in (route.lease, AWAKE))
        return self.clock() > min(until)

    def _follow(self, flags: int, end: int, ack: int, own: Entry, from_client: bool) -> None:
        if not flags & FIN and not own.closing:
            return
        other = self.routes.get(reversed_key(own.route.key))
        if other is None:
            return
        client, server = (own, other) if from_client else (other, own)
        first = flags & FIN and own.route.fin is None
        if from_client and first and (end - server.route.ack) & 0xFFFFFFFF > _REACH:
            return
        if first:
            own.route.fin, other.closing = end, True
            if not own.closing:
                self._report_end(Report.FIN, client.route, server.route)
            own.closing = True
        fin = other.route.fin
        if flags & ACK and fin is not None and not own.route.fin_acked:
            if ack == fin if from_client else at_or_before(fin, ack):
                own.route.fin_acked = True
                if other.route.fin_acked:
                    self._report_end(Report.CLOSED, client.route, server.route)

    def _report_end(self, what: Report, client: Route, server: Route) -> None:
        fins = client.fin or 0, server.fin or 0
        self._report(Reported(server.key, what, *fins, server.octets))

    def _report(self, event: Reported) -> None:
        if self.random.random() < self.reporting.lost:
            self.counted["unreported"] += 1
        else:
            self.events.append(event)
            self.notify()

    # -- the handshake -----------------------------------------------------------

    def _meet(self, segment: Segment) -> Fate:
        promise, flags = self._promise, segment.flags & ~0xC0
        if promise is None:
            return Fate.UP
        if flags == SYN and not segment.size and self.clock() < promise.until:
            answer = self._answer(segment, promise)
            if answer is not None:
                self.counted["answered"] += 1
                self.transmit(answer)
                return Fate.DROP
        if flags & (SYN | RST | ACK) != ACK:
            return Fate.UP
        return self._standing(segment)

    def _standing(self, segment: Segment) -> Fate:
        slot, said = int(self.clock() / _SLOT), add(segment.ack, -1)
        slot -= (slot ^ said >> 31) & 1
        right = _cookie(segment.key, slot, said >> 23 & 0xFF, add(segment.seq, -1))
        if said == right:
            if segment.size or segment.flags & FIN:
                return Fate.BEGINNING
            self.counted["established"] += 1
            return Fate.DROP
        return Fate.CONTINUING if not (said ^ right) >> _PLACE else Fate.UP

    def _answer(self, syn: Segment, promise: Promise) -> bytes | None:
        try:
            offered = SynOptions.read(syn)
        except Malformed:
            return None
        can = promise.capabilities
        scaling = can.window_scaling and offered.scale >= 0
        stamps, sack = can.timestamps and offered.tsval >= 0, can.sack and offered.sack
        options = SynOptions(
            mss=can.mtu - (40 if syn.version == 4 else 60),
            scale=promise.window_scale if scaling else -1,
            sack=sack,
            tsval=self._tsval(syn.key) if stamps else -1,
            tsecr=max(offered.tsval, 0),
        ).pack()
        if not offered.mss or len(options) > syn.data - syn.tcp - 20:
            return None
        number = sum(size <= offered.mss for size in SIZES[1:])
        agreed = number << 5 | (offered.scale if scaling else _NO_SCALE) << 1 | sack
        iss = _cookie(syn.key, int(self.clock() / _SLOT), agreed, syn.seq)
        numbers = iss, add(syn.seq, 1)
        made = compose(reversed_key(syn.key), *numbers, SYN | ACK, WINDOW, options)
        return bytes(made.buffer)

    def _tsval(self, key: bytes) -> int:
        return (_hashed(key[:-4]) + int(self.clock() * 1000)) & 0xFFFFFFFF


def _cookie(key: bytes, slot: int, agreed: int, irs: int) -> int:
    of_both = _hashed(key + bytes((slot & 0xFF, agreed))) & 0xFF
    of_all = _hashed(key + bytes((slot & 0xFF, agreed)) + irs.to_bytes(4, "big")) & 0x7FFF
    return (slot & 1) << 31 | agreed << 23 | of_both << _PLACE | of_all


def _hashed(octets: bytes) -> int:
    return int.from_bytes(blake2b(octets, digest_size=4).digest(), "big")


def _is_odd(segment: Segment, route: Route) -> bool:
    """
    Whether there is anything to rewrite in options that are laid out in an unusual way; see
    C{rewrite.h}.
    """
    if route.rewriter is None or segment.data == segment.tcp + 20:
        return False
    splice = route.rewriter.splice
    if not (splice.ack or splice.tsval or splice.tsecr):
        return False
    options = bytes(segment.buffer[segment.tcp + 20 : segment.data])
    if options.startswith(_TIMESTAMPS):
        options = options[12:]
    if options.startswith(_SACK):
        options = options[2 + options[3] :]
    return bool(options)
