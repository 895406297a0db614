# SPDX-License-Identifier: MIT
"""
Connections that a datapath established: it answered the SYN with an initial sequence
number that says what was agreed (RFC 4987, 3.6), so nobody remembered anything until the
first octets of a request came.  The layout, and the hash that proves it, are in
C{datapath/bpf/cookie.h}.
"""

from __future__ import annotations

from attrs import frozen

from btcp.wire.options import SynOptions, timestamps
from btcp.wire.segment import Segment
from btcp.wire.seqnum import add

SIZES = (536, 1220, 1360, 1400, 1440, 1452, 1460, 8940)
"""Octets: the maximum segment sizes that a cookie can name.  Of RFC 9293 and RFC 8200 the
smallest, of Ethernet with and without PPPoE and tunnels, of jumbo frames."""

_NO_SCALE = 15


@frozen(slots=True)
class Established:
    """
    A connection as its first octets show it.

    @ivar irs: the client's initial sequence number.
    @ivar iss: ours.
    @ivar offered: what the client's SYN offered, as far as it was agreed to; the MSS
        rounded down to one of L{SIZES}.
    @ivar window: as the client's SYN would have said it, in octets.
    @ivar front_tsval: the TSval of our SYN/ACK, C{-1} without timestamps.
    """

    irs: int
    iss: int
    offered: SynOptions
    window: int
    front_tsval: int

    @classmethod
    def read(cls, segment: Segment) -> Established:
        """
        @param segment: the first that has data; the datapath vouches for its numbers.
        @raise Malformed: if its options cannot be walked.
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
