# SPDX-License-Identifier: MIT
"""
Format of frames on TAP devices and packet sockets: C{struct virtio_net_hdr} (linux/virtio_net.h),
an Ethernet header, and an IP packet.
"""

from __future__ import annotations

from struct import Struct

from btcp.handoff.messages import UNMEASURED
from btcp.wire.segment import Malformed, Segment

_VNET = Struct("=BBHHHH")
VNET_HEADER = _VNET.size
ETHERNET_HEADER = 14
_VLAN_TAG = 4
HEADERS = VNET_HEADER + ETHERNET_HEADER

_NEEDS_CSUM = 1
_DATA_VALID = 2

_ETHERTYPES = {b"\x08\x00": 4, b"\x86\xdd": 6}
_VLAN = b"\x81\x00"

LARGEST = HEADERS + _VLAN_TAG + 65_536 + 64
"""Size of the largest frame in octets: a super-packet, plus headers that its IP length excludes."""


def packet_start(buffer: bytearray, size: int) -> int:
    """
    Find the IP packet in a frame.

    @param buffer: has the frame at offset 0.
    @param size: octets of the frame.
    @return: the offset of the IP packet.
    @raise Malformed: if the frame has no IP packet.
    """
    start = HEADERS
    if size > start + _VLAN_TAG and buffer[start - 2 : start] == _VLAN:
        start += _VLAN_TAG
    if size <= start or bytes(buffer[start - 2 : start]) not in _ETHERTYPES:
        raise Malformed("not-ip")
    return start


def parse(buffer: bytearray, size: int) -> Segment:
    """
    Parse the TCP segment in a frame.

    @param buffer: has the frame at offset 0.
    @param size: octets of the frame.
    @return: a view of the segment in C{buffer}.
    @raise Malformed: if the frame has no valid TCP segment.
    """
    start = packet_start(buffer, size)
    flags = buffer[0]
    gso_size = buffer[4] | buffer[5] << 8 if buffer[1] else 0
    return Segment(
        buffer,
        start,
        size,
        frame=0,
        partial=bool(flags & _NEEDS_CSUM),
        trusted=bool(flags & _DATA_VALID),
        gso_size=gso_size,
    )


def source(buffer: bytearray) -> bytes:
    """
    Return the source hardware address of a frame, 6 octets.
    """
    return bytes(buffer[VNET_HEADER + 6 : VNET_HEADER + 12])


def address_to(buffer: bytearray, hardware_address: bytes) -> None:
    """
    Set the destination hardware address (6 octets) of a frame.
    """
    buffer[VNET_HEADER : VNET_HEADER + 6] = hardware_address


OURS = b"\x02btcp\0"
"""The source address of frames that the daemon writes: a locally administered address."""


BEGINNING = b"\x02btcp\1"
"""The source address by which the tc programs mark a frame with the first octets of a connection
whose handshake they performed; see C{BTCP_FIRST} in C{datapath/bpf/abi.h}."""

_UNMEASURED = 0xFFFF


def rtt(buffer: bytearray) -> int:
    """
    Read the round-trip time of the handshake that the tc programs measured.

    @param buffer: has a frame whose source is L{BEGINNING}.
    @return: milliseconds, or L{UNMEASURED<btcp.handoff.messages.UNMEASURED>}.
    """
    found = buffer[VNET_HEADER + 4] << 8 | buffer[VNET_HEADER + 5]
    return UNMEASURED if found == _UNMEASURED else found


CONTINUING = b"\x02btcp\2"
"""The source address of a frame with other octets of such a connection."""


def headers(version: int, hardware_address: bytes) -> bytes:
    """
    Compose the headers that precede an IP packet with complete checksums.

    @param version: the IP version, 4 or 6.
    @param hardware_address: the destination, 6 octets; the source is L{OURS}.
    """
    ethertype = b"\x08\x00" if version == 4 else b"\x86\xdd"
    return bytes(VNET_HEADER) + hardware_address + OURS + ethertype
