# SPDX-License-Identifier: MIT
"""
The rewriting rule of one direction of a flow, and its arithmetic.

The sequence numbers that the client sees (the front-end's) and those of the back-end's TCP differ
by a constant.  Each packet needs only additions modulo 2**32: to the sequence number in one
direction, to the acknowledgment number and I{every SACK edge} in the other, and likewise to the
timestamps.
"""

from __future__ import annotations

from struct import Struct

from attrs import frozen

from btcp.wire import checksum
from btcp.wire.options import locate
from btcp.wire.segment import IPV4_HEADER, Segment

MASK = 0xFFFFFFFF
_SEQ_ACK = Struct("!II")
_WORD = Struct("!I")
_HALF = Struct("!H")


@frozen(slots=True, kw_only=True)
class Splice:
    """
    A rewriting rule.

    @ivar old: the L{key<btcp.wire.segment.Segment.key>} of packets before rewriting.
    @ivar new: the key of packets after rewriting.
    @ivar seq: the difference that is added to the sequence number.
    @ivar ack: the difference that is added to the acknowledgment number and every SACK edge.
    @ivar tsval: the difference that is added to TSval.
    @ivar tsecr: the difference that is added to TSecr.
    @ivar shift: the number of bits by which the window field is shifted left (right if negative,
        rounding down); values that do not fit become 65535.
    """

    old: bytes
    new: bytes
    seq: int = 0
    ack: int = 0
    tsval: int = 0
    tsecr: int = 0
    shift: int = 0


class Rewriter:
    """
    An executor of a L{Splice}, which precomputes the change of the checksums.

    @ivar splice: the rule.
    @ivar sacked: whether a packet with SACK blocks was rewritten.
    """

    __slots__ = ("_addresses", "_options", "_ports", "sacked", "splice")

    def __init__(self, splice: Splice) -> None:
        self.splice = splice
        self.sacked = False
        old, new = splice.old, splice.new
        self._addresses = checksum.total(new[:-4]) - checksum.total(old[:-4])
        self._ports = checksum.total(new[-4:]) - checksum.total(old[-4:])
        self._options = bool(splice.ack or splice.tsval or splice.tsecr)

    def apply(self, segment: Segment) -> None:
        """
        Rewrite a packet in place.  Checksums are updated incrementally, so that a wrong one stays
        wrong.

        @raise Malformed: if the options are malformed; the packet is unchanged then.
        """
        splice, buffer, tcp = self.splice, segment.buffer, segment.tcp
        difference = 0
        if segment.data > tcp + 20 and self._options:
            difference = self._rewrite_options(segment)
        seq, ack = segment.seq, segment.ack
        segment.seq = new_seq = (seq + splice.seq) & MASK
        difference += new_seq - seq
        if segment.flags & 0x10:  # without the ACK flag the field has no meaning
            segment.ack = new_ack = (ack + splice.ack) & MASK
            difference += new_ack - ack
        _SEQ_ACK.pack_into(buffer, tcp + 4, segment.seq, segment.ack)
        if splice.shift:
            difference += self._rewrite_window(segment)
        self._rewrite_addresses(segment)
        if segment.partial:  # the field covers the pseudo-header alone, and is not inverted
            segment.check = (segment.check + self._addresses) % 0xFFFF
        else:
            segment.check = checksum.moved(
                segment.check, difference + self._addresses + self._ports
            )
        _HALF.pack_into(buffer, tcp + 16, segment.check)

    def _rewrite_addresses(self, segment: Segment) -> None:
        buffer, ip, tcp, new = segment.buffer, segment.ip, segment.tcp, self.splice.new
        if segment.version == 6:
            buffer[ip + 8 : ip + 44] = new
        else:
            (check,) = _HALF.unpack_from(buffer, ip + 10)
            _HALF.pack_into(buffer, ip + 10, checksum.moved(check, self._addresses))
            if tcp - ip == IPV4_HEADER:
                buffer[ip + 12 : ip + 24] = new
            else:
                buffer[ip + 12 : ip + 20] = new[:8]
                buffer[tcp : tcp + 4] = new[8:]
        segment.key = new

    def _rewrite_window(self, segment: Segment) -> int:
        shift, window = self.splice.shift, segment.window
        moved = window << shift if shift > 0 else window >> -shift
        segment.window = min(moved, 0xFFFF)
        _HALF.pack_into(segment.buffer, segment.tcp + 14, segment.window)
        return segment.window - window

    def _rewrite_options(self, segment: Segment) -> int:
        """
        Rewrite timestamps and SACK edges.

        @return: the change of the packet's one's complement sum.
        """
        splice, difference = self.splice, 0
        timestamps, sack, edges = locate(segment)
        if timestamps:
            difference += _add(segment, timestamps, splice.tsval)
            if segment.flags & 0x10:
                difference += _add(segment, timestamps + 4, splice.tsecr)
        if edges:
            self.sacked = True
        for edge in range(edges):
            difference += _add(segment, sack + 4 * edge, splice.ack)
        return difference


def _add(segment: Segment, at: int, count: int) -> int:
    """
    Add to a 32-bit field of the TCP header.

    @return: the change of the one's complement sum; a field at an odd offset straddles the 16-bit
        words of the sum and contributes 2**8 times its value.
    """
    if not count:
        return 0
    old: int = _WORD.unpack_from(segment.buffer, at)[0]
    new = (old + count) & MASK
    _WORD.pack_into(segment.buffer, at, new)
    return (new - old) << 8 if (at - segment.tcp) & 1 else new - old
