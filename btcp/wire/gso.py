# SPDX-License-Identifier: MIT
"""
Segmentation of GSO super-packets in user space, for devices that cannot do it.
"""

from __future__ import annotations

from collections.abc import Iterator

from btcp.wire.checksum import field, pseudo, total
from btcp.wire.segment import FIN, IPV6_HEADER, PSH, Segment


def split(segment: Segment) -> Iterator[bytearray | memoryview]:
    """
    Split a super-packet into the segments that it stands for.

    @param segment: an ordinary packet or a super-packet; its checksum may be partial.
    @return: IP packets with complete checksums and at most C{gso_size} octets of
        payload each.  An ordinary packet is yielded as it is, after its checksum has been
        completed in place.
    """
    size = segment.gso_size
    if not size or segment.size <= size:
        if segment.partial:
            segment.complete_checksum()
        yield memoryview(segment.buffer)[segment.ip : segment.end]
        return
    header = bytes(segment.buffer[segment.ip : segment.data])
    for number, at in enumerate(range(segment.data, segment.end, size)):
        last = at + size >= segment.end
        yield _piece(segment, header, number, at, min(at + size, segment.end), last)


def _piece(
    segment: Segment, header: bytes, number: int, start: int, end: int, last: bool
) -> bytearray:
    packet = bytearray(header)
    packet += segment.buffer[start:end]
    tcp = segment.tcp - segment.ip
    seq = (segment.seq + start - segment.data) & 0xFFFFFFFF
    packet[tcp + 4 : tcp + 8] = seq.to_bytes(4, "big")
    if not last:  # FIN and PSH apply to the last octet only
        packet[tcp + 13] &= ~(FIN | PSH)
    packet[tcp + 16 : tcp + 18] = b"\0\0"
    length = len(packet) - tcp
    summed = pseudo(segment.source, segment.destination, length) + total(packet[tcp:])
    packet[tcp + 16 : tcp + 18] = field(summed).to_bytes(2, "big")
    if segment.version == 6:
        packet[4:6] = (len(packet) - IPV6_HEADER).to_bytes(2, "big")
    else:
        packet[2:4] = len(packet).to_bytes(2, "big")
        identification = int.from_bytes(packet[4:6], "big") + number
        packet[4:6] = (identification & 0xFFFF).to_bytes(2, "big")
        packet[10:12] = b"\0\0"
        packet[10:12] = field(total(packet[:tcp])).to_bytes(2, "big")
    return packet
