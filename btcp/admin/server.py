# SPDX-License-Identifier: MIT
"""
Server side of management sessions: authentication, permissions, execution of commands.
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

from btcp.admin.grammar import SyntaxProblem
from btcp.admin.handlers import Answer, CommandFailed, CommandHandlers, Outcome, plain
from btcp.admin.levels import LEVELS, Level
from btcp.admin.protocol import PAGE, Ask, More, Status
from btcp.admin.syntax import read
from btcp.amp.connection import BoundedAMP, Stage
from btcp.control.secured import Examined
from btcp.pki.names import operator_of

HANDSHAKE_TIME = 5.0
"""Seconds that the TLS handshake may take."""

IDLE_TIME = 900.0
"""Seconds without a command after which a session is closed; shells reconnect on demand."""

MAX_SESSIONS = 32
"""Maximum number of sessions at each endpoint, including those in the TLS handshake."""

log = Logger()


class Session(BoundedAMP):
    """
    A session at the management socket.

    @ivar level: the operator's level of permission.
    @ivar who: the operator's name for the log.
    """

    channel: ClassVar[str] = "manage"

    def __init__(
        self,
        commands: CommandHandlers,
        clock: IReactorTime,
        counters: Counter[str],
        sessions: dict[Session, None],
    ) -> None:
        """
        @param sessions: the open sessions of the endpoint; this one adds and removes itself.
        """
        super().__init__(clock, counters)
        self.level = Level.ADMIN
        self.who = "the management socket"
        self._commands = commands
        self._sessions = sessions
        self._pieces: Iterator[bytes] = iter(())
        self._ready = b""
        self._working: Deferred[Outcome] | None = None
        self._refusal = ""
        sessions[self] = None

    def connectionMade(self) -> None:
        """
        Accept commands at once: the socket's permissions are the authentication.
        """
        self.welcome()

    def welcome(self) -> None:
        """
        Accept commands of an authenticated operator.
        """
        self.stage = Stage.UP
        self._await_command()

    def ended(self, why: str) -> None:
        """
        Cancel the command in progress.  See L{BoundedAMP.ended}.
        """
        self._sessions.pop(self, None)
        self._pieces = iter(())
        working, self._working = self._working, None
        if working is not None:
            working.cancel()

    def _await_command(self) -> None:
        if not self._refusal:
            self.limit(IDLE_TIME, "idle", "manage.idle")

    # -- commands ---------------------------------------------------------------

    def asked(self, tag: bytes, name: bytes, box: amp.AmpBox) -> None:
        """
        Process an AMP command; a violation of the protocol drops the session.
        """
        if self._working is not None:
            self.drop("sent a command before the answer to the last one", "manage.impatient")
        elif name == More.commandName:
            self.answer(tag, More.makeResponse(self._piece(), self))
            self._await_command()
        elif name == Ask.commandName:
            self._ask(tag, box)
        else:
            self.complain(f"unknown command {name[:32]!r}", "manage.unknown-command")
            self.error(tag, amp.UNHANDLED_ERROR_CODE, "unknown command")

    def _ask(self, tag: bytes, box: amp.AmpBox) -> None:
        try:
            line = box[b"line"].decode()
        except (KeyError, UnicodeDecodeError):
            self.drop("sent a command without a line", "manage.malformed")
            return
        if not self._refusal:
            self.limit(None)
        answer = self._execute(line)
        if isinstance(answer, Outcome):
            self._send(answer, tag)
            return
        self._working = Deferred.fromCoroutine(_begun(answer))
        self._working.addErrback(_failed, line)
        self._working.addCallback(self._send, tag)

    def _execute(self, line: str) -> Answer:
        try:
            command = read(line)
        except SyntaxProblem as error:
            said = {"error": str(error), "column": error.column, "length": error.length}
            return plain(said, Status.MISUSED)
        refusal = self._refusal
        if self.level < command.form.level:
            needed = command.form.level
            refusal = f"{command.form.name} needs level {needed}; this session has {self.level}"
        if refusal:
            self.counters["manage.not-allowed"] += 1
            return plain({"error": refusal}, Status.NOT_ALLOWED)
        if command.form.level > Level.USER:
            log.info("{who}: {line}", who=self.who, line=line)
        try:
            return self._commands.execute(command, self.level)
        except Exception:
            return _failed(Failure(), line)

    def _send(self, outcome: Outcome, tag: bytes) -> None:
        self._working = None
        if self.stage is not Stage.UP:
            return
        self._pieces, self._ready = outcome.pieces, b""
        answer = {"status": int(outcome.status), **self._piece()}
        self.answer(tag, Ask.makeResponse(answer, self))
        self._await_command()

    def _piece(self) -> dict[str, object]:
        """
        Return the next piece of the answer, at most L{PAGE} octets.
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
    if failure.check(CommandFailed):
        return plain({"error": failure.getErrorMessage()}, Status.FAILED)
    if failure.check(CancelledError):
        return plain({"error": "cancelled: the session has ended"}, Status.FAILED)
    log.failure("command {line!r} raised an exception", failure, line=line)
    return plain({"error": "internal error; see the log of the node"}, Status.FAILED)


@implementer(IHandshakeListener)
class SecuredSession(Examined, Session):
    """
    A session at the TLS port, authenticated by the operator's certificate.
    """

    def connectionMade(self) -> None:
        """
        Wait for the TLS handshake.
        """
        self.limit(HANDSHAKE_TIME, "no TLS handshake in time", "manage.silent")

    def handshakeCompleted(self) -> None:
        """
        Determine name and level from the certificate, which TLS has verified.
        """
        self._shaken = True
        found = operator_of(self.certificate())
        if found is None or found[1] not in LEVELS:
            self._refusal = "the certificate names no operator"
            self.stage = Stage.UP  # answers with the refusal until HANDSHAKE_TIME is over
            self.complain(f"refused: {self._refusal}", "manage.refused-tls.no-operator")
            return
        name, level = found
        self.level, self.who = LEVELS[level], f"{name} ({level})"
        self.welcome()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]  # see BoundedAMP
        """
        Log the reason if the TLS handshake failed.
        """
        if self.stage is Stage.GREETING:
            flaw = self.flaw_of(reason.value)
            if flaw is not None:
                self.complain(f"refused: {flaw.words}", f"manage.refused-tls.{flaw.name}")
        super().connectionLost(reason)


class Sessions(Factory):
    """
    Factory of sessions, at most L{MAX_SESSIONS} at a time.
    """

    noisy = False

    def __init__(
        self,
        kind: type[Session],
        commands: CommandHandlers,
        clock: IReactorTime,
        counters: Counter[str],
    ) -> None:
        self._kind = kind
        self._commands = commands
        self._clock = clock
        self._counters = counters
        self._sessions: dict[Session, None] = {}  # the oldest first

    def buildProtocol(self, addr: Any) -> Session | None:
        """
        Make a session.

        @return: L{None}, which closes the connection, if there are too many.
        """
        if len(self._sessions) >= MAX_SESSIONS:
            self._counters["manage.crowded"] += 1
            if not self._make_room():
                return None
        session = self._kind(self._commands, self._clock, self._counters, self._sessions)
        session.factory = self
        return session

    def _make_room(self) -> bool:
        """
        Drop the session that has been in the TLS handshake for the longest time: connections that
        never complete the handshake must not exclude operators.

        @return: whether there was such a session.
        """
        for session in self._sessions:
            if session.stage is Stage.GREETING:
                session.drop("displaced during the handshake", "manage.silent")
                return True
        return False

    def close(self) -> list[Deferred[None]]:
        """
        Close all sessions.

        @return: a L{Deferred} for each, which fires when its connection is closed.
        """
        sessions = list(self._sessions)
        for session in sessions:
            session.close("this node is stopping")
        return [session.lost for session in sessions]
