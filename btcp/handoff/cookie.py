# SPDX-License-Identifier: MIT
"""
SYN cookies of the datapath (RFC 4987, 3.6).

The datapath answers a SYN with an initial sequence number that encodes the negotiated options, and
keeps no state until the first octets of the request arrive.  C{datapath/bpf/cookie.h} defines the
layout and the hash that authenticates it.
"""

from __future__ import annotations

from attrs import frozen

from btcp.wire.options import SynOptions, timestamps
from btcp.wire.segment import Segment
from btcp.wire.seqnum import add

SIZES = (536, 1220, 1360, 1400, 1440, 1452, 1460, 8940)
"""The maximum segment sizes that a cookie can encode, in octets: the minima of IPv4 and IPv6, those
of Ethernet with and without PPPoE and tunnels, and that of jumbo frames."""

_NO_SCALE = 15


@frozen(slots=True)
class Established:
    """
    The parameters of a connection, decoded from its first segment with data.

    @ivar irs: the client's initial sequence number.
    @ivar iss: the front-end's initial sequence number, which is the cookie.
    @ivar offered: the negotiated options of the client's SYN; the MSS is rounded down to one of
        L{SIZES}.
    @ivar window: the client's window in octets, as its SYN would have had it.
    @ivar front_tsval: the TSval of the SYN/ACK, C{-1} without timestamps.
    """

    irs: int
    iss: int
    offered: SynOptions
    window: int
    front_tsval: int

    @classmethod
    def read(cls, segment: Segment) -> Established:
        """
        Decode a connection's first segment with data.

        @param segment: the segment; the datapath has verified its acknowledgment number.
        @raise Malformed: if its options are malformed.
        """
        iss = add(segment.ack, -1)
        scale = iss >> 24 & 15
        stamps = timestamps(segment)
        tsval, tsecr = (-1, -1) if stamps is None else stamps
        offered = SynOptions(
            mss=SIZES[iss >> 28 & 7],
            scale=-1 if scale == _NO_SCALE else scale,
            sack=bool(iss >> 23 & 1),
            tsval=tsval,
        )
        window = min(segment.window << max(offered.scale, 0), 0xFFFF)
        return cls(add(segment.seq, -1), iss, offered, window, tsecr)
