# SPDX-License-Identifier: MIT
"""
ICMP "packet too big" (RFC 792 type 3 code 4 with RFC 1191; RFC 4443 type 2).
"""

from __future__ import annotations

from btcp.wire.checksum import ICMPV6, TCP, field, pseudo, total
from btcp.wire.segment import IPV4_HEADER, IPV6_HEADER, Malformed, reversed_key

_ICMP = 1
_ICMP_HEADER = 8
_QUOTED = 8
"""Octets of the TCP header that every router quotes (RFC 792): ports and sequence number."""


def _header(first: int) -> int:
    """
    Decode the IPv4 header length.

    @param first: the first octet of an IPv4 header.
    @return: the length of the header in octets.
    @raise Malformed: if the length is less than the minimum of 20.
    """
    size = (first & 15) * 4
    if size < IPV4_HEADER:
        raise Malformed("bad-ip-header")
    return size


class PacketTooBig:
    """
    An ICMP error that reports a TCP segment as larger than the path MTU.

    @ivar packet: the IP packet that carries the error.
    @ivar client_key: the L{key<btcp.wire.segment.Segment.key>} of packets from the client,
        which is the destination of the quoted segment.
    """

    __slots__ = ("_icmp", "_inner", "_tcp", "client_key", "packet")

    def __init__(self, packet: bytes) -> None:
        """
        Parse an ICMP or ICMPv6 error.

        @param packet: an IP packet.
        @raise Malformed: if the packet is anything but a "packet too big" error that quotes a
            TCP header of the same IP version.
        """
        self.packet = packet
        version = packet[0] >> 4 if packet else 0
        if version == 4 and len(packet) >= IPV4_HEADER:
            self._icmp = _header(packet[0])
            wanted = (_ICMP, b"\x03\x04", packet[9])
        elif version == 6 and len(packet) >= IPV6_HEADER:
            self._icmp = IPV6_HEADER
            wanted = (ICMPV6, b"\x02\x00", packet[6])
        else:
            raise Malformed("truncated")
        if wanted[0] != wanted[2] or packet[self._icmp : self._icmp + 2] != wanted[1]:
            raise Malformed("not-too-big")
        self._inner = inner = self._icmp + _ICMP_HEADER
        if len(packet) < inner + IPV4_HEADER or packet[inner] >> 4 != version:
            raise Malformed("truncated")
        self._tcp = inner + (_header(packet[inner]) if version == 4 else IPV6_HEADER)
        if len(packet) < self._tcp + _QUOTED:
            raise Malformed("truncated")
        if packet[inner + (9 if version == 4 else 6)] != TCP:
            raise Malformed("not-tcp")
        start, size = (12, 8) if version == 4 else (8, 32)
        addresses = packet[inner + start : inner + start + size]
        self.client_key = reversed_key(addresses + packet[self._tcp : self._tcp + 4])

    def translated(self, key: bytes, difference: int) -> bytes:
        """
        Translate the error for the back-end that sent the segment.

        @param key: the flow key of packets from the client to the back-end.
        @param difference: added to the quoted sequence number, modulo 2**32.
        @return: an IP packet to the back-end that quotes the segment with the addresses,
            ports and sequence number that the back-end used; checksums are complete.
        """
        packet, inner, tcp = bytearray(self.packet), self._inner, self._tcp
        old, new = reversed_key(self.client_key), reversed_key(key)
        half = (len(key) - 4) // 2
        seq = int.from_bytes(packet[tcp + 4 : tcp + 8], "big") + difference & 0xFFFFFFFF
        packet[tcp : tcp + 8] = new[-4:] + seq.to_bytes(4, "big")
        start = 12 if half == 4 else 8
        packet[inner + start : inner + start + half] = new[:half]
        destination = start + half
        packet[destination : destination + half] = new[:half]
        if half == 4:
            packet[10:12] = b"\0\0"
            packet[10:12] = field(total(packet[: self._icmp])).to_bytes(2, "big")
            check = int.from_bytes(packet[inner + 10 : inner + 12], "big")
            moved = (0xFFFF - check) + total(new[:4]) - total(old[:4])
            packet[inner + 10 : inner + 12] = field(moved).to_bytes(2, "big")
        self._complete_checksum(packet, half)
        return bytes(packet)

    def _complete_checksum(self, packet: bytearray, half: int) -> None:
        at = self._icmp + 2
        packet[at : at + 2] = b"\0\0"
        summed = total(packet[self._icmp :])
        if half == 16:
            size = len(packet) - self._icmp
            summed += pseudo(bytes(packet[8:24]), bytes(packet[24:40]), size, ICMPV6)
        packet[at : at + 2] = field(summed).to_bytes(2, "big")
