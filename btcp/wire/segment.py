# SPDX-License-Identifier: MIT
"""
A TCP segment in its IP packet, viewed in place over one mutable buffer.

Nothing is copied and nothing is re-encoded: the fields that every packet needs
are read once, everything else is read and written where it lies.
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
"""More-fragments flag and fragment offset; don't-fragment left out."""


class Malformed(Exception):
    """
    The octets are no TCP segment that we could handle.

    @ivar counter: the name of the counter that moves.
    """

    def __init__(self, counter: str) -> None:
        super().__init__(counter)
        self.counter = counter


class Segment:
    """
    One TCP segment, or one super-packet of segments that share a header.

    @ivar buffer: what holds the packet.
    @ivar frame: where the link-layer frame of the packet starts in C{buffer},
        or C{-1} if the packet has none.
    @ivar ip: where the IP header starts.
    @ivar tcp: where the TCP header starts.
    @ivar data: where the payload starts.
    @ivar end: where the packet ends (link-layer padding left out).
    @ivar version: 4 or 6.
    @ivar key: source and destination address and port as they stand in the
        packet, 12 octets (IPv4) or 36 (IPv6): the flow table's key.
    @ivar partial: the checksum field holds the pseudo-header's sum only; whoever
        transmits has to complete it (checksum offload).
    @ivar trusted: the checksum needs no verification.
    @ivar gso_size: payload octets per segment of a super-packet, 0 for a plain one.
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
        @param end: where the octets that were received end.
        @raise Malformed: if this is no complete, unfragmented TCP segment.
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
        The packed source address.
        """
        return self.key[:4] if self.version == 4 else self.key[:16]

    @property
    def destination(self) -> bytes:
        """
        The packed destination address.
        """
        return self.key[4:8] if self.version == 4 else self.key[16:32]

    @property
    def source_port(self) -> int:
        """
        0-65535.
        """
        return self.key[-4] << 8 | self.key[-3]

    @property
    def destination_port(self) -> int:
        """
        0-65535.
        """
        return self.key[-2] << 8 | self.key[-1]

    @property
    def payload(self) -> memoryview:
        """
        The data of the segment, in place.
        """
        return memoryview(self.buffer)[self.data : self.end]

    @property
    def size(self) -> int:
        """
        How many octets of data the segment carries.
        """
        return self.end - self.data

    @property
    def next(self) -> int:
        """
        The sequence number after this segment: data, and one each for SYN and FIN.
        """
        flags = self.flags
        return (self.seq + self.end - self.data + (flags & 1) + (flags >> 1 & 1)) & 0xFFFFFFFF

    def intact(self) -> bool:
        """
        @return: whether the TCP checksum is right, or need not be checked.
        """
        if self.trusted:
            return True
        length = self.end - self.tcp
        summed = pseudo(self.source, self.destination, length)
        return (summed + total(self.buffer[self.tcp : self.end])) % 0xFFFF == 0

    def complete_checksum(self) -> None:
        """
        Fill in a checksum that was left partial.
        """
        buffer, tcp = self.buffer, self.tcp
        buffer[tcp + 16 : tcp + 18] = b"\0\0"
        summed = pseudo(self.source, self.destination, self.end - tcp)
        self.check = field(summed + total(buffer[tcp : self.end]))
        buffer[tcp + 16 : tcp + 18] = self.check.to_bytes(2, "big")
        self.partial = False

    def copy(self) -> Segment:
        """
        @return: the same packet in a buffer of its own, without its frame.
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
    @return: the L{Segment.key} of packets from C{source} to C{destination}.
    """
    ports = (source_port << 16 | destination_port).to_bytes(4, "big")
    return source + destination + ports


def reversed_key(key: bytes) -> bytes:
    """
    @return: the key of the packets that travel the other way.
    """
    half = (len(key) - 4) // 2
    return key[half:-4] + key[:half] + key[-2:] + key[-4:-2]
