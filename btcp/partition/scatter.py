# SPDX-License-Identifier: MIT
"""
Numbers that look random and are the same on every host.
"""

from __future__ import annotations

from hashlib import blake2b

BITS = 64
MASK = (1 << BITS) - 1

# The constants of SplitMix64 (Steele, Lea, Flood 2014): the increment that visits every
# number once, and the two of its finalizer.
_STEP = 0x9E3779B97F4A7C15
_FIRST = 0xBF58476D1CE4E5B9
_SECOND = 0x94D049BB133111EB


def digest(text: str) -> int:
    """
    @return: 64 bits.  Equal on all hosts and in all releases, or front-ends would
        disagree on where content belongs.
    """
    octets = text.encode("utf-8", "surrogateescape")
    return int.from_bytes(blake2b(octets, digest_size=BITS // 8).digest(), "big")


def scatter(number: int) -> int:
    """
    @param number: 64 bits.
    @return: 64 bits, every one of which depends on all of C{number}.
    """
    number = (number ^ number >> 30) * _FIRST & MASK
    number = (number ^ number >> 27) * _SECOND & MASK
    return number ^ number >> 31


class Sequence:
    """
    One pseudo-random number after the other.
    """

    def __init__(self, seed: str) -> None:
        self._state = digest(seed)

    def below(self, limit: float) -> float:
        """
        @return: at least 0 and less than C{limit}, which is more than 0.
        """
        self._state = self._state + _STEP & MASK
        # 53 bits are a float's; with 64 the quotient could be rounded up to 1.
        return (scatter(self._state) >> 11) / (1 << 53) * limit
