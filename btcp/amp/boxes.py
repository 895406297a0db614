# SPDX-License-Identifier: MIT
"""
AMP boxes out of a stream of octets, and back, within bounds.

Twisted's own reader lets one box have any number of keys and takes four times as
long; what it reads and writes is the same.  No I/O happens here.
"""

from __future__ import annotations

from twisted.protocols.amp import AmpBox

MAX_BOX = 128 * 1024
"""Octets of one box, lengths included: a request of 65,535 octets fits with room."""

MAX_KEYS = 64
"""Keys of one box; the largest command has a dozen."""

TLS = "TLS, where boxes were expected: one side's configuration says 'insecure' and not the other's"

_TLS_RECORDS = (0x1503, 0x1603)
"""How an alert and a handshake begin, read as the length of a key."""

MAX_KEY = 0xFF
MAX_VALUE = 0xFFFF


class BoxReader:
    """
    The receiving half of one connection.

    @ivar fault: what is wrong with the octets received, in words, or L{None}.
        Once set, nothing more is read.
    """

    def __init__(self) -> None:
        self.fault: str | None = None
        self._box: AmpBox = AmpBox()
        self._size = 0
        self._key: bytes | None = None
        # The start of a string that is not complete, and how many octets it
        # lacks: a peer who sends octet by octet makes us copy it only once.
        self._rest = bytearray()
        self._missing = 0

    def receive(self, data: bytes) -> list[AmpBox]:
        """
        @param data: octets as they arrived, of any length.
        @return: the boxes that are now complete, in order; those before a
            L{fault} included.
        """
        if self._missing > len(data):
            self._rest += data
            self._missing -= len(data)
            return []
        if self._rest:
            data = bytes(self._rest) + data
        boxes: list[AmpBox] = []
        taken = self._take(data, boxes)
        self._rest = bytearray(data[taken:])
        return boxes

    def _take(self, data: bytes, boxes: list[AmpBox]) -> int:
        """
        Read all complete strings in C{data}.

        @return: how many octets that were.
        """
        at, end = 0, len(data)
        self._missing = 0
        while at + 2 <= end and self.fault is None:
            length = data[at] << 8 | data[at + 1]
            if not length and self._key is None:
                boxes.append(self._box)
                self._box, self._size = AmpBox(), 0
                at += 2
                continue
            size = self._size + length + 2
            # Judged by its length, before it is waited for.
            if size > MAX_BOX or (length > MAX_KEY and self._key is None):
                known = self._key is None and length in _TLS_RECORDS
                self.fault = TLS if known else "a key or a box is too long"
                return end
            start, stop = at + 2, at + 2 + length
            if stop > end:
                self._missing = stop - end
                return at
            self._string(data[start:stop])
            self._size, at = size, stop
        return at

    def _string(self, string: bytes) -> None:
        """
        A key or the value of one is complete.
        """
        if self._key is not None:
            self._box[self._key] = string
            self._key = None
            return
        self._key = string
        if string in self._box or len(self._box) >= MAX_KEYS:
            self.fault = "a box has a key twice or too many keys"


def serialize(box: AmpBox) -> bytes:
    """
    @raise ValueError: if a key or value is too long for AMP.
    """
    parts: list[bytes] = []
    for key, value in box.items():
        if len(key) > MAX_KEY or len(value) > MAX_VALUE:
            raise ValueError(f"{len(value)} octets for {key!r} are too many for AMP")
        parts += (len(key).to_bytes(2, "big"), key, len(value).to_bytes(2, "big"), value)
    parts.append(b"\0\0")
    return b"".join(parts)
