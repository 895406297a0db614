# SPDX-License-Identifier: MIT
"""
Modular arithmetic on TCP sequence numbers (RFC 9293, section 3.4) and timestamps (RFC 7323).

Numbers are of type C{int}, in C{range(2**32)}.
"""

from __future__ import annotations

MODULUS = 1 << 32
MASK = MODULUS - 1
_HALF = 1 << 31


def add(number: int, count: int) -> int:
    """
    Add to a sequence number.

    @param count: may be negative.
    @return: C{number + count}, modulo 2**32.
    """
    return (number + count) & MASK


def distance(start: int, end: int) -> int:
    """
    Subtract sequence numbers.

    @return: C{end - start}, in C{range(-2**31, 2**31)}; negative if C{end} precedes
        C{start}.
    """
    return ((end - start + _HALF) & MASK) - _HALF


def before(left: int, right: int) -> bool:
    """
    Compare sequence numbers: C{left < right}.
    """
    return ((left - right) & MASK) >= _HALF


def at_or_before(left: int, right: int) -> bool:
    """
    Compare sequence numbers: C{left <= right}.
    """
    return left == right or ((left - right) & MASK) >= _HALF


def latest(left: int, right: int) -> int:
    """
    Select the later of two sequence numbers.
    """
    return right if before(left, right) else left


def in_window(number: int, start: int, size: int) -> bool:
    """
    Check whether a sequence number lies in a window.

    @param start: first number of the window.
    @param size: length of the window, 0 for one that contains nothing.
    """
    return ((number - start) & MASK) < size
