# SPDX-License-Identifier: MIT
"""
Parser and serialiser of AMP boxes, with bounds.

The format is that of L{twisted.protocols.amp}, whose parser accepts any number of keys in a box
and takes four times as long.  This module does no I/O.
"""

from __future__ import annotations

from twisted.protocols.amp import AmpBox

MAX_BOX = 128 * 1024
"""Maximum octets of a box, including lengths; a value of 65,535 octets fits with all else."""

MAX_KEYS = 64
"""Maximum number of keys in a box; the largest command has a dozen."""

TLS = "TLS instead of AMP: only one side's configuration has 'insecure'"

_TLS_RECORDS = (0x1503, 0x1603)
"""The first two octets of a TLS alert and a TLS handshake, read as the length of a key."""

MAX_KEY = 0xFF
MAX_VALUE = 0xFFFF


class BoxReader:
    """
    Incremental parser of the boxes that one connection receives.

    @ivar fault: the reason why the octets received are invalid, or L{None}.  Once it is set,
        further octets are ignored.
    """

    def __init__(self) -> None:
        self.fault: str | None = None
        self._box: AmpBox = AmpBox()
        self._size = 0
        self._key: bytes | None = None
        # An incomplete string and the number of octets that it lacks.  Counting avoids copying
        # the string again for each octet of a peer that sends octet by octet.
        self._rest = bytearray()
        self._missing = 0

    def receive(self, data: bytes) -> list[AmpBox]:
        """
        Parse the next octets.

        @param data: received octets, any number.
        @return: the boxes that are now complete, in order, up to a L{fault}.
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
        Parse all complete strings in C{data} and append complete boxes to C{boxes}.

        @return: the number of octets consumed.
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
            # The length is checked before the string is buffered.
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
        Add a complete string, which is a key or a key's value, to the box.
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
    Serialise a box.

    @raise ValueError: if a key or value is too long for AMP.
    """
    parts: list[bytes] = []
    for key, value in box.items():
        if len(key) > MAX_KEY or len(value) > MAX_VALUE:
            raise ValueError(f"{len(value)} octets of {key!r} exceed AMP's limit")
        parts += (len(key).to_bytes(2, "big"), key, len(value).to_bytes(2, "big"), value)
    parts.append(b"\0\0")
    return b"".join(parts)
