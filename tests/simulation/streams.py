# SPDX-License-Identifier: MIT
"""
The two streams of a connection, counted from 0, and the options that tell of them.
"""

from __future__ import annotations

from struct import Struct

from attrs import define, field

from btcp.wire.options import SACK, pack_timestamps, walk
from btcp.wire.segment import Segment

_PAIR = Struct("!II")
Range = tuple[int, int]


@define(slots=True)
class Outgoing:
    """
    What a program sends.  A FIN counts as one octet after the last.

    @ivar octets: all of them.
    @ivar closed: there will be no more.
    @ivar acked: how far the peer acknowledged.
    @ivar next: what to send next.
    @ivar highest: how far it was sent already.
    @ivar limit: how far the peer's window reaches.
    @ivar sacked: what the peer has beyond C{acked}.
    """

    octets: bytearray = field(factory=bytearray)
    closed: bool = False
    acked: int = 0
    next: int = 0
    highest: int = 0
    limit: int = 0
    sacked: list[Range] = field(factory=list)

    @property
    def end(self) -> int:
        """
        The position after everything, the FIN included.
        """
        return len(self.octets) + self.closed

    @property
    def in_flight(self) -> bool:
        """
        Something sent is not acknowledged.
        """
        return self.highest > self.acked

    @property
    def waiting(self) -> bool:
        """
        Something is not sent.
        """
        return self.next < self.end

    @property
    def finished(self) -> bool:
        """
        The FIN is acknowledged.
        """
        return self.closed and self.acked == self.end

    def piece(self, limit: int, size: int) -> tuple[int, bytes, bool] | None:
        """
        @return: the next position to send, the data there and whether a FIN goes
            with it; C{None} if nothing may be sent.
        """
        if self.highest > self.next:  # again, because something was lost
            for start, end in self.sacked:
                if start <= self.next < end:
                    self.next = end
        start, last = self.next, len(self.octets)
        if start >= self.end:
            return None
        end = max(min(start + size, last, limit), start)
        if start < last and end == start:
            return None
        fin = self.closed and end == last
        self.next = end + fin
        self.highest = max(self.highest, self.next)
        return start, bytes(self.octets[start:end]), fin

    def hole(self, size: int) -> tuple[int, bytes, bool]:
        """
        @return: as L{piece}, of what the peer waits for.
        """
        end = min(self.acked + size, len(self.octets), self.highest)
        fin = self.closed and end == len(self.octets) and self.highest == self.end
        return self.acked, bytes(self.octets[self.acked : end]), fin

    def acknowledge(self, acked: int) -> None:
        """
        The peer has everything before C{acked}.
        """
        self.acked = acked
        self.next = max(self.next, acked)
        self.sacked = [each for each in self.sacked if each[1] > acked]

    def go_back(self) -> None:
        """
        Take everything that is not acknowledged for lost.
        """
        self.next = self.acked
        self.sacked.clear()


@define(slots=True)
class Incoming:
    """
    What came from the peer.

    @ivar octets: in order, without a gap.
    @ivar closed: its FIN came, and everything before it.
    @ivar duplicate: what came again and is not reported yet (RFC 2883).
    """

    octets: bytearray = field(factory=bytearray)
    closed: bool = False
    duplicate: Range | None = None
    _early: list[tuple[int, bytearray]] = field(factory=list)
    _fin: int | None = None

    @property
    def next(self) -> int:
        """
        What is wanted next.
        """
        return len(self.octets) + self.closed

    def add(self, position: int, data: bytes, fin: bool) -> bool:
        """
        @return: whether the data was the next in order, and new.
        """
        have, end = len(self.octets), position + len(data)
        if fin:
            self._fin = end
        in_order = position <= have < end and not self._early
        if data and self._known(position, end):
            self.duplicate = (position, end)
        elif data:
            self._keep(position, bytearray(data))
        while self._early and self._early[0][0] <= len(self.octets):
            start, piece = self._early.pop(0)
            self.octets += piece[len(self.octets) - start :]
        self.closed = self._fin == len(self.octets)
        return in_order

    def _known(self, start: int, end: int) -> bool:
        known = any(at <= start and end <= at + len(piece) for at, piece in self._early)
        return known or end <= len(self.octets)

    def _keep(self, start: int, data: bytearray) -> None:
        """
        Early pieces are kept in order, those that touch as one.
        """
        apart = []
        for at, piece in self._early:
            if at + len(piece) < start or start + len(data) < at:
                apart.append((at, piece))
            elif at <= start:
                piece += data[at + len(piece) - start :]
                start, data = at, piece
            else:
                data += piece[start + len(data) - at :]
        self._early = sorted([*apart, (start, data)])

    def blocks(self, room: int) -> list[Range]:
        """
        @return: what a SACK option should say, at most C{room} ranges.
        """
        first = [self.duplicate] if self.duplicate is not None else []
        self.duplicate = None
        early = [(start, start + len(piece)) for start, piece in self._early]
        return (first + early)[:room]


def timestamps_option(tsval: int, tsecr: int, odd: bool) -> bytes:
    """
    @return: 12 octets.
    """
    if not odd:
        return pack_timestamps(tsval, tsecr)
    return b"\1\x08\n" + _PAIR.pack(tsval, tsecr) + b"\1"


def sack_option(edges: list[Range], odd: bool) -> bytes:
    """
    @return: a multiple of 4 octets; nothing if there are no edges.
    """
    if not edges:
        return b""
    option = bytes((SACK, 2 + 8 * len(edges))) + b"".join(_PAIR.pack(*each) for each in edges)
    return b"\1" + option + b"\1" if odd else b"\1\1" + option


def read_sack(segment: Segment) -> list[Range]:
    """
    @return: the edges in a segment's SACK options.
    """
    return [
        _PAIR.unpack_from(segment.buffer, at + 8 * index)
        for kind, at, length in walk(segment)
        if kind == SACK
        for index in range(length // 8)
    ]
