# SPDX-License-Identifier: MIT
"""
One connection of the control channel.

The side that dialed says L{Hello} first; the other judges it before it says
anything of itself.  Nothing else is listened to until then.
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
"""Seconds a connection may take to say Hello."""

MISSED_HEARTBEATS = 3
"""Unanswered in a row, and the peer is taken for lost."""

ANSWER_TIME = 0.25
"""Share of the time limit of a handoff after which its answer is late, see
L{btcp.control.window}: a peer asked within this share has time to answer, and a second one to be
asked."""

MUTE_TIME = 10.0
"""Seconds in which a peer whose window is full must answer one handoff at least."""

MAX_PENDING = 32 * 1024 * 1024
"""Octets of a peer's handoffs that we may leave unanswered."""

HANDOFF_SIZE = 1024
"""Octets that a handoff takes in memory, beside its request."""

_SMOOTHING = 8
"""A new sample's share of the round-trip time is one in this many (RFC 6298)."""

log = Logger()

Answer = messages.Adopted | messages.Refused


class LinkOwner(Protocol):
    """
    What a link needs of the node it belongs to.

    @ivar identity: what our own Hello says.
    @ivar heartbeat: seconds from one Ping to the next.
    @ivar handoff_time: seconds that a handoff may take.
    """

    identity: Identity
    clock: IReactorTime
    heartbeat: float
    handoff_time: float
    counters: Counter[str]

    def judge(self, link: ControlProtocol, identity: Identity) -> None:
        """
        @raise HelloRefused: if C{link} must not become a link to that node.
        """

    def link_up(self, link: ControlProtocol) -> None:
        """
        C{link.peer} was accepted.
        """

    def link_gone(self, link: ControlProtocol, why: str) -> None:
        """
        Nothing more comes from C{link}.
        """

    def handoff(self, node: str, message: messages.Handoff) -> Deferred[messages.Adopted]:
        """
        Fails with L{HandoffRefused}.
        """

    def terminated(self, node: str, records: list[messages.Terminate]) -> int:
        """
        @return: how many of the flows are unknown.
        """

    def named(self, node: str, numbers: list[int], more: bool) -> Owned:
        """
        @return: which of the flows are not here.
        """

    def report(self) -> NodeReport:
        """
        @return: how this node is.
        """

    def reported(self, node: str, report: NodeReport) -> None:
        """
        How C{node} is.
        """

    def decided(self, node: str, decision: Decision) -> None:
        """
        What C{node} heard an operator say.
        """

    def express(self, node: str, word: Word) -> None:
        """
        What C{node} says of connections that the core does not know.
        """


class ControlProtocol(BoundedAMP):
    """
    A link, or what wants to become one.

    @ivar peer: who the other side is, once its Hello was accepted.
    @ivar dialed: the node that we dialed, L{None} if the other side did.
    @ivar rtt: smoothed round-trip time in seconds, L{None} before the first.
    @ivar heard: when we asked the latest Ping that was answered.
    @ivar silent: it was dropped because nothing came, so nobody said that it is over.
    """

    def __init__(self, owner: LinkOwner, dialed: str | None = None) -> None:
        super().__init__(owner.clock, owner.counters)
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
        Say Hello if it is ours to begin.
        """
        self.limit(GREETING_TIME, "no Hello in time", "control.silent")
        self.begin()

    def begin(self) -> None:
        """
        The connection can carry boxes.
        """
        if self.dialed is not None:
            self._say_hello()

    def vouch(self, node: str) -> None:
        """
        Override: what else than its word says that the other side is C{node}?

        @raise HelloRefused: something says that it is not.
        """

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]  # see L{BoundedAMP}
        """
        The transport is gone.
        """
        if self.stage is Stage.GREETING:
            self.unwelcome(reason.value)
        super().connectionLost(reason)

    def unwelcome(self, error: BaseException | None) -> None:
        """
        The other side ended what is not a link yet, and said nothing of why.
        """
        if self.dialed is not None:
            self.complain("hung up before Hello; does it want TLS?", "control.hung-up")

    def ended(self, why: str) -> None:
        """
        The link is gone, or never was one.
        """
        self._stop_heart()
        self._owner.link_gone(self, why)

    # what the peer asks

    def boxes_received(self, boxes: list[amp.AmpBox]) -> None:
        """
        Answer Pings before anything else, and do not work off what was withdrawn.
        """
        if self.peer is not None and boxes:
            # Whatever it says, it lives, however late it is with the answers to our Pings.
            self._silent_beats = 0
            self._withdrawn = withdrawn(boxes, self.peer.node)
            boxes = sorted(boxes, key=_is_work)
        super().boxes_received(boxes)

    def asked(self, tag: bytes, name: bytes, box: amp.AmpBox) -> None:
        """
        Answer the peer's question, or note that it could not be understood.
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
        Judge the first command.
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
        Of the protocol, as it is spoken here.
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
        # Version 1 takes a reason that it does not know for a defect.
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
        A defect of ours is no reason to lose the link and all its flows.
        """
        self.counters["control.failed"] += 1
        log.failure("while answering {address}", failure, address=self.address)
        self.error(tag, b"FAILED", "see the log of this node")

    # what we ask

    def hand_off(self, message: messages.Handoff) -> Deferred[Answer]:
        """
        @return: fires with the answer, at once with C{OVERLOAD} if the peer has as many to answer
            as it can in time; never fails.
        @raise struct.error: if a field is out of its range, and ValueError if
            the request is too long.
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
        Drop the link if the peer answers no handoff at all.
        """
        if now - self._last_answer < MUTE_TIME:
            return False
        self.drop("leaves our handoffs unanswered", "control.unanswered")
        return True

    def terminate(self, records: Sequence[messages.Terminate]) -> Deferred[int]:
        """
        @param records: all of one front-end, at least one, at most
            L{MAX_RECORDS<btcp.control.fields.MAX_RECORDS>}.
        @return: how many flows the peer did not know; fails as C{callRemote}.
        """
        asked: Deferred[Any] = self.callRemote(Terminate, records=records)
        return asked.addCallback(lambda answer: answer["unknown"])

    def who_owns(self, numbers: Sequence[int], more: bool) -> Deferred[Owned]:
        """
        See L{btcp.control.ownership.Asked}.
        """
        asked: Deferred[Any] = self.callRemote(WhoOwns, numbers=numbers, more=more)
        return asked.addCallback(read_owned)

    def decide(self, decision: Decision) -> None:
        """
        Pass on what an operator said, if the peer can understand it.
        """
        self._tell(Decide, decision=decision)

    def tell_load(self) -> None:
        """
        Say how we are, if the peer can understand it.
        """
        self._tell(Load, report=self._owner.report())

    def express(self, word: Word, heard: Callable[[], None] = lambda: None) -> None:
        """
        Say something of connections that the core does not know.

        @param heard: called when the peer has taken it in.
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
        Somebody claims that this link is dead: give it one heartbeat to answer.
        """
        if self._silent_beats < MISSED_HEARTBEATS - 1:
            self._silent_beats = MISSED_HEARTBEATS - 1
            self._stop_heart()
            self._beat()

    def _taken(self, answer: dict[str, Any], id: int) -> Answer:
        adopted: messages.Adopted = answer["adopted"]
        if adopted.id != id:
            self.drop("an answer is about another flow", "control.malformed")
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
            self.drop(f"refuses us: {failure.getErrorMessage()}", "control.refused-by-peer")

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
