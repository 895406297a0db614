# SPDX-License-Identifier: MIT
"""
Which flows two nodes have together, asked whenever the link between them comes up.
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
"""Of flows, in one part."""


class Numbers(amp.Argument):
    """
    Numbers of flows: 8 octets each, as many as there are.
    """

    def toString(self, inObject: Sequence[int]) -> bytes:
        return b"".join([number.to_bytes(8, "big") for number in inObject])

    def fromString(self, inString: bytes) -> list[int]:
        if len(inString) % 8:
            raise Malformed("a flow's number is cut off")
        return [number for (number,) in iter_unpack("!Q", inString)]


class WhoOwns(ControlCommand):
    """
    These flows, of which I am the front-end, I have at your node.  After the last part,
    what I did not name I do not know.
    """

    arguments: ClassVar[Declared] = [(b"numbers", Numbers()), (b"more", Flag())]
    response: ClassVar[Declared] = [(b"closed", Numbers()), (b"unknown", Numbers())]


class Asked(Protocol):
    """
    A link.
    """

    def who_owns(self, numbers: Sequence[int], more: bool) -> Deferred[Owned]:
        """
        Fails as C{callRemote}.
        """


class Reconciled(Protocol):
    """
    The node that asks.
    """

    def shared_with(self, node: str) -> list[int]:
        """
        @return: the numbers of the flows that it has at C{node}.
        """

    def owned(self, node: str, answer: Owned) -> None:
        """
        C{node} has answered one part.
        """


def reconcile(link: Asked, node: str, owner: Reconciled) -> None:
    """
    Name all flows at once, before anything new is asked on the link.  One who knows no
    such command has nothing to say to it, and whatever is left ends by its timeouts.
    """
    for part, more in parts(owner.shared_with(node)):
        asked = link.who_owns(part, more)
        asked.addCallbacks(lambda answer: owner.owned(node, answer), lambda _: None)


def parts(numbers: Sequence[int], size: int = MAX_NUMBERS) -> Iterator[tuple[Sequence[int], bool]]:
    """
    @return: at least one part, and whether there are others after it.
    """
    for start in range(0, max(len(numbers), 1), size):
        yield numbers[start : start + size], start + size < len(numbers)


def read_owned(values: dict[str, Any]) -> Owned:
    """
    @param values: of an answer to L{WhoOwns}.
    """
    return Owned(closed=values["closed"], unknown=values["unknown"])
