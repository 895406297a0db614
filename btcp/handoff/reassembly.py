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
"""Bound on segments waiting for a gap to close; more are dropped and sent again.  So
are octets beyond a window's worth, which overlap others."""


class RequestBuffer:
    """
    What the client sent from its initial sequence number on.

    Where a segment overlaps what is in order already, the octets that came first stay.

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
            return b"" if self._keep(offset, data) else None
        octets += data[have - offset :]
        while self._early:
            first = min(self._early)
            if first > len(octets):
                break
            piece = self._early.pop(first)
            octets += piece[len(octets) - first :]
        return bytes(octets[have:])

    def _keep(self, offset: int, data: memoryview) -> bool:
        """
        @return: whether there was room.
        """
        early = self._early
        known = len(early.get(offset, b""))
        if len(data) <= known:
            return True
        if len(early) >= _PIECES and not known:
            return False
        if sum(map(len, early.values())) - known + len(data) > WINDOW + SLACK:
            return False
        early[offset] = bytes(data)
        return True
