# SPDX-License-Identifier: MIT
"""
The ClientHello that a TLS connection begins with (RFC 8446, 4.1.2; RFC 5246, 7.4.1.2).

It is looked at and handed over untouched; nothing is decrypted, so keys and certificates
stay with the origins.  As everywhere, what two parsers could read differently is
refused: the name that routes must be the one the origin will see.
"""

from __future__ import annotations

from enum import IntEnum

from btcp.content.contract import ContentError, RequestKey
from btcp.content.host import canonical_host
from btcp.content.reader import Reader

_HANDSHAKE = 22
_CLIENT_HELLO = 1
_SERVER_NAME = 0
_HOST_NAME = 0
_RECORD_HEADER = 5
_MESSAGE_HEADER = 4
_MAX_FRAGMENT = 1 << 14
_NO_TLS = "not a TLS handshake"
_MALFORMED = "malformed ClientHello"


class _Alert(IntEnum):
    """
    RFC 8446, 6.
    """

    DECODE_ERROR = 50
    INTERNAL_ERROR = 80
    UNRECOGNIZED_NAME = 112


_ALERTS = {
    400: _Alert.DECODE_ERROR,
    404: _Alert.UNRECOGNIZED_NAME,
    431: _Alert.DECODE_ERROR,
    503: _Alert.INTERNAL_ERROR,
}


class TlsReader(Reader):
    """
    Reads the first message of a connection.  A key has the name the client asks for
    (SNI) as its host, C{""} if there is none, and C{/} for a path: what is asked for
    below that name, nobody sees but the origin.

    @ivar limit: how many octets the records may have that the ClientHello is in.
    """

    __slots__ = ("_message", "_octets", "_start")

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self._octets = bytearray()
        self._start = 0  # of the record that is not complete
        self._message = bytearray()

    def answer(self, status: int, reason: str) -> bytes:
        """
        See L{btcp.content.contract.ContentReader.answer}.  There is no alert for a
        ClientHello that does not come; who sends none is told nothing.
        """
        alert = _ALERTS.get(status)
        # Fatal, in a record of a version that every client knows.
        return b"" if alert is None else bytes((21, 3, 3, 0, 2, 2, alert))

    def _forget(self) -> None:
        self._octets.clear()
        self._message.clear()

    def _read(self, data: bytes | memoryview) -> RequestKey | None:
        self._octets += data[: self.limit - len(self._octets)]
        while self._take_record():
            key = self._look()
            if key is not None:
                return key
        return None

    def _take_record(self) -> bool:
        """
        Move the next record's fragment to the message.

        @return: whether it is complete.
        @raise ContentError: it is none of a handshake, or beyond the limit.
        """
        header = self._octets[self._start : self._start + _RECORD_HEADER]
        # Says no to other protocols at their first octet.
        if header[:2] != bytes((_HANDSHAKE, 3))[: len(header)]:
            raise ContentError(400, _NO_TLS)
        if len(header) < _RECORD_HEADER:
            # Only when the buffer is full: the octets that are still to come may show that
            # this is not TLS, and the result must not depend on how the stream was cut.
            if len(self._octets) >= self.limit:
                raise self._too_large()
            return False
        length = int.from_bytes(header[3:], "big")
        if not 0 < length <= _MAX_FRAGMENT:
            raise ContentError(400, _MALFORMED)
        begin, end = self._start + _RECORD_HEADER, self._start + _RECORD_HEADER + length
        if end > self.limit:
            raise self._too_large()
        if end > len(self._octets):
            return False
        self._message += self._octets[begin:end]
        self._start = end
        return True

    def _look(self) -> RequestKey | None:
        message = self._message
        if message[0] != _CLIENT_HELLO:
            raise ContentError(400, "the first message is no ClientHello")
        if len(message) < _MESSAGE_HEADER:
            return None
        length = int.from_bytes(message[1:_MESSAGE_HEADER], "big")
        if length > self.limit:
            raise self._too_large()
        if len(message) < _MESSAGE_HEADER + length:
            return None
        if len(message) > _MESSAGE_HEADER + length:
            # RFC 8446, 5.1: nothing may share a record with the ClientHello's end.
            raise ContentError(400, _MALFORMED)
        return _key(bytes(message[_MESSAGE_HEADER:]))

    def _too_large(self) -> ContentError:
        return ContentError(431, f"ClientHello larger than {self.limit} octets")


class _Octets:
    """
    The unread rest of a structure.
    """

    def __init__(self, octets: bytes) -> None:
        self.rest = octets

    def take(self, count: int) -> bytes:
        """
        @raise ContentError: there are fewer.
        """
        taken, self.rest = self.rest[:count], self.rest[count:]
        if len(taken) < count:
            raise ContentError(400, _MALFORMED)
        return taken

    def number(self, size: int) -> int:
        """
        An unsigned integer of C{size} octets.
        """
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int, least: int = 0, most: int = 1 << 16) -> bytes:
        """
        Octets after their number, which has C{size} octets itself.
        """
        length = self.number(size)
        if not least <= length <= most:
            raise ContentError(400, _MALFORMED)
        return self.take(length)

    def end(self) -> None:
        """
        @raise ContentError: something is left.
        """
        if self.rest:
            raise ContentError(400, _MALFORMED)


def _key(hello: bytes) -> RequestKey:
    """
    Take the body of a ClientHello apart.

    @raise ContentError: 400, it is malformed or ambiguous.
    """
    octets = _Octets(hello)
    octets.take(2 + 32)  # version and random
    octets.vector(1, most=32)  # session
    if len(octets.vector(2, least=2)) % 2:  # cipher suites
        raise ContentError(400, _MALFORMED)
    octets.vector(1, least=1)  # compression methods
    # A ClientHello of TLS 1.2 may end here.
    extensions = _Octets(octets.vector(2) if octets.rest else b"")
    octets.end()
    host, seen = "", set()
    while extensions.rest:
        kind, content = extensions.number(2), extensions.vector(2)
        if kind in seen:
            raise ContentError(400, "the same extension twice in a ClientHello")
        seen.add(kind)
        if kind == _SERVER_NAME:
            host = _server_name(content)
    return RequestKey("", host, "/", "tls")


def _server_name(content: bytes) -> str:
    """
    RFC 6066, 3.  The list has one name: another kind of name was never defined, and of
    two names of one kind servers take different ones.
    """
    extension = _Octets(content)
    names = _Octets(extension.vector(2, least=1))
    extension.end()
    kind, name = names.number(1), names.vector(2, least=1)
    names.end()
    host = canonical_host(name.decode("latin-1"))
    if kind != _HOST_NAME or host is None:
        raise ContentError(400, "invalid server name")
    return host
