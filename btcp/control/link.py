# SPDX-License-Identifier: MIT
"""
One connection of the control channel.

The side that dialed sends L{Hello} first; the other side verifies it before it sends its own.  All
other commands are refused until then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from math import inf
from typing import Any, ClassVar, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.protocols import amp
from twisted.python.failure import Failure

from btcp.amp.connection import BoundedAMP, Stage
from btcp.amp.warnings import Warnings
from btcp.cluster.state import Decision, NodeReport
from btcp.control.commands import (
    OLDEST,
    Decide,
    Handoff,
    HandoffRefused,
    Hello,
    HelloRefused,
    Identity,
    Load,
    Ping,
    Terminate,
    read_identity,
)
from btcp.control.express import Express, Word
from btcp.control.fields import Malformed
from btcp.control.ownership import WhoOwns, read_owned
from btcp.control.window import Window
from btcp.control.withdrawal import withdrawn
from btcp.handoff import messages
from btcp.handoff.messages import Reason
from btcp.handoff.reconcile import Owned

GREETING_TIME = 5.0
"""Seconds that a connection may take until Hello is accepted."""

MISSED_HEARTBEATS = 3
"""Number of consecutive unanswered heartbeats after which the peer counts as lost."""

ANSWER_TIME = 0.25
"""Share of a handoff's timeout after which its answer counts as late, see L{btcp.control.window}.
The rest of the timeout leaves time to try another node."""

MUTE_TIME = 10.0
"""Seconds within which a peer whose window is full must answer at least one handoff."""

MAX_PENDING = 32 * 1024 * 1024
"""Maximum octets of a peer's handoffs that this node has not answered."""

HANDOFF_SIZE = 1024
"""Octets that a handoff occupies in memory, in addition to its request."""

_SMOOTHING = 8
"""Reciprocal of a new sample's weight in the smoothed round-trip time (RFC 6298)."""

log = Logger()

Answer = messages.Adopted | messages.Refused


class LinkOwner(Protocol):
    """
    The node that a link belongs to.

    @ivar identity: the content of this node's Hello.
    @ivar heartbeat: seconds between heartbeats.
    @ivar handoff_time: timeout of a handoff, in seconds.
    @ivar warnings: the rate-limited log that all links share.
    """

    identity: Identity
    clock: IReactorTime
    heartbeat: float
    handoff_time: float
    counters: Counter[str]
    warnings: Warnings

    def judge(self, link: ControlProtocol, identity: Identity) -> None:
        """
        Decide whether a peer's Hello is acceptable.

        @raise HelloRefused: if C{link} must not become a link to that node.
        """

    def link_up(self, link: ControlProtocol) -> None:
        """
        Process a link whose Hello was accepted; C{link.peer} is set.
        """

    def link_gone(self, link: ControlProtocol, why: str) -> None:
        """
        Process the end of a link, or of a connection that never became one.
        """

    def handoff(self, node: str, message: messages.Handoff) -> Deferred[messages.Adopted]:
        """
        Process a handoff; fails with L{HandoffRefused}.
        """

    def terminated(self, node: str, records: list[messages.Terminate]) -> int:
        """
        Process the notification that flows have ended.

        @return: the number of flows that are unknown here.
        """

    def named(self, node: str, numbers: list[int], more: bool) -> Owned:
        """
        Process a part of C{node}'s list of flows.

        @return: the flows that this node does not have.
        """

    def report(self) -> NodeReport:
        """
        Return this node's report of itself.
        """

    def reported(self, node: str, report: NodeReport) -> None:
        """
        Process C{node}'s report of itself.
        """

    def decided(self, node: str, decision: Decision) -> None:
        """
        Process an operator's decision that C{node} has sent.
        """

    def express(self, node: str, word: Word) -> None:
        """
        Process C{node}'s message about connections handed off by the kernel.
        """


class ControlProtocol(BoundedAMP):
    """
    A connection to a peer, which becomes a link when both sides have accepted each other's Hello.

    @ivar peer: the peer's identity, once its Hello has been accepted.
    @ivar dialed: the node that this side dialed; L{None} if the peer dialed.
    @ivar rtt: smoothed round-trip time in seconds; L{None} before the first sample.
    @ivar heard: when the latest answered heartbeat was sent, in monotonic seconds.
    @ivar silent: whether the link was dropped because the peer stopped answering.  The peer's host
        has then not closed the connection.
    """

    def __init__(self, owner: LinkOwner, dialed: str | None = None) -> None:
        super().__init__(owner.clock, owner.counters, owner.warnings)
        self.dialed = dialed
        self.peer: Identity | None = None
        self.rtt: float | None = None
        self.heard = -inf
        self.silent = False
        self._owner = owner
        self._window = Window(owner.handoff_time * ANSWER_TIME, owner.clock.seconds())
        self._last_answer = owner.clock.seconds()
        self._withdrawn: frozenset[bytes] = frozenset()
        self._pending = 0
        self._silent_beats = 0
        self._heart: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """
        Start the deadline for Hello, and send Hello if this side dialed.
        """
        self.limit(GREETING_TIME, "no Hello in time", "control.silent")
        self.begin()

    def begin(self) -> None:
        """
        Send Hello if this side dialed.  Called when the connection can carry boxes.
        """
        if self.dialed is not None:
            self._say_hello()

    def vouch(self, node: str) -> None:
        """
        Verify that the peer is C{node}, as it claims.  To be overridden by authenticated
        connections; this method accepts every claim.

        @raise HelloRefused: if it is not.
        """

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]  # see L{BoundedAMP}
        """
        Process the close of the transport.
        """
        if self.stage is Stage.GREETING:
            self.unwelcome(reason.value)
        super().connectionLost(reason)

    def unwelcome(self, error: BaseException | None) -> None:
        """
        Report that the peer closed the connection before Hello was accepted, without a reason.
        """
        if self.dialed is not None:
            self.complain("hung up before Hello; does it want TLS?", "control.hung-up")

    def ended(self, why: str) -> None:
        """
        Notify the owner of the end.  See L{BoundedAMP.ended}.
        """
        self._stop_heart()
        self._owner.link_gone(self, why)

    # commands of the peer

    def boxes_received(self, boxes: list[amp.AmpBox]) -> None:
        """
        Process a batch of boxes: heartbeats first, and without handoffs that a later box of the
        batch withdraws.
        """
        if self.peer is not None and boxes:
            # Any box shows that the peer is alive, even if its answers to heartbeats are late.
            self._silent_beats = 0
            self._withdrawn = withdrawn(boxes, self.peer.node)
            boxes = sorted(boxes, key=_is_work)
        super().boxes_received(boxes)

    def asked(self, tag: bytes, name: bytes, box: amp.AmpBox) -> None:
        """
        Execute a command of the peer.  Invalid commands are counted and answered with an error.
        """
        if self.peer is None:
            self._greeted(tag, name, box)
            return
        answer = self._answers.get(name)
        if answer is None:
            self.complain(f"unknown command {name[:32]!r}", "control.unknown-command")
            self.error(tag, amp.UNHANDLED_ERROR_CODE, "unknown command")
            return
        try:
            answer(self, self.peer.node, tag, box)
        except Malformed as error:
            self.complain(str(error), "control.malformed")
            self.error(tag, b"MALFORMED", str(error))

    def _greeted(self, tag: bytes, name: bytes, box: amp.AmpBox) -> None:
        """
        Process the first command, which has to be an acceptable Hello.
        """
        try:
            if name != Hello.commandName:
                raise HelloRefused(f"{name[:32]!r} before Hello")
            identity = read_identity(box)
            self.vouch(identity.node)
            self._owner.judge(self, identity)
        except (HelloRefused, Malformed) as error:
            counter = error.counter if isinstance(error, HelloRefused) else HelloRefused.counter
            self.complain(f"refused: {error}", counter)
            self.error(tag, b"REFUSED", str(error))
            self.close(str(error))
            return
        self.limit(None)
        self.answer(tag, amp.AmpBox())
        if self.dialed is None:
            self._say_hello()
        self.peer = identity
        self.stage = Stage.UP
        log.info("link to {node} at {address}", node=identity.node, address=self.address)
        self._beat()
        self._owner.link_up(self)

    @property
    def version(self) -> int:
        """
        The version of the protocol in use on this link.
        """
        return self.peer.version if self.peer is not None else OLDEST

    def _answer_ping(self, node: str, tag: bytes, box: amp.AmpBox) -> None:
        self.answer(tag, amp.AmpBox())

    def _answer_handoff(self, node: str, tag: bytes, box: amp.AmpBox) -> None:
        if tag in self._withdrawn:
            self.counters["control.withdrawn"] += 1
            self.error(tag, b"REFUSED", Reason.ABANDONED.value)
            return
        message = Handoff.parseArguments(box, self)["message"]
        size = len(message.request) + HANDOFF_SIZE
        if self._pending + size > MAX_PENDING:
            self.counters["control.overload"] += 1
            self.error(tag, b"REFUSED", Reason.OVERLOAD.value)
            return
        self._pending += size
        try:
            adoption = self._owner.handoff(node, message)
        except Exception:  # see _fail
            self._refused(Failure(), tag, size)
            return
        adoption.addCallback(self._adopted, tag, size)
        adoption.addErrback(self._refused, tag, size)

    def _adopted(self, adopted: messages.Adopted, tag: bytes, size: int) -> None:
        self.answer(tag, Handoff.makeResponse({"adopted": adopted}, self))
        self._pending -= size

    def _refused(self, failure: Failure, tag: bytes, size: int) -> None:
        self._pending -= size
        if isinstance(failure.value, HandoffRefused):
            self.error(tag, b"REFUSED", self._known(failure.value.reason).value)
        else:
            self._fail(tag, failure)

    def _answer_terminate(self, node: str, tag: bytes, box: amp.AmpBox) -> None:
        records = Terminate.parseArguments(box, self)["records"]
        try:
            unknown = self._owner.terminated(node, records)
        except Exception:  # see _fail
            self._fail(tag, Failure())
        else:
            self.answer(tag, Terminate.makeResponse({"unknown": unknown}, self))

    def _known(self, reason: Reason) -> Reason:
        # Version 1 treats unknown reasons as a protocol error.
        old = self.version < 2 and reason is Reason.DRAINING
        return Reason.STOPPING if old else reason

    def _answer_who_owns(self, node: str, tag: bytes, box: amp.AmpBox) -> None:
        asked = WhoOwns.parseArguments(box, self)
        try:
            owned = self._owner.named(node, asked["numbers"], asked["more"])
        except Exception:  # see _fail
            self._fail(tag, Failure())
        else:
            values = {"closed": owned.closed, "unknown": owned.unknown}
            self.answer(tag, WhoOwns.makeResponse(values, self))

    def _answer_load(self, node: str, tag: bytes, box: amp.AmpBox) -> None:
        report = Load.parseArguments(box, self)["report"]
        self._take_in(tag, self._owner.reported, node, report)

    def _answer_decide(self, node: str, tag: bytes, box: amp.AmpBox) -> None:
        decision = Decide.parseArguments(box, self)["decision"]
        self._take_in(tag, self._owner.decided, node, decision)

    def _answer_express(self, node: str, tag: bytes, box: amp.AmpBox) -> None:
        word = Express.parseArguments(box, self)["word"]
        self._take_in(tag, self._owner.express, node, word)

    def _take_in(self, tag: bytes, take: Callable[[str, Any], None], node: str, what: Any) -> None:
        try:
            take(node, what)
        except Exception:  # see _fail
            self._fail(tag, Failure())
        else:
            self.answer(tag, amp.AmpBox())

    _answers: ClassVar[dict[bytes, Callable[[ControlProtocol, str, bytes, amp.AmpBox], None]]] = {
        Handoff.commandName: _answer_handoff,
        Terminate.commandName: _answer_terminate,
        Ping.commandName: _answer_ping,
        Load.commandName: _answer_load,
        Decide.commandName: _answer_decide,
        WhoOwns.commandName: _answer_who_owns,
        Express.commandName: _answer_express,
    }

    def _fail(self, tag: bytes, failure: Failure) -> None:
        """
        Log an exception of this node and answer with an error; the link and its flows continue.
        """
        self.counters["control.failed"] += 1
        log.failure(
            "exception while processing a command of {address}", failure, address=self.address
        )
        self.error(tag, b"FAILED", "see the log of this node")

    # commands to the peer

    def hand_off(self, message: messages.Handoff) -> Deferred[Answer]:
        """
        Send a handoff.

        @return: fires with the answer; at once with the refusal C{OVERLOAD} if the window of
            outstanding handoffs is full; never fails.
        @raise struct.error: if a field is out of its range.
        @raise ValueError: if the request is too long.
        """
        now = self.clock.seconds()
        if self.stage is not Stage.UP:
            return succeed(messages.Refused(id=message.id, reason=Reason.LINK_LOST))
        if not self._window.outstanding:
            self._last_answer = now
        if not self._window.take(now):
            if self._is_mute(now):
                return succeed(messages.Refused(id=message.id, reason=Reason.LINK_LOST))
            self.counters["control.window-full"] += 1
            return succeed(messages.Refused(id=message.id, reason=Reason.OVERLOAD))
        asked: Deferred[Any] = self.callRemote(Handoff, message=message)
        asked.addBoth(self._answered, now)
        asked.addCallbacks(
            self._taken, self._not_taken, callbackArgs=(message.id,), errbackArgs=(message.id,)
        )
        return asked

    def _answered(self, result: object, asked: float) -> object:
        self._last_answer = self.clock.seconds()
        self._window.give(asked, self._last_answer)
        return result

    def _is_mute(self, now: float) -> bool:
        """
        Drop the link if the peer has answered no handoff for L{MUTE_TIME}.

        @return: whether it was dropped.
        """
        if now - self._last_answer < MUTE_TIME:
            return False
        self.drop(f"answered no handoff for {MUTE_TIME:g} s", "control.unanswered")
        return True

    def terminate(self, records: Sequence[messages.Terminate]) -> Deferred[int]:
        """
        Notify the peer that flows have ended.

        @param records: at least one and at most L{MAX_RECORDS<btcp.control.fields.MAX_RECORDS>},
            all with the same front-end.
        @return: fires with the number of flows that the peer does not know; fails as
            C{callRemote}.
        """
        asked: Deferred[Any] = self.callRemote(Terminate, records=records)
        return asked.addCallback(lambda answer: answer["unknown"])

    def who_owns(self, numbers: Sequence[int], more: bool) -> Deferred[Owned]:
        """
        Send a part of the list of shared flows.  See L{btcp.control.ownership.Asked}.
        """
        asked: Deferred[Any] = self.callRemote(WhoOwns, numbers=numbers, more=more)
        return asked.addCallback(read_owned)

    def decide(self, decision: Decision) -> None:
        """
        Send an operator's decision, if the peer's version has the command.
        """
        self._tell(Decide, decision=decision)

    def tell_load(self) -> None:
        """
        Send this node's report of itself, if the peer's version has the command.
        """
        self._tell(Load, report=self._owner.report())

    def express(self, word: Word, heard: Callable[[], None] = lambda: None) -> None:
        """
        Send a message about connections handed off by the kernel.

        @param heard: called when the peer has confirmed it.
        """
        self._tell(Express, heard, word=word)

    def _tell(
        self,
        command: type[amp.Command],
        heard: Callable[[], None] = lambda: None,
        **arguments: object,
    ) -> None:
        if self.stage is Stage.UP and self.version >= 2:
            told: Deferred[Any] = self.callRemote(command, **arguments)
            told.addCallbacks(lambda _: heard(), self._not_told, errbackArgs=(command,))

    def _not_told(self, failure: Failure, command: type[amp.Command]) -> None:
        if self.stage is Stage.UP:
            said = f"{command.__name__}: {failure.getErrorMessage()}"
            self.complain(said, "control.told-error")

    def probe(self) -> None:
        """
        Test the link, because the peer has dialed again: drop it unless a heartbeat is answered
        within one interval.
        """
        if self._silent_beats < MISSED_HEARTBEATS - 1:
            self._silent_beats = MISSED_HEARTBEATS - 1
            self._stop_heart()
            self._beat()

    def _taken(self, answer: dict[str, Any], id: int) -> Answer:
        adopted: messages.Adopted = answer["adopted"]
        if adopted.id != id:
            self.drop("answered a handoff with the number of another one", "control.malformed")
            return messages.Refused(id=id, reason=Reason.LINK_LOST)
        return adopted

    def _not_taken(self, failure: Failure, id: int) -> messages.Refused:
        error = failure.value
        if isinstance(error, HandoffRefused):
            return messages.Refused(id=id, reason=error.reason)
        if self.stage is Stage.GONE:
            return messages.Refused(id=id, reason=Reason.LINK_LOST)
        self.complain(f"Handoff: {error}", "control.handoff-error")
        return messages.Refused(id=id, reason=Reason.UNREACHABLE)

    def _say_hello(self) -> None:
        hello: Deferred[Any] = self.callRemote(Hello, **self._owner.identity.arguments())
        hello.addErrback(self._hello_refused)

    def _hello_refused(self, failure: Failure) -> None:
        if self.stage is not Stage.GONE:
            self.drop(f"refuses this node: {failure.getErrorMessage()}", "control.refused-by-peer")

    def _beat(self) -> None:
        if self._silent_beats >= MISSED_HEARTBEATS:
            self.silent = True
            self.drop("answers no heartbeat", "control.heartbeat-lost")
            return
        self._silent_beats += 1
        self._heart = self.clock.callLater(self._owner.heartbeat, self._beat)
        ping: Deferred[Any] = self.callRemote(Ping)
        ping.addCallbacks(self._alive, lambda _: None, callbackArgs=(self.clock.seconds(),))
        self.tell_load()

    def _stop_heart(self) -> None:
        if self._heart is not None and self._heart.active():
            self._heart.cancel()

    def _alive(self, _: object, asked: float) -> None:
        self._silent_beats = 0
        self.heard = asked
        sample = self.clock.seconds() - asked
        self.rtt = sample if self.rtt is None else self.rtt + (sample - self.rtt) / _SMOOTHING


def _is_work(box: amp.AmpBox) -> bool:
    return box.get(amp.COMMAND) != Ping.commandName
