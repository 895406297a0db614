# SPDX-License-Identifier: MIT
"""
What every reader of a connection's first octets promises.

A reader is fed the client's octets in order, each octet once, and returns one
of three things: a L{RequestKey}, L{None} (more octets are needed) or a raised
L{ContentError} (these octets can never become a request that may be routed).
How the octets were cut into pieces never changes the answer.
"""

from __future__ import annotations

from typing import Protocol

from attrs import frozen


@frozen(slots=True)
class RequestKey:
    """
    What of a request decides which node answers it.

    @ivar method: as sent, for example C{"GET"}; it is case-sensitive.  C{""} for TLS.
    @ivar host: canonical as L{btcp.content.host.canonical_host} gives it: lower case,
        no port, no trailing dot; C{""} if the request names none.
    @ivar path: decoded and resolved as L{btcp.content.path.routing_path} gives it;
        starts with C{"/"}.  Octets that are not UTF-8 are surrogate escapes.
    @ivar kind: which reader made the key: C{"http"} or C{"tls"}.
    """

    method: str
    host: str
    path: str
    kind: str = "http"

    def __str__(self) -> str:
        if self.kind == "tls":
            return f"TLS {self.host}"
        # Fit for a log: a decoded path may hold line ends and escape sequences.
        return ascii(f"{self.method} {self.host}{self.path}")[1:-1]


class ContentError(Exception):
    """
    The octets are no request that may be routed; nothing will make them one.

    @ivar status: what the front-end answers with: 400 (malformed) or 431 (too large).
    @ivar reason: one line for the log; never holds octets of the client.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.status}: {self.reason}"


class ContentReader(Protocol):
    """
    Reads one connection.  Its memory is bounded, its time linear in what it was fed.
    """

    def feed(self, data: bytes | memoryview) -> RequestKey | None:
        """
        Take the next octets.

        @param data: the octets that follow those fed before; may be empty.
        @return: the key, or L{None} if more octets are needed.  After the key the
            reader takes no more octets and returns the same key again.
        @raise ContentError: there will be no key; raised again on every later call.
        """
        ...

    def answer(self, status: int, reason: str) -> bytes:
        """
        What the front-end says when no node is to answer what was fed so far.

        @param status: of HTTP, such as 404; other protocols say what is nearest to it.
        @param reason: one line for a person, ASCII.
        @return: the last that the client hears, at most 536 octets; empty: nothing.
        """
        ...
