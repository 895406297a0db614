# SPDX-License-Identifier: MIT
"""
Arithmetic on TCP sequence numbers (RFC 9293, section 3.4): modulo 2**32.

The numbers are plain C{int} in C{range(2**32)}; the same arithmetic serves
timestamps (RFC 7323).
"""

from __future__ import annotations

MODULUS = 1 << 32
MASK = MODULUS - 1
_HALF = 1 << 31


def add(number: int, count: int) -> int:
    """
    @return: C{number} moved on by C{count} (which may be negative).
    """
    return (number + count) & MASK


def distance(start: int, end: int) -> int:
    """
    @return: how far C{end} lies beyond C{start}, in C{range(-2**31, 2**31)};
        negative when C{end} comes before C{start}.
    """
    return ((end - start + _HALF) & MASK) - _HALF


def before(left: int, right: int) -> bool:
    """
    @return: whether C{left} comes strictly before C{right}.
    """
    return ((left - right) & MASK) >= _HALF


def at_or_before(left: int, right: int) -> bool:
    """
    @return: whether C{left} comes before C{right} or equals it.
    """
    return left == right or ((left - right) & MASK) >= _HALF


def latest(left: int, right: int) -> int:
    """
    @return: whichever of the two comes later.
    """
    return right if before(left, right) else left


def in_window(number: int, start: int, size: int) -> bool:
    """
    @return: whether C{number} is one of the C{size} numbers from C{start} on.
    """
    return ((number - start) & MASK) < size
