# SPDX-License-Identifier: MIT
"""
The head of an HTTP/1.x request.

h11 takes the head apart; here is what h11 leaves to its user: when the head is
complete, how large it may be, and refusing what h11 forgives.  A head that two
parsers read differently would be routed by one and answered by the other, so what
is odd is refused even where the RFC lets a server repair it.

Cost, on one core, for a request as curl sends it: about 35 microseconds, of which
h11 is 28; against a handoff's two passes through a TCP that is acceptable, and it
buys the most used header grammar in Python instead of one more of our own.
"""

from __future__ import annotations

import re

import h11

from btcp.content.answer import answer
from btcp.content.contract import ContentError, RequestKey
from btcp.content.host import split_authority
from btcp.content.path import routing_path
from btcp.content.reader import Reader

_END = b"\r\n\r\n"

# What no part of a head may hold.  h11 forgives each: it ends lines at a bare LF,
# joins folded lines and lets control characters but NUL into values.
# One class in front, the rest looks at it: twice as fast as the plain alternatives.
_FORBIDDEN = re.compile(
    rb"""
    [\x00-\x08\x0a-\x1f\x7f]             # every control character but TAB, and then
    (?: (?<=\r) (?P<cr> [^\n] )
      | (?<=\n) (?P<lf> (?<!\r\n) )
      | (?<=\n) (?P<fold> [ \t] )
      | (?<![\r\n]) (?P<control>)
    )
    """,
    re.VERBOSE,
)
_FORBIDDEN_REASONS = {
    "control": "control character in the request head",
    "lf": "bare LF in the request head",
    "cr": "bare CR in the request head",
    "fold": "folded header line",
}
# The longest registered method has 17 octets.  The bound keeps the look at an
# unfinished line constant, however small the pieces it comes in.
_MAX_METHOD = 32
_METHOD = re.compile(rb"\Z|[-!#$%&'*+.^_`|~0-9A-Za-z]{1,32}(?: |\Z)")
_REQUEST_LINE = re.compile(rb"[^ ]+ [\x21-\x7e]+ HTTP/1\.[01]\Z")
_NO_REQUEST = "not an HTTP/1.0 or HTTP/1.1 request line"
_ABSOLUTE = re.compile(rb"http://([^/?#]*)([^#]*)\Z", re.IGNORECASE)


class HttpReader(Reader):
    """
    Reads the head of the first request of a connection.

    @ivar limit: how many octets the head may have, its final empty line and any
        empty lines before it included.
    """

    __slots__ = ("_checked", "_head", "_line", "_start")

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self._head = bytearray()
        self._start = 0  # of the request line
        self._line = -1  # its end, when known
        self._checked = 0

    def answer(self, status: int, reason: str) -> bytes:
        """
        See L{btcp.content.contract.ContentReader.answer}.
        """
        head = self._key is not None and self._key.method == "HEAD"
        return answer(status, reason, head=head)

    def _forget(self) -> None:
        self._head.clear()

    def _read(self, data: bytes | memoryview) -> RequestKey | None:
        room = self.limit - len(self._head)
        self._head += data[:room]
        if self._line < 0 and not self._read_request_line():
            end = -1
        else:
            end = self._head.find(_END, max(self._line, self._checked - 3))
            self._refuse_forbidden(len(self._head) if end < 0 else end + len(_END))
        if end >= 0:
            head = bytes(self._head[self._start : end + len(_END)])
            return _key(head)
        if len(data) > room:
            raise ContentError(431, f"request head larger than {self.limit} octets")
        return None

    def _read_request_line(self) -> bool:
        """
        Check the request line as far as it is there.

        @return: whether it is complete.
        @raise ContentError: it can not become the line of a request that is routed.
        """
        head = self._head
        # RFC 9112, 2.2: empty lines before the first request are to be ignored.
        while head.startswith(b"\r\n", self._start):
            self._start += 2
        line = head.find(b"\r\n", max(self._start, self._checked - 1))
        end = len(head) if line < 0 else line
        # Says no to TLS, SSH and the like at their first octets, without waiting for
        # a line end that never comes.
        method = _METHOD.match(head, self._start, min(end, self._start + _MAX_METHOD + 1))
        if method is None and head[self._start : end] != b"\r":
            raise ContentError(400, _NO_REQUEST)
        self._refuse_forbidden(end)
        if line < 0:
            return False
        if _REQUEST_LINE.match(head, self._start, line) is None:
            raise ContentError(400, _NO_REQUEST)
        self._line = line
        return True

    def _refuse_forbidden(self, end: int) -> None:
        # One octet back: CR LF may have been cut apart.
        match = _FORBIDDEN.search(self._head, max(self._checked - 1, 0), end)
        if match is not None:
            raise ContentError(400, _FORBIDDEN_REASONS[str(match.lastgroup)])
        self._checked = end


def _key(head: bytes) -> RequestKey:
    """
    Take a complete head apart.

    @raise ContentError: 400, the head is malformed or ambiguous.
    """
    connection = h11.Connection(h11.SERVER)
    try:
        connection.receive_data(head)
        request = connection.next_event()
    except h11.RemoteProtocolError:
        # The message of h11 quotes the client's octets; it must not reach the log.
        raise ContentError(400, "malformed request head") from None
    assert isinstance(request, h11.Request)
    fields = dict(request.headers)
    if b"transfer-encoding" in fields:
        if b"content-length" in fields:
            raise ContentError(400, "both Content-Length and Transfer-Encoding")
        if request.http_version == b"1.0":
            raise ContentError(400, "Transfer-Encoding in HTTP/1.0")
    authority = _authority(fields[b"host"]) if b"host" in fields else None
    host, path = _route(request.method, request.target, authority)
    return RequestKey(request.method.decode("ascii"), host, path)


def _authority(text: bytes) -> tuple[str, int]:
    # latin-1 only so that every octet decodes; what is not ASCII is then refused.
    authority = split_authority(text.decode("latin-1"))
    if authority is None:
        raise ContentError(400, "invalid host")
    return authority


def _route(method: bytes, target: bytes, authority: tuple[str, int] | None) -> tuple[str, str]:
    """
    Host and path a request target stands for (RFC 9112, 3.2).

    C{CONNECT} is refused: nothing here is a proxy.  C{OPTIONS *} asks about the
    server as a whole and goes where C{/} goes.

    @param authority: host and port of the Host field, L{None} if there is none.
    """
    if method == b"CONNECT":
        raise ContentError(400, "CONNECT is not routed")
    if target == b"*" and method == b"OPTIONS":
        target = b"/"
    elif not target.startswith(b"/"):
        absolute = _ABSOLUTE.match(target)
        if absolute is None:
            raise ContentError(400, "neither a path nor an absolute http target")
        named = _authority(absolute[1])
        # The RFC lets the target win; not every origin obeys, so they must agree.
        if authority not in (None, named):
            raise ContentError(400, "request target and Host differ")
        authority = named
        target = absolute[2] if absolute[2].startswith(b"/") else b"/" + absolute[2]
    return authority[0] if authority else "", routing_path(target)
