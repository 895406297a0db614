# SPDX-License-Identifier: MIT
"""
C{bpf/abi.h} as Python's L{struct} sees it; a test compares the layouts.
"""

from __future__ import annotations

from struct import Struct

from attrs import frozen

from btcp.handoff.messages import Handoff
from btcp.handoff.route import Route
from btcp.handoff.splice import Splice

KEY = Struct("=16s16s2s2s")
END = Struct("=16s2sH")
RULE = Struct("=36sIIIIbBBB")
ACCOUNT = Struct("=QQQIIII")
ROUTE = Struct(f"={RULE.size}s{ACCOUNT.size}s")
ADOPTION = Struct("=IIHBBBBBx")
AMENDMENT = Struct("=36sI")
SETTINGS = Struct("=I")
WORD = Struct("=I")
COUNTER = Struct("=Q")

COUNTERS = ("forwarded", "admitted", "sent", "punted", "guarded", "odd")

_MAPPED = bytes(10) + b"\xff\xff"
_NANO = 1e-9


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


def pack_end(address: bytes, port: int) -> bytes:
    """
    @return: C{struct btcp_end}.
    """
    return END.pack(pack_address(address), port.to_bytes(2, "big"), 0)


def pack_route(route: Route) -> bytes:
    """
    @return: C{struct btcp_route}, its account as the route's is now.
    """
    rule = RULE.pack(pack_key(route.key), 0, 0, 0, 0, 0, route.punt, route.local, 0)
    if route.rewriter is not None:
        rule = _pack_rule(route.rewriter.splice, route)
    used = int(route.used / _NANO)
    account = ACCOUNT.pack(used, 0, 0, route.ack, route.end, route.progress, 0)
    return ROUTE.pack(rule, account)


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


def _pack_rule(splice: Splice, route: Route) -> bytes:
    deltas = (splice.seq, splice.ack, splice.tsval, splice.tsecr)
    words = (each & 0xFFFFFFFF for each in deltas)
    return RULE.pack(pack_key(splice.new), *words, splice.shift, route.punt, route.local, 1)


@frozen(slots=True)
class Account:
    """
    C{struct btcp_account}.

    @ivar used: seconds, monotonic.
    """

    used: float
    packets: int
    octets: int
    ack: int
    end: int
    progress: bool

    @classmethod
    def unpack(cls, route: bytes) -> Account:
        """
        @param route: C{struct btcp_route}.
        """
        used, packets, octets, ack, end, progress, _ = ACCOUNT.unpack(ROUTE.unpack(route)[1])
        return cls(used * _NANO, packets, octets, ack, end, bool(progress))
