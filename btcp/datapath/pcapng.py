# SPDX-License-Identifier: MIT
"""
Packets as pcapng octets (draft-ietf-opsawg-pcapng); no I/O happens here.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct

LINKTYPE_ETHERNET = 1
"""Not LINKTYPE_RAW, though the headers are made up: libpcap takes two interfaces for two
different types if its own number for the type is not the file's."""

_DAEMON = bytes.fromhex("020000000001")
_OTHERS = bytes.fromhex("020000000002")
_TYPES = {4: b"\x08\x00", 6: b"\x86\xdd"}

INBOUND = 1
OUTBOUND = 2

_SECTION = 0x0A0D0D0A
_INTERFACE = 1
_PACKET = 6

_HEAD = Struct("<II")
_TAIL = Struct("<I")
_SECTION_BODY = Struct("<IHHq")
_INTERFACE_BODY = Struct("<HHI")
_PACKET_BODY = Struct("<IIIII")
_OPTION = Struct("<HH")

_COMMENT = 1
_IF_NAME = 2
_IF_DESCRIPTION = 3
_IF_RESOLUTION = 9
_PACKET_FLAGS = 2


def header(comment: str, interfaces: Sequence[tuple[str, str]]) -> bytes:
    """
    @param interfaces: name and description of each; packets name them by their number.
    @return: what a file begins with.
    """
    told = _option(_COMMENT, comment.encode()) + _option(0, b"")
    blocks = [_block(_SECTION, _SECTION_BODY.pack(0x1A2B3C4D, 1, 0, -1) + told)]
    for name, description in interfaces:
        options = _option(_IF_NAME, name.encode()) + _option(_IF_DESCRIPTION, description.encode())
        options += _option(_IF_RESOLUTION, b"\x09") + _option(0, b"")  # 10**-9 s
        blocks.append(_block(_INTERFACE, _INTERFACE_BODY.pack(LINKTYPE_ETHERNET, 0, 0) + options))
    return b"".join(blocks)


def packet(interface: int, nanoseconds: int, flags: int, octets: bytes) -> bytes:
    """
    @param nanoseconds: since 1970.
    @param flags: L{INBOUND} or L{OUTBOUND}.
    @param octets: the whole packet, of IP.
    """
    ends = _OTHERS + _DAEMON if flags == OUTBOUND else _DAEMON + _OTHERS
    octets = ends + _TYPES[octets[0] >> 4] + octets
    size = len(octets)
    times = nanoseconds >> 32, nanoseconds & 0xFFFFFFFF
    body = _PACKET_BODY.pack(interface, *times, size, size) + _padded(octets)
    options = _option(_PACKET_FLAGS, flags.to_bytes(4, "little")) + _option(0, b"")
    return _block(_PACKET, body + options)


def _block(kind: int, body: bytes) -> bytes:
    size = len(body) + 12
    return _HEAD.pack(kind, size) + body + _TAIL.pack(size)


def _option(code: int, value: bytes) -> bytes:
    return _OPTION.pack(code, len(value)) + _padded(value)


def _padded(octets: bytes) -> bytes:
    return octets + bytes(-len(octets) % 4)
