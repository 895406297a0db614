# SPDX-License-Identifier: MIT
"""
The Internet checksum (RFC 1071) and its incremental update (RFC 1624).

The one's complement sum of 16-bit words is arithmetic modulo 65535, and 2**16 = 1
(mod 65535).  The sum of a buffer is therefore the buffer, read as one big-endian
integer, modulo 65535; a 32-bit field contributes its value.
"""

from __future__ import annotations

from struct import Struct

Octets = bytes | bytearray | memoryview

_PSEUDO_TAIL = Struct("!II")
TCP = 6
ICMPV6 = 58

# A sum that is a multiple of 65535 is represented as 0xFFFF, never as 0: folding the carries
# of a sum other than zero does not yield zero (RFC 1624, 3).
_MINUS_ZERO = 0xFFFF


def total(data: Octets) -> int:
    """
    Sum a buffer's 16-bit words.

    @param data: any number of octets; an odd one is padded with a zero octet.
    @return: the one's complement sum, modulo 65535.
    """
    value = int.from_bytes(data, "big")
    if len(data) & 1:
        value <<= 8
    return value % 0xFFFF


def field(value: int) -> int:
    """
    Convert a sum to the checksum field that a header carries.

    @param value: the sum of all other words; it may be negative or exceed 65535.
    @return: the one's complement of the sum, 0-65535.
    """
    return 0xFFFF - (value % 0xFFFF or _MINUS_ZERO)


def moved(check: int, difference: int) -> int:
    """
    Update a checksum field incrementally (RFC 1624).

    @param check: the checksum field before the change.
    @param difference: L{total} of the new words minus L{total} of the words they replace.
    @return: the checksum field after the change.
    """
    return 0xFFFF - ((0xFFFF - check + difference) % 0xFFFF or _MINUS_ZERO)


def pseudo(source: bytes, destination: bytes, length: int, protocol: int = TCP) -> int:
    """
    Sum the pseudo-header of a transport checksum (RFC 9293, 3.1; RFC 8200, 8.1).

    @param source: packed address, 4 or 16 octets.
    @param destination: packed address, 4 or 16 octets.
    @param length: octets of header and payload of the transport protocol.
    @param protocol: IP protocol number.
    @return: the one's complement sum, not reduced.
    """
    return total(source) + total(destination) + total(_PSEUDO_TAIL.pack(length, protocol))
