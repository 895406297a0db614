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
    DecisionFields,
    Flag,
    HandoffFields,
    Malformed,
    Name,
    Number,
    ReportFields,
    TerminateFields,
    Word,
)
from btcp.handoff.messages import Capabilities, Reason

Declared = list[tuple[bytes, amp.Argument]]
Errors = dict[type[Exception], bytes]

OLDEST = 1
"""The oldest version of this protocol that we speak."""

NEWEST = 2
"""And the newest.  Two nodes speak the newest that both know, so that the nodes of a cluster
can be upgraded one after another.  Version 1 knows L{Hello}, L{Handoff}, L{Terminate} and
L{Ping}."""


EXPRESS_FORMAT = "2"
"""How handoff records are laid out.  A node that names another format, as did those before it with
"1", is handed nothing by the kernel."""


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

    What a later version adds is optional, and unknown keys are not looked at: what C{version}
    is must stay the oldest, for version 1 speaks to nobody else.
    """

    arguments: ClassVar[Declared] = [
        (b"version", Number(0xFFFF)),
        (b"newest", Number(0xFFFF, optional=True)),
        (b"node", Name()),
        (b"epoch", Number(0xFFFFFFFFFFFFFFFF)),
        (b"mtu", Number(0xFFFF)),
        (b"sack", Flag()),
        (b"timestamps", Flag()),
        (b"window_scaling", Flag()),
        (b"datapath", Word("ebpf", "raw")),
        (b"adoption", Word("cookie", "replay")),
        (b"resumes", Word("0", "1")),
        (b"express", Word("0", EXPRESS_FORMAT)),
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


class Load(ControlCommand):
    """
    How I am.  From version 2 on.
    """

    arguments: ClassVar[Declared] = [(b"report", ReportFields())]


class Decide(ControlCommand):
    """
    What an operator decided.  From version 2 on.
    """

    arguments: ClassVar[Declared] = [(b"decision", DecisionFields())]


@frozen(slots=True, kw_only=True)
class Ways:
    """
    How a node works; nothing that the others need to keep to.

    @ivar datapath: C{ebpf} or C{raw}; empty if it did not say.
    @ivar adoption: C{cookie} or C{replay}; likewise.
    @ivar resumes: its flows outlive its daemon, and the next one goes on with them.
    @ivar express: its kernel hands connections off, and takes them.
    """

    datapath: str = ""
    adoption: str = ""
    resumes: bool = False
    express: bool = False


UNSAID = Ways()
"""Of a node that did not say."""


@frozen(slots=True, kw_only=True)
class Identity:
    """
    What a node says of itself in its L{Hello}.

    @ivar node: its name.
    @ivar epoch: a number it did not use in an earlier life.
    @ivar version: the newest that it and we speak.
    """

    node: str
    epoch: int
    capabilities: Capabilities
    version: int = NEWEST
    ways: Ways = UNSAID

    def arguments(self) -> dict[str, object]:
        """
        @return: what L{Hello} takes.
        """
        return {
            "version": OLDEST,
            "newest": NEWEST,
            "node": self.node,
            "epoch": self.epoch,
            "mtu": self.capabilities.mtu,
            "sack": self.capabilities.sack,
            "timestamps": self.capabilities.timestamps,
            "window_scaling": self.capabilities.window_scaling,
            "datapath": self.ways.datapath,
            "adoption": self.ways.adoption,
            "resumes": "1" if self.ways.resumes else "0",
            "express": EXPRESS_FORMAT if self.ways.express else "0",
        }


def read_identity(box: amp.AmpBox) -> Identity:
    """
    @param box: a L{Hello} from the wire.
    @raise HelloRefused: if it is of other versions; the rest is not looked at,
        for it may mean something else there.
    @raise Malformed: if it is no Hello.
    """
    version = _version(box)
    values: Mapping[str, Any] = Hello.parseArguments(box, None)
    return Identity(
        node=values["node"],
        epoch=values["epoch"],
        version=version,
        capabilities=Capabilities(
            mtu=values["mtu"],
            sack=values["sack"],
            timestamps=values["timestamps"],
            window_scaling=values["window_scaling"],
        ),
        ways=Ways(
            datapath=values["datapath"] or "",
            adoption=values["adoption"] or "",
            resumes=values["resumes"] == "1",
            express=values["express"] == EXPRESS_FORMAT,
        ),
    )


def _version(box: amp.AmpBox) -> int:
    number = Number(0xFFFF)
    if b"version" not in box:
        raise Malformed("Hello: it has no version")
    oldest = number.fromString(box[b"version"])
    newest = number.fromString(box.get(b"newest", box[b"version"]))
    version = min(newest, NEWEST)
    if version < max(oldest, OLDEST):
        raise HelloRefused(f"versions {oldest} to {newest} are not {OLDEST} to {NEWEST}")
    return version
