# SPDX-License-Identifier: MIT
"""
Composition of complete TCP/IP packets from their header fields.
"""

from __future__ import annotations

from struct import Struct

from btcp.wire.checksum import TCP, field, pseudo, total
from btcp.wire.segment import IPV4_HEADER, IPV6_HEADER, TCP_HEADER, Segment

_IPV4 = Struct("!BBHHHBBH")
_IPV6 = Struct("!IHBB")
_TCP = Struct("!IIBBHHH")

_TTL = 64
_DONT_FRAGMENT = 0x4000


def compose(
    key: bytes,
    seq: int,
    ack: int,
    flags: int,
    window: int,
    options: bytes = b"",
    payload: bytes = b"",
) -> Segment:
    """
    Compose a TCP segment in an IP packet.

    @param key: addresses and ports in the layout of L{Segment.key}; its length selects the IP
        version.
    @param window: the unscaled window field, 0-65535.
    @param options: padded TCP options: a multiple of 4 octets, at most 40.
    @return: a segment with complete checksums, in a buffer of its own.
    """
    half = (len(key) - 4) // 2
    source, destination, ports = key[:half], key[half:-4], key[-4:]
    offset = (TCP_HEADER + len(options)) << 2
    body = ports + _TCP.pack(seq, ack, offset, flags, window, 0, 0) + options + payload
    check = field(pseudo(source, destination, len(body)) + total(body))
    if half == 4:
        header = bytearray(
            _IPV4.pack(0x45, 0, IPV4_HEADER + len(body), 0, _DONT_FRAGMENT, _TTL, TCP, 0)
        )
        header += key[:8]
        header[10:12] = field(total(header)).to_bytes(2, "big")
    else:
        header = bytearray(_IPV6.pack(6 << 28, len(body), TCP, _TTL))
        header += key[:32]
    packet = header + body
    at = len(header) + 16
    packet[at : at + 2] = check.to_bytes(2, "big")
    return Segment(packet, 0, len(packet), trusted=True)


def header_size(version: int, options: int) -> int:
    """
    Compute the size of the headers that L{compose} writes.

    @param version: IP version, 4 or 6.
    @param options: octets of TCP options.
    @return: octets of IP and TCP header together.
    """
    return (IPV4_HEADER if version == 4 else IPV6_HEADER) + TCP_HEADER + options
