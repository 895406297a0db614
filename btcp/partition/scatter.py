# SPDX-License-Identifier: MIT
"""
Hashes and pseudo-random numbers that are the same on every host and in every release.
"""

from __future__ import annotations

from hashlib import blake2b

BITS = 64
MASK = (1 << BITS) - 1

# The constants of SplitMix64 (Steele, Lea, Flood 2014): the increment, which has a period of
# 2**64, and the two multipliers of the finalizer.
_STEP = 0x9E3779B97F4A7C15
_FIRST = 0xBF58476D1CE4E5B9
_SECOND = 0x94D049BB133111EB


def digest(text: str) -> int:
    """
    Hash a text to 64 bits (BLAKE2b).

    The result must never change between releases: front-ends of different releases would
    disagree on where content belongs.
    """
    octets = text.encode("utf-8", "surrogateescape")
    return int.from_bytes(blake2b(octets, digest_size=BITS // 8).digest(), "big")


def scatter(number: int) -> int:
    """
    Mix a 64-bit number (the SplitMix64 finalizer): each output bit depends on all input bits.
    """
    number = (number ^ number >> 30) * _FIRST & MASK
    number = (number ^ number >> 27) * _SECOND & MASK
    return number ^ number >> 31


class SplitMix64:
    """
    The SplitMix64 pseudo-random number generator.
    """

    def __init__(self, seed: str) -> None:
        self._state = digest(seed)

    def below(self, limit: float) -> float:
        """
        Draw the next number, uniformly distributed.

        @param limit: more than 0.
        @return: at least 0 and less than C{limit}.
        """
        self._state = self._state + _STEP & MASK
        # A float has 53 bits of mantissa; with 64 bits the quotient could be rounded to 1.
        return (scatter(self._state) >> 11) / (1 << 53) * limit
