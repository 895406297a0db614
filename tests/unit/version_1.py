# SPDX-License-Identifier: MIT
"""
A node that speaks version 1 of the control protocol and nothing else, as it was when
version 2 came.  Not to be changed: nodes like this are out there.

It shares no code with BTCP: the layouts are written down once more.
"""

from __future__ import annotations

from struct import Struct
from typing import Any, ClassVar

from twisted.internet.defer import Deferred
from twisted.protocols import amp

HELLO = {
    b"version": b"1",
    b"epoch": b"7",
    b"mtu": b"1500",
    b"sack": b"1",
    b"timestamps": b"1",
    b"window_scaling": b"1",
}
STATE = Struct("!QIIHHbbBqqH")
ADOPTED = Struct("!QIIH4s")
RECORD = Struct("!QBII")
REASONS = {"no-listener", "accept-queue-full", "reset-by-origin", "tuple-in-use", "overload"} | {
    "options-not-kept",
    "unreachable",
    "stopping",
}
CODES = {1, 2, 3, 4, 5, 6, 7, 8, 16, 17, 18, 19, 20}


class Refused(Exception):
    """
    As both Hello and Handoff are refused.
    """


class Hello(amp.Command):
    arguments: ClassVar[Any] = [(key, amp.String()) for key in (*HELLO, b"node")]
    errors: ClassVar[Any] = {Refused: b"REFUSED"}


class Handoff(amp.Command):
    arguments: ClassVar[Any] = [
        (key, amp.String()) for key in (b"listener", b"ends", b"state", b"request")
    ]
    response: ClassVar[Any] = [(b"adopted", amp.String())]
    errors: ClassVar[Any] = {Refused: b"REFUSED"}


class Terminate(amp.Command):
    arguments: ClassVar[Any] = [(b"front", amp.String()), (b"records", amp.String())]
    response: ClassVar[Any] = [(b"unknown", amp.String())]


class Ping(amp.Command):
    pass


class Version1(amp.AMP):
    """
    @ivar dials: whether it says Hello first.
    @ivar said: the commands it was asked, in order.
    @ivar strange: those that it does not know.
    @ivar adopted: the numbers of the flows it was given.
    @ivar ended: the records it was told.
    """

    def __init__(self, node: str, dials: bool) -> None:
        super().__init__()
        self.node = node
        self.dials = dials
        self.said: list[bytes] = []
        self.strange: list[bytes] = []
        self.adopted: list[int] = []
        self.ended: list[tuple[int, int]] = []
        self.up = False

    def connectionMade(self) -> None:
        super().connectionMade()
        if self.dials:
            self._hello()

    def connectionLost(self, reason: Any) -> None:  # type: ignore[override]
        super().connectionLost(reason)
        self.up = False

    def _hello(self) -> None:
        said: Deferred[Any] = self.callRemote(
            Hello, node=self.node.encode(), **{key.decode(): value for key, value in HELLO.items()}
        )
        said.addErrback(lambda _: None)

    def ampBoxReceived(self, box: amp.AmpBox) -> None:
        name = box.get(b"_command")
        if name is not None:
            self.said.append(name)
            if name not in (b"Hello", b"Handoff", b"Terminate", b"Ping"):
                self.strange.append(name)
        super().ampBoxReceived(box)

    @Hello.responder
    def hello(self, version: bytes, **others: bytes) -> dict[str, object]:
        """
        Another version is refused, whatever else it says.
        """
        if version != b"1":
            raise Refused(f"version {version!r} is not 1")
        self.up = True
        if not self.dials:
            self._hello()
        return {}

    @Handoff.responder
    def handoff(
        self, listener: bytes, ends: bytes, state: bytes, request: bytes
    ) -> dict[str, object]:
        """
        All are welcome.
        """
        number, irs, iss, *_ = STATE.unpack(state)
        assert len(ends) == 12
        self.adopted.append(number)
        return {"adopted": ADOPTED.pack(number, 1000, 0, 8080, bytes((192, 0, 2, 11)))}

    @Terminate.responder
    def terminate(self, front: bytes, records: bytes) -> dict[str, object]:
        for number, code, _, _ in RECORD.iter_unpack(records):
            assert code in CODES
            self.ended.append((number, code))
        return {"unknown": b"0"}

    @Ping.responder
    def ping(self) -> dict[str, object]:
        return {}

    # what it asks

    def hand_off(self, number: int, request: bytes) -> Deferred[Any]:
        """
        @return: fires with the back-end's initial sequence number, or with what it said to
            refuse, which must be one of L{REASONS}.
        """
        end = bytes((198, 51, 100, 7))
        ends = (40_000).to_bytes(2, "big") + end + (80).to_bytes(2, "big") + bytes((192, 0, 2, 11))
        state = STATE.pack(number, 1, 2, 64240, 1460, 7, 7, 1, 5, 6, 0)
        asked: Deferred[Any] = self.callRemote(
            Handoff, listener=b"web", ends=ends, state=state, request=request
        )
        return asked.addCallbacks(lambda answer: ADOPTED.unpack(answer["adopted"])[1], _words)

    def end(self, number: int, code: int) -> Deferred[Any]:
        """
        Say that a flow of its own is over.
        """
        record = RECORD.pack(number, code, 0, 0)
        asked: Deferred[Any] = self.callRemote(Terminate, front=self.node.encode(), records=record)
        return asked


def _words(failure: Any) -> str:
    failure.trap(Refused)
    words = str(failure.value)
    assert words in REASONS, words
    return words
