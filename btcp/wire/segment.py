# SPDX-License-Identifier: MIT
"""
View of a TCP segment and its IP header over one mutable buffer.

The constructor reads the fields that every packet needs; all others are read and written in
place.  Neither headers nor payload are copied.
"""

from __future__ import annotations

from struct import Struct

from btcp.wire.checksum import TCP, field, pseudo, total

FIN = 0x01
SYN = 0x02
RST = 0x04
PSH = 0x08
ACK = 0x10
URG = 0x20

IPV4_HEADER = 20
IPV6_HEADER = 40
TCP_HEADER = 20

_IPV4 = Struct("!BBHHHBB")
_IPV6 = Struct("!IHBB")
_TCP = Struct("!HHIIBBHH")
_FRAGMENT = 0x3FFF
"""Mask of the more-fragments flag and the fragment offset."""


class Malformed(Exception):
    """
    A packet that is not a well-formed TCP segment of a supported kind.

    @ivar counter: the reason, which is the name of the counter that counts it.
    """

    def __init__(self, counter: str) -> None:
        super().__init__(counter)
        self.counter = counter


class Segment:
    """
    A TCP segment, or a super-packet (GSO/GRO) of several segments with one header.

    C{seq}, C{ack}, C{flags}, C{window} and C{check} are the header fields as the packet had
    them when it was parsed; the window is unscaled.

    @ivar buffer: the buffer that holds the packet.
    @ivar frame: offset of the packet's link-layer frame in C{buffer}, or C{-1} if it has none.
    @ivar ip: offset of the IP header.
    @ivar tcp: offset of the TCP header.
    @ivar data: offset of the payload.
    @ivar end: offset after the payload; link-layer padding is excluded.
    @ivar version: IP version, 4 or 6.
    @ivar key: the flow table's key: source address, destination address, source port and
        destination port, 12 octets (IPv4) or 36 (IPv6).
    @ivar partial: the checksum field holds only the sum of the pseudo-header (checksum
        offload) and has to be completed before transmission.
    @ivar trusted: the checksum needs no verification.
    @ivar gso_size: payload octets per segment of a super-packet; 0 for an ordinary packet.
    """

    __slots__ = (
        "ack",
        "buffer",
        "check",
        "data",
        "end",
        "flags",
        "frame",
        "gso_size",
        "ip",
        "key",
        "partial",
        "seq",
        "tcp",
        "trusted",
        "version",
        "window",
    )
    data: int
    end: int
    key: bytes
    seq: int
    ack: int
    flags: int
    window: int
    check: int

    def __init__(
        self,
        buffer: bytearray,
        ip: int,
        end: int,
        *,
        frame: int = -1,
        partial: bool = False,
        trusted: bool = False,
        gso_size: int = 0,
    ) -> None:
        """
        Parse the headers of a packet.

        @param ip: offset of the IP header in C{buffer}.
        @param end: offset after the last octet received.
        @param frame: see the class.
        @raise Malformed: if the packet is not a complete, unfragmented TCP segment, or is IPv6
            with extension headers.
        """
        self.buffer = buffer
        self.ip = ip
        self.frame = frame
        self.partial = partial
        self.trusted = partial or trusted
        self.gso_size = gso_size
        if end - ip < IPV4_HEADER:
            raise Malformed("truncated")
        self.version = version = buffer[ip] >> 4
        if version == 4:
            first, _, length, _, fragment, _, protocol = _IPV4.unpack_from(buffer, ip)
            self.tcp = tcp = ip + (first & 15) * 4
            if fragment & _FRAGMENT:
                raise Malformed("fragment")
            if tcp - ip < IPV4_HEADER:
                raise Malformed("bad-ip-header")
        elif version == 6:
            if end - ip < IPV6_HEADER:
                raise Malformed("truncated")
            _, length, protocol, _ = _IPV6.unpack_from(buffer, ip)
            self.tcp = tcp = ip + IPV6_HEADER
            length += IPV6_HEADER
        else:
            raise Malformed("bad-ip-header")
        if protocol != TCP:
            raise Malformed("not-tcp")
        if ip + length > end or tcp + TCP_HEADER > ip + length:
            raise Malformed("truncated")
        self.end = end = ip + length
        _, _, self.seq, self.ack, offset, self.flags, self.window, self.check = _TCP.unpack_from(
            buffer, tcp
        )
        self.data = tcp + (offset >> 4) * 4
        if not tcp + TCP_HEADER <= self.data <= end:
            raise Malformed("bad-tcp-header")
        if version == 6:
            self.key = bytes(buffer[ip + 8 : ip + 44])
        elif tcp - ip == IPV4_HEADER:
            self.key = bytes(buffer[ip + 12 : ip + 24])
        else:  # IPv4 options lie between the addresses and the ports
            self.key = bytes(buffer[ip + 12 : ip + 20] + buffer[tcp : tcp + 4])

    @property
    def source(self) -> bytes:
        """
        The packed source address, 4 or 16 octets.
        """
        return self.key[:4] if self.version == 4 else self.key[:16]

    @property
    def destination(self) -> bytes:
        """
        The packed destination address, 4 or 16 octets.
        """
        return self.key[4:8] if self.version == 4 else self.key[16:32]

    @property
    def source_port(self) -> int:
        """
        The source port, 0-65535.
        """
        return self.key[-4] << 8 | self.key[-3]

    @property
    def destination_port(self) -> int:
        """
        The destination port, 0-65535.
        """
        return self.key[-2] << 8 | self.key[-1]

    @property
    def payload(self) -> memoryview:
        """
        A view of the segment's payload in the buffer.
        """
        return memoryview(self.buffer)[self.data : self.end]

    @property
    def size(self) -> int:
        """
        The length of the payload in octets.
        """
        return self.end - self.data

    @property
    def next(self) -> int:
        """
        The sequence number that follows this segment; SYN and FIN count as one octet each.
        """
        flags = self.flags
        return (self.seq + self.end - self.data + (flags & 1) + (flags >> 1 & 1)) & 0xFFFFFFFF

    def intact(self) -> bool:
        """
        Verify the TCP checksum.

        @return: C{True} if it is correct or the segment is L{trusted}.
        """
        if self.trusted:
            return True
        length = self.end - self.tcp
        summed = pseudo(self.source, self.destination, length)
        return (summed + total(self.buffer[self.tcp : self.end])) % 0xFFFF == 0

    def complete_checksum(self) -> None:
        """
        Compute the whole TCP checksum and write it to the header.
        """
        buffer, tcp = self.buffer, self.tcp
        buffer[tcp + 16 : tcp + 18] = b"\0\0"
        summed = pseudo(self.source, self.destination, self.end - tcp)
        self.check = field(summed + total(buffer[tcp : self.end]))
        buffer[tcp + 16 : tcp + 18] = self.check.to_bytes(2, "big")
        self.partial = False

    def copy(self) -> Segment:
        """
        Copy the packet without its link-layer frame.

        @return: the same packet in a buffer of its own.
        """
        return Segment(
            bytearray(self.buffer[self.ip : self.end]),
            0,
            self.end - self.ip,
            partial=self.partial,
            trusted=self.trusted,
            gso_size=self.gso_size,
        )


def flow_key(source: bytes, source_port: int, destination: bytes, destination_port: int) -> bytes:
    """
    Build a flow key from packed addresses of the same family and ports.

    @return: the L{Segment.key} of packets from C{source} to C{destination}.
    """
    ports = (source_port << 16 | destination_port).to_bytes(4, "big")
    return source + destination + ports


def reversed_key(key: bytes) -> bytes:
    """
    Swap the source and the destination of a flow key.

    @return: the key of packets in the opposite direction.
    """
    half = (len(key) - 4) // 2
    return key[half:-4] + key[:half] + key[-2:] + key[-4:-2]
