# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.admin.server}, L{btcp.admin.endpoints} and L{btcp.admin.client}.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from pathlib import Path
from socket import AF_UNIX, SOCK_STREAM, socket
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import inlineCallbacks
from twisted.internet.task import deferLater
from twisted.internet.testing import StringTransport
from twisted.internet.threads import deferToThread
from twisted.protocols import amp
from twisted.trial.unittest import SynchronousTestCase, TestCase

from btcp.admin.client import Reply, Unreachable, local, query_now
from btcp.admin.endpoints import SocketInUse, SocketService, remove_stale
from btcp.admin.grammar import LONGEST_LINE
from btcp.admin.levels import Level
from btcp.admin.protocol import PAGE, Status
from btcp.admin.server import IDLE_TIME, MAX_SESSIONS, Session, Sessions
from tests.unit.admin_case import Scene


class Transport(StringTransport):
    """
    @ivar aborted: the connection was cut.
    """

    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True
        self.loseConnection()

    def writeSequence(self, data: Any) -> None:
        for each in data:
            self.write(each)


class SessionTests(SynchronousTestCase):
    """
    Tests for L{Session}.
    """

    def setUp(self) -> None:
        self.scene = Scene()
        self.counters: Counter[str] = Counter()
        self.sessions = Sessions(Session, self.scene.commands, self.scene.clock, self.counters)
        self.session, self.transport = self.connect()
        self.asked = 0

    def connect(self) -> tuple[Session, Transport]:
        session = self.sessions.buildProtocol(None)
        assert session is not None
        transport = Transport()
        session.makeConnection(transport)
        return session, transport

    def say(self, command: bytes, **values: bytes) -> None:
        self.asked += 1
        box = amp.AmpBox(_command=command, _ask=b"%d" % self.asked)
        for key, value in values.items():
            box[key.encode()] = value
        self.session.dataReceived(box.serialize())

    def heard(self) -> list[amp.AmpBox]:
        said = amp.parseString(self.transport.value())
        self.transport.clear()
        return list(said)

    def ask(self, line: str) -> tuple[Status, bytes, bool]:
        self.say(b"Ask", line=line.encode())
        (box,) = self.heard()
        return Status(int(box[b"status"])), box[b"text"], box[b"more"] == b"True"

    def test_answer(self) -> None:
        self.assertEqual(self.ask("clear counters"), (Status.DONE, b'{"cleared":2}', False))

    def test_misused(self) -> None:
        status, text, _ = self.ask("set node b")
        self.assertIs(status, Status.MISUSED)
        self.assertIn(b'"column":10', text)

    def test_failed(self) -> None:
        status, text, _ = self.ask("trace stop")
        self.assertEqual((status, text), (Status.FAILED, b'{"error":"no trace is running"}'))

    def test_not_allowed(self) -> None:
        self.session.level = Level.OPERATOR
        self.assertIs(self.ask("clear counters")[0], Status.DONE)
        status, text, _ = self.ask("reload")
        self.assertIs(status, Status.NOT_ALLOWED)
        self.assertEqual(text, b'{"error":"reload needs level admin; this session has operator"}')
        self.assertEqual(self.counters["manage.not-allowed"], 1)

    def test_defect(self) -> None:
        """
        It is logged, and the next order is carried out.
        """
        self.scene.node.membership.rows.clear()
        del self.scene.node.counters
        status, text, _ = self.ask("show stats")
        self.assertEqual((status, text[:18]), (Status.FAILED, b'{"error":"internal'))
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)
        self.assertIs(self.ask("clear counters")[0], Status.DONE)

    def test_pieces(self) -> None:
        """
        As many as it takes, the last without more; asking on gets nothing.
        """
        self.scene.node.large = "x" * (2 * PAGE)
        status, text, more = self.ask("show peers")
        self.assertEqual((status, len(text), more), (Status.DONE, PAGE, True))
        whole = text
        while more:
            self.say(b"More")
            (box,) = self.heard()
            whole += box[b"text"]
            more = box[b"more"] == b"True"
        self.assertEqual(len(whole), 2 * PAGE + len('{"peers":""}'))
        self.say(b"More")
        self.assertEqual(self.heard()[0][b"text"], b"")

    def test_new_question_ends_an_answer(self) -> None:
        self.scene.node.large = "x" * (2 * PAGE)
        self.ask("show peers")
        self.ask("clear counters")
        self.say(b"More")
        self.assertEqual(self.heard()[0][b"text"], b"")

    def wait(self) -> None:
        self.scene.node.membership.rows["b"]["admin"] = "drain"
        self.say(b"Ask", line=b"wait drained b 30s")
        self.assertEqual(self.heard(), [])

    def test_waiting(self) -> None:
        self.wait()
        self.scene.node.membership.rows["b"]["drained"] = True
        self.scene.clock.advance(1)
        self.assertEqual(self.heard()[0][b"status"], b"0")

    def test_impatient(self) -> None:
        self.wait()
        self.say(b"Ask", line=b"show stats")
        self.dropped("manage.impatient")

    def test_gone_while_waiting(self) -> None:
        """
        Nothing is left that looks at the node.
        """
        self.wait()
        self.session.drop("gone", "manage.test")
        self.assertEqual(self.scene.clock.getDelayedCalls(), [])
        self.assertEqual(self.sessions.close(), [])

    def dropped(self, counter: str) -> None:
        self.assertTrue(self.transport.aborted)
        self.assertEqual(self.counters[counter], 1)
        self.assertEqual(self.sessions.close(), [])

    def test_garbage(self) -> None:
        self.session.dataReceived(b"GET / HTTP/1.1\r\n\r\n")
        self.dropped("manage.malformed")

    def test_box_without_end(self) -> None:
        self.session.dataReceived(b"".join(b"\0\1%c\xff\xff" % n + b"x" * 65535 for n in range(3)))
        self.dropped("manage.malformed")

    def test_no_line(self) -> None:
        self.say(b"Ask")
        self.dropped("manage.malformed")

    def test_no_text(self) -> None:
        self.say(b"Ask", line=b"\xff")
        self.dropped("manage.malformed")

    def test_answer_to_nothing(self) -> None:
        self.session.dataReceived(amp.AmpBox(_answer=b"1").serialize())
        self.dropped("manage.malformed")

    def test_long_line(self) -> None:
        self.assertIs(self.ask("x" * (LONGEST_LINE + 1))[0], Status.MISUSED)

    def test_unknown_command(self) -> None:
        self.say(b"Show", what=b"stats", page=b"0")
        self.assertEqual(self.heard()[0][b"_error_code"], b"UNHANDLED")
        self.assertEqual(self.counters["manage.unknown-command"], 1)

    def test_idle(self) -> None:
        self.scene.clock.advance(IDLE_TIME - 1)
        self.ask("show stats")
        self.scene.clock.advance(IDLE_TIME - 1)
        self.assertFalse(self.transport.aborted)
        self.scene.clock.advance(1)
        self.dropped("manage.idle")

    def test_half_a_box(self) -> None:
        """
        Does not make it wait any longer.
        """
        for _ in range(10):
            self.session.dataReceived(b"\0")
            self.scene.clock.advance(IDLE_TIME / 10)
        self.assertTrue(self.transport.aborted)

    def test_crowded(self) -> None:
        """
        So many and no more; when one goes, the next may come.
        """
        for _ in range(MAX_SESSIONS - 1):
            self.connect()
        self.assertIsNone(self.sessions.buildProtocol(None))
        self.assertEqual(self.counters["manage.crowded"], 1)
        self.session.drop("gone", "manage.test")
        self.connect()

    def test_node_stops(self) -> None:
        (gone,) = self.sessions.close()
        self.assertTrue(self.transport.disconnecting)
        self.assertNoResult(gone)


class SocketServiceTests(TestCase):
    """
    The service and its client, on a real socket.
    """

    def setUp(self) -> None:
        # Not in the test's own directory: a socket's path has 107 octets at most.
        self.path = f"/tmp/btcp-test-{os.getpid()}.sock"
        self.scene = Scene(reactor)
        self.service = self.made()
        self.service.startService()
        self.addCleanup(self.clean)

    def made(self) -> SocketService:
        sessions = Sessions(Session, self.scene.commands, reactor, Counter())
        return SocketService(self.path, sessions, reactor)

    @inlineCallbacks
    def clean(self) -> Any:
        """
        Stop; nothing is left.
        """
        yield self.service.stopService()
        self.assertFalse(os.path.exists(self.path))

    @inlineCallbacks
    def test_query(self) -> Any:
        shown = yield deferToThread(query_now, self.path, "stats")
        self.assertEqual(shown["counters"], self.scene.node.counters)

    @inlineCallbacks
    def test_query_in_pieces(self) -> Any:
        self.scene.node.large = "é" * PAGE
        shown = yield deferToThread(query_now, self.path, "peers")
        self.assertEqual(shown, {"peers": self.scene.node.large})

    @inlineCallbacks
    def test_query_nonsense(self) -> Any:
        error = yield self.assertFailure(deferToThread(query_now, self.path, "x"), ValueError)
        self.assertIn("want nodes", str(error))

    @inlineCallbacks
    def test_several(self) -> Any:
        def ask() -> list[Reply]:
            with local(self.path) as connection:
                return [connection.ask(line) for line in ("set node b maint", "reload", "show x")]

        first, second, third = yield deferToThread(ask)
        self.assertEqual(first.value["nodes"][0]["admin"], "maint")
        self.assertEqual(second, Reply(Status.DONE, {"changed": ["limits.flows"]}))
        self.assertIs(third.status, Status.MISUSED)

    @inlineCallbacks
    def test_node_stops_meanwhile(self) -> Any:
        def ask() -> None:
            with local(self.path) as connection:
                connection.ask("show info")
                connection.ask("wait drained b 60s", 60)

        self.scene.node.membership.rows["b"]["admin"] = "drain"
        asking = deferToThread(ask)
        stopped = deferLater(reactor, 0.3, self.service.stopService)
        error = yield self.assertFailure(asking, Unreachable)
        yield stopped
        self.assertIn("closed the connection", str(error))

    def test_mode(self) -> None:
        mode = os.stat(self.path).st_mode
        self.assertTrue(stat.S_ISSOCK(mode))
        self.assertEqual(stat.S_IMODE(mode), 0o600)

    @inlineCallbacks
    def test_second_node(self) -> Any:
        """
        A socket that somebody listens on is left alone.
        """
        second = self.made()
        self.assertRaises(SocketInUse, second.startService)
        self.assertTrue(os.path.exists(self.path))
        yield second.stopService()


class StaleTests(TestCase):
    """
    Tests for L{remove_stale}.
    """

    def setUp(self) -> None:
        self.path = f"/tmp/btcp-stale-{os.getpid()}.sock"
        self.addCleanup(Path(self.path).unlink, missing_ok=True)

    def test_nothing(self) -> None:
        remove_stale(self.path)

    def test_stale(self) -> None:
        with socket(AF_UNIX, SOCK_STREAM) as left:
            left.bind(self.path)
        remove_stale(self.path)
        self.assertFalse(os.path.exists(self.path))

    def test_full(self) -> None:
        """
        A node that is too busy to accept is alive.
        """
        with socket(AF_UNIX, SOCK_STREAM) as busy, socket(AF_UNIX, SOCK_STREAM) as waiting:
            busy.bind(self.path)
            busy.listen(0)
            waiting.connect(self.path)
            self.assertRaises(SocketInUse, remove_stale, self.path)

    def test_no_socket(self) -> None:
        Path(self.path).touch()
        self.assertRaises(SocketInUse, remove_stale, self.path)
        self.assertTrue(os.path.exists(self.path))

    def test_nobody_there(self) -> None:
        self.assertRaises(OSError, query_now, self.path, "stats")
