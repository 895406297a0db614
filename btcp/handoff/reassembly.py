# SPDX-License-Identifier: MIT
"""
Reassembly of the request from the client's segments.
"""

from __future__ import annotations

WINDOW = 32768
"""The receive window of the front-end, in octets.  It is below the initial window of any kernel's
TCP (64 kB), so that the right edge of the window never moves back at the handoff, and a request
that fills it fits into an AMP value (65,535 octets)."""

SLACK = 128
"""Octets by which rounding the scaled window field up can exceed L{WINDOW} (scale 7).  With a
larger scale the excess is dropped and retransmitted."""

_PIECES = 64
"""Maximum number of out-of-order segments; further ones are dropped and retransmitted, as are
octets beyond one window in total."""


class RequestBuffer:
    """
    The octets that the client has sent, in order.

    Where segments overlap, the octets that became contiguous first are kept.

    @ivar octets: the contiguous octets from offset 0.
    """

    __slots__ = ("_early", "octets")

    def __init__(self) -> None:
        self.octets = bytearray()
        self._early: dict[int, bytes] = {}

    def add(self, offset: int, data: memoryview) -> bytes | None:
        """
        Add a segment's data.

        @param offset: offset of the first octet from the initial sequence number + 1.
        @return: the octets that became contiguous, C{b""} if there are none (a duplicate, or a gap
            before the data), C{None} if there was no room.
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
        Keep out-of-order data.

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
