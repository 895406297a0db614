# SPDX-License-Identifier: MIT
"""
Reconciliation of the flows that two nodes share, whenever the link between them comes up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from struct import iter_unpack
from typing import Any, ClassVar, Protocol

from twisted.internet.defer import Deferred
from twisted.protocols import amp

from btcp.control.commands import ControlCommand, Declared
from btcp.control.fields import Flag, Malformed
from btcp.handoff.reconcile import Owned

MAX_NUMBERS = amp.MAX_VALUE_LENGTH // 8
"""Maximum number of flows in one part of the list."""


class Numbers(amp.Argument):
    """
    A list of handoff numbers, 8 octets each.
    """

    def toString(self, inObject: Sequence[int]) -> bytes:
        return b"".join([number.to_bytes(8, "big") for number in inObject])

    def fromString(self, inString: bytes) -> list[int]:
        if len(inString) % 8:
            raise Malformed("a list of flows ends within a number")
        return [number for (number,) in iter_unpack("!Q", inString)]


class WhoOwns(ControlCommand):
    """
    A part of the list of flows of which the sender is the front-end and the receiver the back-end.
    The answer has the flows that the receiver does not have.  When the last part has been sent, the
    sender does not know any flow that it has not listed.
    """

    arguments: ClassVar[Declared] = [(b"numbers", Numbers()), (b"more", Flag())]
    response: ClassVar[Declared] = [(b"closed", Numbers()), (b"unknown", Numbers())]


class Asked(Protocol):
    """
    The part of a link that reconciliation uses.
    """

    def who_owns(self, numbers: Sequence[int], more: bool) -> Deferred[Owned]:
        """
        Send one part of the list.

        @return: fires with the peer's answer; fails as C{callRemote}.
        """


class Reconciled(Protocol):
    """
    The node whose flows are reconciled.
    """

    def shared_with(self, node: str) -> list[int]:
        """
        List the numbers of the flows of which this node is the front-end and C{node} the back-end.
        """

    def owned(self, node: str, answer: Owned) -> None:
        """
        Process C{node}'s answer to one part of the list.
        """


def reconcile(link: Asked, node: str, owner: Reconciled) -> None:
    """
    Send the whole list of shared flows before anything else is sent on the link.  A peer whose
    version lacks the command answers with an error, which is ignored; flows that only one of the
    two nodes has then end by their timeouts.
    """
    for part, more in parts(owner.shared_with(node)):
        asked = link.who_owns(part, more)
        asked.addCallbacks(lambda answer: owner.owned(node, answer), lambda _: None)


def parts(numbers: Sequence[int], size: int = MAX_NUMBERS) -> Iterator[tuple[Sequence[int], bool]]:
    """
    Split a list of numbers into parts, at least one.

    @return: each part, and whether further parts follow.
    """
    for start in range(0, max(len(numbers), 1), size):
        yield numbers[start : start + size], start + size < len(numbers)


def read_owned(values: dict[str, Any]) -> Owned:
    """
    Convert an answer to L{WhoOwns}.
    """
    return Owned(closed=values["closed"], unknown=values["unknown"])
