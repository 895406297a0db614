# SPDX-License-Identifier: MIT
"""
The commands of the control channel, as AMP declares them.

L{btcp.control.fields} holds the layouts, C{docs/control-protocol.md} the words.
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import error as StructError
from typing import Any, ClassVar

from attrs import frozen
from twisted.protocols import amp

from btcp.control.fields import (
    AdoptedField,
    Flag,
    HandoffFields,
    Malformed,
    Name,
    Number,
    TerminateFields,
)
from btcp.handoff.messages import Capabilities, Reason

Declared = list[tuple[bytes, amp.Argument]]
Errors = dict[type[Exception], bytes]

VERSION = 1
"""Of this protocol; two nodes speak only if theirs are the same."""


class HelloRefused(Exception):
    """
    This connection does not become a link; the text says why.

    @cvar counter: is moved then.
    """

    counter = "control.refused-hello"


class HandoffRefused(Exception):
    """
    The back-end does not adopt the flow.

    @ivar reason: why.
    """

    def __init__(self, reason: Reason | str) -> None:
        """
        @raise ValueError: if C{reason} came from the wire and is not known.
        """
        self.reason = Reason(reason)
        super().__init__(self.reason.value)


class Failed(Exception):
    """
    The peer could not do what it was asked, for a reason of its own.
    """


class ControlCommand(amp.Command):
    """
    A command whose octets, when they are not as declared, are L{Malformed}.
    """

    errors: ClassVar[Errors] = {Malformed: b"MALFORMED", Failed: b"FAILED"}

    @classmethod
    def parseArguments(cls, box: amp.AmpBox, protocol: amp.AMP | None) -> dict[str, Any]:
        """
        @raise Malformed: if a key is missing or a value is out of its range.
        """
        try:
            return dict(super().parseArguments(box, protocol))
        except (KeyError, ValueError, StructError) as error:
            raise Malformed(f"{cls.__name__}: {error}") from None

    @classmethod
    def parseResponse(cls, box: amp.AmpBox, protocol: amp.AMP | None) -> dict[str, Any]:
        """
        @raise Malformed: if a key is missing or a value is out of its range.
        """
        try:
            return dict(super().parseResponse(box, protocol))
        except (KeyError, ValueError, StructError) as error:
            raise Malformed(f"answer to {cls.__name__}: {error}") from None


class Hello(ControlCommand):
    """
    Who speaks.  The first command each side sends.
    """

    arguments: ClassVar[Declared] = [
        (b"version", Number(0xFFFF)),
        (b"node", Name()),
        (b"epoch", Number(0xFFFFFFFFFFFFFFFF)),
        (b"mtu", Number(0xFFFF)),
        (b"sack", Flag()),
        (b"timestamps", Flag()),
        (b"window_scaling", Flag()),
    ]
    errors: ClassVar[Errors] = {HelloRefused: b"REFUSED"}


class Handoff(ControlCommand):
    """
    Adopt this connection.
    """

    arguments: ClassVar[Declared] = [(b"message", HandoffFields())]
    response: ClassVar[Declared] = [(b"adopted", AdoptedField())]
    errors: ClassVar[Errors] = {HandoffRefused: b"REFUSED"}


class Terminate(ControlCommand):
    """
    These flows are over.

    One packed string of records, not an C{AmpList}: 0.5 us of CPU a record and
    side instead of 11, and 17 octets instead of 76.
    """

    arguments: ClassVar[Declared] = [(b"records", TerminateFields())]
    response: ClassVar[Declared] = [(b"unknown", Number(0xFFFF))]


class Ping(ControlCommand):
    """
    Are you there?
    """


@frozen(slots=True, kw_only=True)
class Identity:
    """
    What a node says of itself in its L{Hello}.

    @ivar node: its name.
    @ivar epoch: a number it did not use in an earlier life.
    """

    node: str
    epoch: int
    capabilities: Capabilities

    def arguments(self) -> dict[str, object]:
        """
        @return: what L{Hello} takes.
        """
        return {
            "version": VERSION,
            "node": self.node,
            "epoch": self.epoch,
            "mtu": self.capabilities.mtu,
            "sack": self.capabilities.sack,
            "timestamps": self.capabilities.timestamps,
            "window_scaling": self.capabilities.window_scaling,
        }


def read_identity(box: amp.AmpBox) -> Identity:
    """
    @param box: a L{Hello} from the wire.
    @raise HelloRefused: if it is of another version; the rest is not looked at,
        for it may mean something else there.
    @raise Malformed: if it is no Hello.
    """
    version = box.get(b"version")
    if version is not None and version != b"%d" % VERSION:
        raise HelloRefused(f"version {version[:8]!r} is not {VERSION}")
    values: Mapping[str, Any] = Hello.parseArguments(box, None)
    return Identity(
        node=values["node"],
        epoch=values["epoch"],
        capabilities=Capabilities(
            mtu=values["mtu"],
            sack=values["sack"],
            timestamps=values["timestamps"],
            window_scaling=values["window_scaling"],
        ),
    )
