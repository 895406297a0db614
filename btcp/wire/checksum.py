# SPDX-License-Identifier: MIT
"""
The Internet checksum (RFC 1071) and its incremental update (RFC 1624).

Everything rests on one fact: a one's complement sum of 16-bit words is
arithmetic modulo 65535, and 2**16 = 1 (mod 65535).  So the sum of any buffer,
read as one big number, is that number modulo 65535, and a 32-bit field counts
as its value does.
"""

from __future__ import annotations

from struct import Struct

Octets = bytes | bytearray | memoryview

_PSEUDO_TAIL = Struct("!II")
TCP = 6
ICMPV6 = 58

# A sum that is a multiple of 65535 is written as 0xFFFF, never as 0, because
# folding carries cannot turn a sum that is not zero into zero (RFC 1624, 3).
_MINUS_ZERO = 0xFFFF


def total(data: Octets) -> int:
    """
    @param data: any octets; an odd one at the end counts as if a zero followed.
    @return: the one's complement sum, modulo 65535.
    """
    value = int.from_bytes(data, "big")
    if len(data) & 1:
        value <<= 8
    return value % 0xFFFF


def field(value: int) -> int:
    """
    @param value: a sum, modulo 65535 or not, negative or not.
    @return: the checksum field that makes the whole add up.
    """
    return 0xFFFF - (value % 0xFFFF or _MINUS_ZERO)


def moved(check: int, difference: int) -> int:
    """
    Update a checksum field for data that changed under it.

    @param check: the field as it stands.
    @param difference: new minus old of all the changed words, see L{total}.
    @return: the field for the changed data.
    """
    return 0xFFFF - ((0xFFFF - check + difference) % 0xFFFF or _MINUS_ZERO)


def pseudo(source: bytes, destination: bytes, length: int, protocol: int = TCP) -> int:
    """
    @param source: packed address.
    @param destination: packed address.
    @param length: octets of header and payload of the transport protocol.
    @return: the sum of the pseudo-header (RFC 9293, 3.1; RFC 8200, 8.1).
    """
    return total(source) + total(destination) + total(_PSEUDO_TAIL.pack(length, protocol))
