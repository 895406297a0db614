# SPDX-License-Identifier: MIT
"""
What two nodes say of connections that their kernels hand to each other; see
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
"""Octets of the key that proves who wrote a handoff record."""

RECORD_SIZE = 44
"""Octets that name a connection: the ends of its packets, the front-end's initial sequence number,
and that of the client's first octet."""

MAX_RECORDS = amp.MAX_VALUE_LENGTH // RECORD_SIZE


class Subject(StrEnum):
    """
    What is said.

    @cvar KEY: of the records that I, as front-end, send you from now on.
    @cvar ENDED: these are over, which you handed to me; by the ends of the client's packets to
        you.
    @cvar BACK: these you have again: I do not go on with them, and have answered nothing yet; by
        the same ends.
    @cvar GONE: these are over, which I handed to you; by the ends of the client's packets to
        your origin.
    """

    KEY = "key"
    ENDED = "ended"
    BACK = "back"
    GONE = "gone"


@frozen(slots=True)
class Word:
    """
    @ivar data: a key, or records without gaps.
    @ivar reason: why all of these ended; of L{Subject.ENDED} only.
    """

    subject: Subject
    data: bytes
    reason: Reason = Reason.CLOSED

    @property
    def records(self) -> list[bytes]:
        """
        One by one.
        """
        starts = range(0, len(self.data), RECORD_SIZE)
        return [self.data[start : start + RECORD_SIZE] for start in starts]


class WordFields(amp.Argument):
    """
    A L{Word} as two keys, C{subject} and C{data}; and a third, C{reason}, which need not be
    there.
    """

    def toBox(
        self, name: bytes, strings: dict[bytes, bytes], objects: dict[str, object], proto: object
    ) -> None:
        """
        As in C{amp.Argument}.
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
        @raise Malformed: or C{KeyError} or C{ValueError}, which L{ControlCommand} makes into
            the same.
        """
        subject, data = Subject(strings[b"subject"].decode()), strings[b"data"]
        whole = len(data) == KEY_SIZE if subject is Subject.KEY else not len(data) % RECORD_SIZE
        if not whole:
            raise Malformed("a key or a record has another size")
        ended = subject is Subject.ENDED and b"reason" in strings
        reason = Reason(strings[b"reason"].decode()) if ended else Reason.CLOSED
        objects["word"] = Word(subject, data, reason)


class Express(ControlCommand):
    """
    Something of connections that the core does not know.  Only to nodes whose Hello says
    that they C{express}.
    """

    arguments: ClassVar[Declared] = [(b"word", WordFields())]
