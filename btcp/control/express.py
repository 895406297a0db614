# SPDX-License-Identifier: MIT
"""
Messages between two nodes about connections that their kernels hand to each other; see
C{docs/decisions/express.md}.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

from attrs import frozen
from twisted.protocols import amp

from btcp.control.commands import ControlCommand, Declared
from btcp.control.fields import Malformed
from btcp.handoff.messages import Reason

KEY_SIZE = 16
"""Octets of the key that authenticates handoff headers."""

RECORD_SIZE = 44
"""Octets that identify a connection: source and destination of its packets, the front-end's initial
sequence number, and the sequence number of the client's first octet."""

MAX_RECORDS = amp.MAX_VALUE_LENGTH // RECORD_SIZE


class Subject(StrEnum):
    """
    The kind of message.

    @cvar KEY: the key of the handoff headers that the sender, as front-end, writes from now on.
    @cvar ENDED: connections that ended at the sender, their back-end; identified by source and
        destination of the client's packets to the front-end.
    @cvar BACK: connections that the sender, their back-end, returns to the front-end before it has
        sent any of the response; identified in the same way.
    @cvar GONE: connections that ended at the sender, their front-end; identified by source and
        destination of the client's packets to the back-end's origin.
    """

    KEY = "key"
    ENDED = "ended"
    BACK = "back"
    GONE = "gone"


@frozen(slots=True)
class Word:
    """
    A message.

    @ivar subject: its kind.
    @ivar data: a key, or concatenated records of L{RECORD_SIZE} octets.
    @ivar reason: the reason why these connections ended; for L{Subject.ENDED} only.
    """

    subject: Subject
    data: bytes
    reason: Reason = Reason.CLOSED

    @property
    def records(self) -> list[bytes]:
        """
        The records in C{data}.
        """
        starts = range(0, len(self.data), RECORD_SIZE)
        return [self.data[start : start + RECORD_SIZE] for start in starts]


class WordFields(amp.Argument):
    """
    A L{Word} as the keys C{subject} and C{data}, and the optional key C{reason}.
    """

    def toBox(
        self, name: bytes, strings: dict[bytes, bytes], objects: dict[str, object], proto: object
    ) -> None:
        """
        Serialise the message.  See C{amp.Argument}.
        """
        word = objects["word"]
        assert isinstance(word, Word)
        strings[b"subject"] = word.subject.value.encode()
        strings[b"data"] = word.data
        if word.subject is Subject.ENDED:
            strings[b"reason"] = word.reason.value.encode()

    def fromBox(
        self, name: bytes, strings: dict[bytes, bytes], objects: dict[str, object], proto: object
    ) -> None:
        """
        Parse a message.

        @raise Malformed: if it is invalid; also C{KeyError} and C{ValueError}, which
            L{ControlCommand} converts.
        """
        subject, data = Subject(strings[b"subject"].decode()), strings[b"data"]
        whole = len(data) == KEY_SIZE if subject is Subject.KEY else not len(data) % RECORD_SIZE
        if not whole:
            raise Malformed("a key or a record has a wrong size")
        ended = subject is Subject.ENDED and b"reason" in strings
        reason = Reason(strings[b"reason"].decode()) if ended else Reason.CLOSED
        objects["word"] = Word(subject, data, reason)


class Express(ControlCommand):
    """
    Message about connections handed off by the kernel.  Sent only to nodes that announced
    C{express} in their Hello.
    """

    arguments: ClassVar[Declared] = [(b"word", WordFields())]
