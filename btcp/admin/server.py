# SPDX-License-Identifier: MIT
"""
The node's side of a shell: one connection, and who may make one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Iterator
from typing import Any, ClassVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IHandshakeListener, IReactorTime
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.protocols import amp
from twisted.python.failure import Failure
from zope.interface import implementer

from btcp.admin.grammar import Misunderstood
from btcp.admin.handlers import Answer, OrderFailed, Orders, Outcome, plain
from btcp.admin.levels import LEVELS, Level
from btcp.admin.protocol import PAGE, Ask, More, Status
from btcp.admin.syntax import read
from btcp.amp.connection import BoundedAMP, Stage
from btcp.control.secured import Examined
from btcp.pki.names import operator_of

HANDSHAKE_TIME = 5.0
"""Seconds that TLS may take."""

IDLE_TIME = 900.0
"""Seconds between two questions, or the connection is closed; shells come back by themselves."""

MAX_SESSIONS = 32
"""At a time and of each kind, those included that have not said who they are."""

log = Logger()


class Session(BoundedAMP):
    """
    Somebody at the management socket.

    @ivar level: what they may do.
    @ivar who: for the log.
    """

    channel: ClassVar[str] = "manage"

    def __init__(
        self,
        orders: Orders,
        clock: IReactorTime,
        counters: Counter[str],
        sessions: dict[Session, None],
    ) -> None:
        """
        @param sessions: those that stand, in which this one is until it ends.
        """
        super().__init__(clock, counters)
        self.level = Level.ADMIN
        self.who = "the management socket"
        self._orders = orders
        self._sessions = sessions
        self._pieces: Iterator[bytes] = iter(())
        self._ready = b""
        self._working: Deferred[Outcome] | None = None
        self._refusal = ""
        sessions[self] = None

    def connectionMade(self) -> None:
        """
        Whoever can open the socket may ask.
        """
        self.welcome()

    def welcome(self) -> None:
        """
        It is known who they are.
        """
        self.stage = Stage.UP
        self._await_question()

    def ended(self, why: str) -> None:
        """
        They are gone, and wait for nothing.
        """
        self._sessions.pop(self, None)
        self._pieces = iter(())
        working, self._working = self._working, None
        if working is not None:
            working.cancel()

    def _await_question(self) -> None:
        if not self._refusal:
            self.limit(IDLE_TIME, "asks nothing", "manage.idle")

    # -- questions ------------------------------------------------------------

    def asked(self, tag: bytes, name: bytes, box: amp.AmpBox) -> None:
        """
        Answer, or drop who makes no sense.
        """
        if self._working is not None:
            self.drop("asks again before it has its answer", "manage.impatient")
        elif name == More.commandName:
            self.answer(tag, More.makeResponse(self._piece(), self))
            self._await_question()
        elif name == Ask.commandName:
            self._ask(tag, box)
        else:
            self.complain(f"unknown command {name[:32]!r}", "manage.unknown-command")
            self.error(tag, amp.UNHANDLED_ERROR_CODE, "unknown command")

    def _ask(self, tag: bytes, box: amp.AmpBox) -> None:
        try:
            line = box[b"line"].decode()
        except (KeyError, UnicodeDecodeError):
            self.drop("asks without a line", "manage.malformed")
            return
        if not self._refusal:
            self.limit(None)
        answer = self._judge(line)
        if isinstance(answer, Outcome):
            self._say(answer, tag)
            return
        self._working = Deferred.fromCoroutine(_begun(answer))
        self._working.addErrback(_failed, line)
        self._working.addCallback(self._say, tag)

    def _judge(self, line: str) -> Answer:
        try:
            order = read(line)
        except Misunderstood as error:
            said = {"error": str(error), "column": error.column, "length": error.length}
            return plain(said, Status.MISUSED)
        refusal = self._refusal
        if self.level < order.form.level:
            refusal = f"{order.form.name} is for {order.form.level}, you are {self.level}"
        if refusal:
            self.counters["manage.not-allowed"] += 1
            return plain({"error": refusal}, Status.NOT_ALLOWED)
        if order.form.level > Level.USER:
            log.info("{who}: {line}", who=self.who, line=line)
        try:
            return self._orders.carry_out(order, self.level)
        except Exception:
            return _failed(Failure(), line)

    def _say(self, outcome: Outcome, tag: bytes) -> None:
        self._working = None
        if self.stage is not Stage.UP:
            return
        self._pieces, self._ready = outcome.pieces, b""
        answer = {"status": int(outcome.status), **self._piece()}
        self.answer(tag, Ask.makeResponse(answer, self))
        self._await_question()

    def _piece(self) -> dict[str, object]:
        """
        @return: the next one, no longer than a page.
        """
        if not self._ready:
            self._ready = next(self._pieces, b"")
        text, self._ready = self._ready[:PAGE], self._ready[PAGE:]
        if not self._ready:
            self._ready = next(self._pieces, b"")
        return {"text": text, "more": bool(self._ready)}


async def _begun(answer: Awaitable[Outcome]) -> Outcome:
    return await answer


def _failed(failure: Failure, line: str) -> Outcome:
    if failure.check(OrderFailed):
        return plain({"error": failure.getErrorMessage()}, Status.FAILED)
    if failure.check(CancelledError):
        return plain({"error": "nobody waits for it any more"}, Status.FAILED)
    log.failure("{line}", failure, line=line)
    return plain({"error": "a defect; see the log of the node"}, Status.FAILED)


@implementer(IHandshakeListener)
class SecuredSession(Examined, Session):
    """
    Somebody who shows a certificate.
    """

    def connectionMade(self) -> None:
        """
        The handshake comes first.
        """
        self.limit(HANDSHAKE_TIME, "no TLS handshake in time", "manage.silent")

    def handshakeCompleted(self) -> None:
        """
        They have the key of a certificate that our authority signed.
        """
        self._shaken = True
        found = operator_of(self.certificate())
        if found is None or found[1] not in LEVELS:
            self._refusal = "the certificate names no operator"
            self.stage = Stage.UP  # until the time for the handshake is over
            self.complain(f"refused: {self._refusal}", "manage.refused-tls.no-operator")
            return
        name, level = found
        self.level, self.who = LEVELS[level], f"{name} ({level})"
        self.welcome()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]  # see BoundedAMP
        """
        The transport is gone.
        """
        if self.stage is Stage.GREETING:
            flaw = self.flaw_of(reason.value)
            if flaw is not None:
                self.complain(f"refused: {flaw.words}", f"manage.refused-tls.{flaw.name}")
        super().connectionLost(reason)


class Sessions(Factory):
    """
    Makes one session a connection, up to a number.
    """

    noisy = False

    def __init__(
        self, kind: type[Session], orders: Orders, clock: IReactorTime, counters: Counter[str]
    ) -> None:
        self._kind = kind
        self._orders = orders
        self._clock = clock
        self._counters = counters
        self._sessions: dict[Session, None] = {}  # the oldest first

    def buildProtocol(self, addr: Any) -> Session | None:
        """
        @return: L{None} closes the connection.
        """
        if len(self._sessions) >= MAX_SESSIONS:
            self._counters["manage.crowded"] += 1
            if not self._make_room():
                return None
        session = self._kind(self._orders, self._clock, self._counters, self._sessions)
        session.factory = self
        return session

    def _make_room(self) -> bool:
        """
        Give up whoever has been at the handshake for longest: those who do not mean to end it
        must not keep others out.
        """
        for session in self._sessions:
            if session.stage is Stage.GREETING:
                session.drop("others want its place", "manage.silent")
                return True
        return False

    def close(self) -> list[Deferred[None]]:
        """
        End all sessions.

        @return: each fires when one is gone.
        """
        sessions = list(self._sessions)
        for session in sessions:
            session.close("this node stops")
        return [session.lost for session in sessions]
