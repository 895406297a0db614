# SPDX-License-Identifier: MIT
"""
Frames as TAP devices and packet sockets exchange them: C{struct virtio_net_hdr}
(linux/virtio_net.h), an Ethernet header, an IP packet.
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
"""Octets: the largest super-packet, and a header that its IP length leaves out."""


def packet_start(buffer: bytearray, size: int) -> int:
    """
    @param size: octets of the frame, which starts at 0.
    @return: where the IP packet starts.
    @raise Malformed: if there is none.
    """
    start = HEADERS
    if size > start + _VLAN_TAG and buffer[start - 2 : start] == _VLAN:
        start += _VLAN_TAG
    if size <= start or bytes(buffer[start - 2 : start]) not in _ETHERTYPES:
        raise Malformed("not-ip")
    return start


def parse(buffer: bytearray, size: int) -> Segment:
    """
    @param size: octets of the frame, which starts at 0.
    @return: the segment in the frame.
    @raise Malformed: if there is none.
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
    @return: the frame's source, 6 octets.
    """
    return bytes(buffer[VNET_HEADER + 6 : VNET_HEADER + 12])


def address_to(buffer: bytearray, hardware_address: bytes) -> None:
    """
    Make this hardware address (6 octets) the frame's destination.
    """
    buffer[VNET_HEADER : VNET_HEADER + 6] = hardware_address


OURS = b"\x02btcp\0"
"""The locally administered hardware address that L{headers} names as the source."""


BEGINNING = b"\x02btcp\1"
"""What a capture that vouches for connections makes the source of a frame that has the first
octets of one; see C{BTCP_FIRST} in C{datapath/bpf/abi.h}."""

_UNMEASURED = 0xFFFF


def rtt(buffer: bytearray) -> int:
    """
    @param buffer: has a frame from L{BEGINNING}.
    @return: the round-trip time that the capture measured, milliseconds, or
        L{UNMEASURED<btcp.handoff.messages.UNMEASURED>}.
    """
    found = buffer[VNET_HEADER + 4] << 8 | buffer[VNET_HEADER + 5]
    return UNMEASURED if found == _UNMEASURED else found


CONTINUING = b"\x02btcp\2"
"""The same, of a frame that has others."""


def headers(version: int, hardware_address: bytes) -> bytes:
    """
    @return: what stands before an IP packet with complete checksums that goes to
        this hardware address, from a locally administered one.
    """
    ethertype = b"\x08\x00" if version == 4 else b"\x86\xdd"
    return bytes(VNET_HEADER) + hardware_address + OURS + ethertype
