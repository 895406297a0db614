# SPDX-License-Identifier: MIT
"""
The AMP commands between a shell and a node.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar

from twisted.protocols import amp

SOCKET = "btcp.sock"
"""Name of the management socket in the directory that the key C{run} configures."""

PAGE = 16_384
"""Maximum octets of a piece of an answer, which a node writes in one turn of its reactor."""


class Status(IntEnum):
    """
    The status of a command; also the exit status of C{btcp}.
    """

    DONE = 0
    """The command succeeded."""

    FAILED = 1
    """The command was valid and allowed, and failed or timed out."""

    MISUSED = 2
    """The line is not a valid command."""

    NOT_ALLOWED = 3
    """The command needs a higher level of permission."""

    UNREACHABLE = 4
    """The node did not answer."""


_PIECE: list[tuple[bytes, amp.Argument]] = [(b"text", amp.String()), (b"more", amp.Boolean())]


class Ask(amp.Command):
    """
    Run a command line.  The next one must not be sent before the answer.

    The answer is JSON text, of which C{text} is the first piece.  If C{status} is not
    L{Status.DONE}, it may be a mapping with the key C{error} (a message) and, if the error
    concerns a part of the line, C{column} and C{length} in characters, from 0.
    """

    arguments: ClassVar[list[tuple[bytes, amp.Argument]]] = [(b"line", amp.Unicode())]
    response: ClassVar[list[tuple[bytes, amp.Argument]]] = [(b"status", amp.Integer()), *_PIECE]


class More(amp.Command):
    """
    Fetch the next piece of the answer, if the previous piece had C{more}.  The node makes pieces
    on demand.  A new L{Ask} discards the rest of the previous answer.
    """

    arguments: ClassVar[list[tuple[bytes, amp.Argument]]] = []
    response: ClassVar[list[tuple[bytes, amp.Argument]]] = _PIECE
