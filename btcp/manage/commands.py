# SPDX-License-Identifier: MIT
"""
What is said on the management socket.
"""

from __future__ import annotations

from typing import ClassVar

from twisted.protocols import amp

SOCKET = "btcp.sock"
"""The socket's name in the directory that C{run:} names."""

PAGE = 60000
"""Octets of one answer; an AMP value takes 65,535."""


class UnknownSubject(Exception):
    """
    There is nothing of that name to show.
    """


class Show(amp.Command):
    """
    One page of the JSON text about C{what}.

    The text is made anew for page 0 and kept for the pages that follow on the
    same connection, so that all pages are of the same moment.
    """

    arguments: ClassVar[list[tuple[bytes, amp.Argument]]] = [
        (b"what", amp.Unicode()),
        (b"page", amp.Integer()),
    ]
    response: ClassVar[list[tuple[bytes, amp.Argument]]] = [
        (b"text", amp.String()),
        (b"pages", amp.Integer()),
    ]
    errors: ClassVar[dict[type[Exception], bytes]] = {UnknownSubject: b"UNKNOWN_SUBJECT"}
