# SPDX-License-Identifier: MIT
"""
C{bpf/abi.h} as Python's L{struct} sees it; a test compares the layouts.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct

from attrs import frozen

from btcp.datapath.interface import Promise
from btcp.handoff.messages import Handoff
from btcp.handoff.reassembly import WINDOW
from btcp.handoff.route import Report, Reported, Route
from btcp.handoff.splice import Rewriter, Splice

KEY = Struct("=16s16s2s2s")
END = Struct("=16s2sH")
RULE = Struct("=36sIIIIbBBBIBBBBII")
ACCOUNT = Struct("=QQQIIIBBBB")
EXPRESS_AT = 63
"""Where C{express} is in C{struct btcp_rule}."""

ROUTE = Struct(f"={RULE.size}s{ACCOUNT.size}s")
GLANCE = Struct(f"={EXPRESS_AT}xB{RULE.size - EXPRESS_AT - 1}xQ{ACCOUNT.size - 8}x")
"""Of C{struct btcp_route}: C{express} and C{used}."""

ADOPTION = Struct("=IIHBBBBBx")
AMENDMENT = Struct("=36sI")
MEASURED = Struct("=III")
PROMISE = Struct("=Q16sHHHBBBB6x")
EVENT = Struct("=36sIIIQ")
DONE = Struct("=36sII")
ENDING = Struct(f"={DONE.size}s{DONE.size}sHH")
REAPING = Struct("=III")
PREFIX = Struct("=II252s")
TURNS = Struct("=II64s")
DESTINATION = Struct("=16s16s16sBB6x")
EXPRESS_FRONT = Struct("=16sI4x")
PLAN = Struct("=8sIIIIII")
HANDED = Struct("=44sHBBQ")
RECORD = Struct("=4sBB2s16sQQBBHHH")
HOST = Struct("=64s")
MEMO = Struct("=64s")
IDENTITY = Struct("=QII32s")
SETTINGS = Struct("=I")
WORD = Struct("=I")
LEASE = Struct("=Q")
FRONT = Struct("=8s")
COUNTER = Struct("=Q")

COUNTERS = (
    "forwarded",
    "admitted",
    "sent",
    "punted",
    "guarded",
    "odd",
    "answered",
    "established",
    "unreported",
    "expressed",
    "declined",
    "adopted",
    "returned",
    "regained",
    "forged",
    "overtook",
    "cured",
    "late",
    "held",
    "ended",
    "unrecorded",
    "probed",
    "damaged",
)

LEASES = 256

MOST_TURNS = 64
"""C{BTCP_TURNS}."""

LONGEST_PATH = 252
"""C{BTCP_PATH}."""

LONGEST_HOST = 63
"""Octets of C{BTCP_HOST}, but for the one that is always zero."""

MOST_REAPED = 1024
"""C{BTCP_REAPED}."""

OVER = 2
"""C{BTCP_OVER}."""

HANDED_OFF, HANDED_BACK = 0, 1
"""C{enum btcp_handed_kind}."""

BOTH_CLOSED, RESET_BY_CLIENT, RESET_BY_SERVER, DOUBTFUL = 0, 1, 2, 3
"""C{enum btcp_why}."""

ACKED, TOLD, DOUBTED = 1, 2, 4
"""C{enum btcp_acked}."""

EXPRESS, FRONT_HALF, JOINED, HOLDS = 1, 2, 4, 8
"""Bits of a rule's C{express}."""

VERSION = 2
"""C{BTCP_ABI}."""

_MAPPED = bytes(10) + b"\xff\xff"
_NANO = 1e-9
_NOTHING = Splice(old=b"", new=b"")


def pack_address(address: bytes) -> bytes:
    """
    @param address: 4 or 16 octets.
    @return: 16 octets, IPv4 mapped.
    """
    return _MAPPED + address if len(address) == 4 else address


def pack_key(key: bytes) -> bytes:
    """
    @param key: see L{Segment.key<btcp.wire.segment.Segment.key>}.
    @return: C{struct btcp_key}.
    """
    if len(key) == 36:
        return key
    return _MAPPED + key[:4] + _MAPPED + key[4:8] + key[8:]


def unpack_key(packed: bytes) -> bytes:
    """
    The reverse of L{pack_key}.
    """
    if packed[:12] != _MAPPED:
        return packed
    return packed[12:16] + packed[28:]


def pack_end(address: bytes, port: int) -> bytes:
    """
    @return: C{struct btcp_end}.
    """
    return END.pack(pack_address(address), port.to_bytes(2, "big"), 0)


def pack_route(route: Route, lease: int = 0) -> bytes:
    """
    @param lease: the number of that which the route depends on; 0 if on none.
    @return: C{struct btcp_route}, its account as the route's is now.
    """
    splice = _NOTHING if route.rewriter is None else route.rewriter.splice
    rule = RULE.pack(
        pack_key(splice.new or route.key),
        splice.seq & 0xFFFFFFFF,
        splice.ack & 0xFFFFFFFF,
        splice.tsval & 0xFFFFFFFF,
        splice.tsecr & 0xFFFFFFFF,
        splice.shift,
        route.punt,
        route.local,
        route.rewriter is not None,
        route.awaits or 0,
        route.awaits is not None,
        route.follows,
        lease,
        0,
        0,
        0,
    )
    used, closing = int(route.used / _NANO), route.fin is not None
    account = ACCOUNT.pack(
        used,
        0,
        0,
        route.ack,
        route.end,
        route.fin or 0,
        route.progress,
        closing,
        closing,
        route.fin_acked,
    )
    return ROUTE.pack(rule, account)


def pack_promise(promise: Promise, secret: bytes) -> bytes:
    """
    @param secret: 16 octets.
    @return: C{struct btcp_promise}.
    """
    can = promise.capabilities
    return PROMISE.pack(
        int(promise.until / _NANO),
        secret,
        can.mtu - 40,
        can.mtu - 60,
        WINDOW,
        promise.window_scale,
        can.window_scaling,
        can.sack,
        can.timestamps,
    )


def pack_lease(until: float) -> bytes:
    """
    @param until: seconds, monotonic.
    """
    return LEASE.pack(int(max(until, 0.0) / _NANO))


def unpack_event(event: bytes) -> Reported:
    """
    @param event: C{struct btcp_event}.
    """
    key, what, client_fin, server_fin, octets = EVENT.unpack(event)
    return Reported(unpack_key(key), Report(what), client_fin, server_fin, octets)


def unpack_route(key: bytes, value: bytes) -> Route:
    """
    @param key: C{struct btcp_key}.
    @param value: C{struct btcp_route}.
    @return: a route that does the same, its account included; of its lease nothing is
        known but the number.
    """
    rule, _ = ROUTE.unpack(value)
    to, seq, ack, tsval, tsecr, shift, punt, local, rewrites, *others = RULE.unpack(rule)
    awaits, admitting, follows, *_ = others
    account, old = Account.unpack(value), unpack_key(key)
    rewriter = None
    if rewrites:
        splice = Splice(
            old=old, new=unpack_key(to), seq=seq, ack=ack, tsval=tsval, tsecr=tsecr, shift=shift
        )
        rewriter = Rewriter(splice)
    route = Route(
        old,
        rewriter,
        local=bool(local),
        punt=punt,
        ack=account.ack,
        end=account.end,
        now=account.used,
        follows=bool(follows),
        awaits=awaits if admitting else None,
    )
    route.fin, route.fin_acked = account.fin, account.fin_acked
    route.packets, route.octets, route.progress = account.packets, account.octets, account.progress
    return route


def is_express(route: bytes) -> bool:
    """
    @param route: C{struct btcp_route}.
    @return: whether it is of a connection that the core does not know.
    """
    return bool(route[EXPRESS_AT] & EXPRESS)


def reversed_packed(key: bytes) -> bytes:
    """
    @param key: C{struct btcp_key}.
    @return: that of the packets of the other direction.
    """
    return key[16:32] + key[:16] + key[34:] + key[32:34]


def pack_prefix(scope: int, path: bytes) -> bytes:
    """
    @param path: at most L{LONGEST_PATH} octets.
    @return: C{struct btcp_prefix}.
    """
    return PREFIX.pack(32 + 8 * len(path), scope, path)


def pack_turns(nodes: Sequence[int]) -> bytes:
    """
    @param nodes: numbers of destinations, at most L{MOST_TURNS}.
    @return: C{struct btcp_turns}.
    """
    return TURNS.pack(len(nodes), 0, bytes(nodes))


def pack_adoption(order: Handoff) -> bytes:
    """
    @return: C{struct btcp_adoption}.
    """
    scaling, timestamps = order.front_scale >= 0, order.front_tsval >= 0
    return ADOPTION.pack(
        order.tsval if timestamps else 0,
        order.front_tsval if timestamps else 0,
        order.mss,
        order.front_scale if scaling else 0,
        order.client_scale if scaling else 0,
        scaling,
        order.sack,
        timestamps,
    )


@frozen(slots=True)
class Account:
    """
    C{struct btcp_account}.

    @ivar used: seconds, monotonic.
    @ivar fin: C{None} if none passed.
    """

    used: float
    packets: int
    octets: int
    ack: int
    end: int
    progress: bool
    fin: int | None
    fin_acked: bool

    @classmethod
    def unpack(cls, route: bytes) -> Account:
        """
        @param route: C{struct btcp_route}.
        """
        values = ACCOUNT.unpack(ROUTE.unpack(route)[1])
        used, packets, octets, ack, end, fin, progress, _, fin_seen, fin_acked = values
        return cls(
            used * _NANO,
            packets,
            octets,
            ack,
            end,
            bool(progress),
            fin if fin_seen else None,
            bool(fin_acked & ACKED),
        )
