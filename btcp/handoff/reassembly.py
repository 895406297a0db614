# SPDX-License-Identifier: MIT
"""
The stored request: octets of one connection put into order.
"""

from __future__ import annotations

WINDOW = 32768
"""What a front-end promises a client to take before the handoff.  Below what any
kernel's TCP promises in its first window (64 kB), so that the right edge of the
window never moves back at the handoff; and a request that fills it fits an AMP
value (65,535 octets)."""

SLACK = 128
"""Rounding the scaled window field up may promise this much more (scale 7); with
a larger scale the excess is dropped and sent again."""

_PIECES = 64
"""Bound on segments waiting for a gap to close; more are dropped and sent again."""


class RequestBuffer:
    """
    What the client sent from its initial sequence number on.

    Where segments overlap, the octets that came first stay.

    @ivar octets: in order, without a gap, from offset 0.
    """

    __slots__ = ("_early", "octets")

    def __init__(self) -> None:
        self.octets = bytearray()
        self._early: dict[int, bytes] = {}

    def add(self, offset: int, data: memoryview) -> bytes | None:
        """
        @param offset: of the data's first octet; may lie before what is known.
        @return: the octets that became contiguous, C{b""} if there are none
            (a duplicate, or a gap before it), C{None} if the data had no room.
        """
        octets = self.octets
        if offset + len(data) > WINDOW + SLACK:
            return None
        have = len(octets)
        if offset > have:
            if len(self._early) >= _PIECES and offset not in self._early:
                return None
            if len(data) > len(self._early.get(offset, b"")):
                self._early[offset] = bytes(data)
            return b""
        octets += data[have - offset :]
        while self._early:
            first = min(self._early)
            if first > len(octets):
                break
            piece = self._early.pop(first)
            octets += piece[len(octets) - first :]
        return bytes(octets[have:])
