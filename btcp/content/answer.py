# SPDX-License-Identifier: MIT
"""
The few responses a front-end gives by itself.
"""

from __future__ import annotations

from http import HTTPStatus


def answer(status: int, reason: str, *, head: bool = False) -> bytes:
    """
    @param status: such as 404.
    @param reason: one line for a person, ASCII, at most 120 characters.
    @param head: the request was HEAD, so no body may follow.
    @return: a whole HTTP/1.1 response after which the connection closes; well
        below 536 octets, so that it fits the smallest segment.
    """
    phrase = HTTPStatus(status).phrase
    body = f"{status} {phrase}: {reason[:120]}\n".encode("ascii", "replace")
    lines = (
        f"HTTP/1.1 {status} {phrase}",
        "Content-Type: text/plain",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *(("Retry-After: 1",) if status == HTTPStatus.SERVICE_UNAVAILABLE else ()),
    )
    return "\r\n".join(lines).encode("ascii") + b"\r\n\r\n" + (b"" if head else body)
