# SPDX-License-Identifier: MIT
"""
TCP options: iterator, parser and serialiser (RFC 9293 3.2, RFC 7323, RFC 2018).
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct

from attrs import frozen

from btcp.wire.segment import TCP_HEADER, Malformed, Segment

END = 0
NO_OPERATION = 1
MSS = 2
WINDOW_SCALE = 3
SACK_PERMITTED = 4
SACK = 5
TIMESTAMPS = 8

MAX_WINDOW_SCALE = 14
"""A larger shift count is treated as 14 (RFC 7323, 2.3)."""

_TIMESTAMPS = Struct("!II")
_TIMESTAMPS_ALONE = b"\1\1\x08\n"
"""First word of the options of a segment whose only option is timestamps, in the layout
that stacks use (RFC 7323, appendix A)."""


def walk(segment: Segment) -> Iterator[tuple[int, int, int]]:
    """
    Iterate over a segment's options.

    @return: for each option but no-operations: its kind, the offset of its value in the
        segment's buffer, and the length of the value in octets.
    @raise Malformed: if an option's length is less than 2 or exceeds the header.
    """
    buffer, at, end = segment.buffer, segment.tcp + TCP_HEADER, segment.data
    while at < end:
        kind = buffer[at]
        if kind == END:
            return
        if kind == NO_OPERATION:
            at += 1
            continue
        length = buffer[at + 1] if at + 1 < end else 0
        if length < 2 or at + length > end:
            raise Malformed("bad-tcp-options")
        yield kind, at + 2, length - 2
        at += length


def locate(segment: Segment) -> tuple[int, int, int]:
    """
    Find the options that a splice rewrites.

    @return: the offset of TSval in the segment's buffer (0 without timestamps), the offset of
        the first SACK edge, and the number of SACK edges.
    @raise Malformed: see L{walk}.
    """
    tcp = segment.tcp
    if segment.data == tcp + 32 and segment.buffer[tcp + 20 : tcp + 24] == _TIMESTAMPS_ALONE:
        return tcp + 24, 0, 0
    timestamps = sack = edges = 0
    for kind, at, length in walk(segment):
        if kind == TIMESTAMPS and length == 8:
            timestamps = at
        elif kind == SACK and not length % 8:
            sack, edges = at, length // 4
    return timestamps, sack, edges


def timestamps(segment: Segment) -> tuple[int, int] | None:
    """
    Read the timestamps option.

    @return: TSval and TSecr, or C{None} if the segment has none.
    @raise Malformed: see L{walk}.
    """
    at = locate(segment)[0]
    if not at:
        return None
    tsval, tsecr = _TIMESTAMPS.unpack_from(segment.buffer, at)
    return tsval, tsecr


@frozen(slots=True)
class SynOptions:
    """
    The options of a SYN or SYN/ACK.

    @ivar mss: maximum segment size in octets, 0 if absent.
    @ivar scale: the window scale's shift count, 0-14, C{-1} if absent.
    @ivar sack: whether SACK-permitted is present.
    @ivar tsval: the timestamp value, C{-1} without timestamps.
    @ivar tsecr: the timestamp echo reply, 0 without timestamps.
    """

    mss: int = 0
    scale: int = -1
    sack: bool = False
    tsval: int = -1
    tsecr: int = 0

    @classmethod
    def read(cls, segment: Segment) -> SynOptions:
        """
        Parse a segment's options.  Unknown kinds and wrong lengths are ignored.

        @param segment: a SYN or SYN/ACK.
        @raise Malformed: see L{walk}.
        """
        mss, scale, sack, tsval, tsecr = 0, -1, False, -1, 0
        buffer = segment.buffer
        for kind, at, length in walk(segment):
            if kind == MSS and length == 2:
                mss = buffer[at] << 8 | buffer[at + 1]
            elif kind == WINDOW_SCALE and length == 1:
                scale = min(buffer[at], MAX_WINDOW_SCALE)
            elif kind == SACK_PERMITTED and length == 0:
                sack = True
            elif kind == TIMESTAMPS and length == 8:
                tsval, tsecr = _TIMESTAMPS.unpack_from(buffer, at)
        return cls(mss, scale, sack, tsval, tsecr)

    def pack(self) -> bytes:
        """
        Serialise the options, padded with no-operations.

        @return: a multiple of 4 octets.
        """
        parts = []
        if self.mss:
            parts.append(b"\x02\x04" + self.mss.to_bytes(2, "big"))
        if self.sack:
            parts.append(b"\x04\x02" if self.tsval >= 0 else b"\1\1\x04\x02")
        if self.tsval >= 0:
            lead = b"" if self.sack else b"\1\1"
            parts.append(lead + b"\x08\n" + _TIMESTAMPS.pack(self.tsval, self.tsecr))
        if self.scale >= 0:
            parts.append(b"\1\x03\x03" + bytes((self.scale,)))
        return b"".join(parts)


def pack_timestamps(tsval: int, tsecr: int) -> bytes:
    """
    Serialise the options of a segment that carries timestamps only.

    @return: 12 octets.
    """
    return _TIMESTAMPS_ALONE + _TIMESTAMPS.pack(tsval, tsecr)
