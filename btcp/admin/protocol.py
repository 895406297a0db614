# SPDX-License-Identifier: MIT
"""
What is said between a shell and a node.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar

from twisted.protocols import amp

SOCKET = "btcp.sock"
"""The socket's name in the directory that C{run:} names."""

PAGE = 16_384
"""Octets of a piece of an answer: so much a node writes in one turn of its reactor."""


class Status(IntEnum):
    """
    How an order went; also the exit status of C{btcp}.
    """

    DONE = 0
    FAILED = 1
    """It was understood and allowed, and could not be done or did not come to pass."""

    MISUSED = 2
    """It is no order."""

    NOT_ALLOWED = 3
    """Somebody of a higher level may."""

    UNREACHABLE = 4
    """No node answered."""


_PIECE: list[tuple[bytes, amp.Argument]] = [(b"text", amp.String()), (b"more", amp.Boolean())]


class Ask(amp.Command):
    """
    One line of the shell.  One at a time: the next one has to wait for the answer.

    The answer is JSON text, of which C{text} is the first piece.  If C{status} is not
    L{Status.DONE}, it may be a mapping with the key C{error}, whose value is in words, and, if
    it is about a part of the line, C{column} and C{length}, in characters, counted from 0.
    """

    arguments: ClassVar[list[tuple[bytes, amp.Argument]]] = [(b"line", amp.Unicode())]
    response: ClassVar[list[tuple[bytes, amp.Argument]]] = [(b"status", amp.Integer()), *_PIECE]


class More(amp.Command):
    """
    The next piece of the answer, if the one before had C{more}; pieces are made when they are
    asked for.  A new L{Ask} ends the answer to the last.
    """

    arguments: ClassVar[list[tuple[bytes, amp.Argument]]] = []
    response: ClassVar[list[tuple[bytes, amp.Argument]]] = _PIECE
