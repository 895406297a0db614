# SPDX-License-Identifier: MIT
"""
Operators over TLS: who is let in, with which level, and who is not.
"""

from __future__ import annotations

import shutil
import ssl
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import copy
from socket import create_connection, socket
from typing import Any

from cryptography import x509
from twisted.internet import reactor
from twisted.internet.defer import inlineCallbacks
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from btcp.admin import server
from btcp.admin.client import Reply, Unreachable, check_files, remote
from btcp.admin.endpoints import TlsService
from btcp.admin.protocol import Status
from btcp.admin.server import MAX_SESSIONS, SecuredSession, Sessions
from btcp.config import Control
from btcp.control.protection import MutualTls, protect
from btcp.pki.authority import create, issue, issue_operator
from btcp.pki.names import certificate_name, operator_name, operator_of
from tests.certificates import Certificates
from tests.unit.admin_case import Scene
from tests.unit.test_control_link import free_port

HOST = "127.0.0.1"


class TlsTestCase(TestCase):
    """
    The node C{a}, and operators of each level.
    """

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        certificates = Certificates(self.directory, "ab")
        now = datetime.now(UTC)
        for level in ("user", "operator", "admin"):
            issue_operator(self.directory, f"my-{level}", level, 30, now)
        self.counters: Counter[str] = Counter()
        self.scene = Scene(reactor)
        control = Control(certificates.good("a"))
        self.protection = protect(control, "a", reactor, self.counters)
        assert isinstance(self.protection, MutualTls)
        self.port = free_port(HOST)
        sessions = Sessions(SecuredSession, self.scene.commands, reactor, self.counters)
        self.service = TlsService((HOST, self.port), sessions, self.protection, reactor)
        self.service.startService()
        self.addCleanup(self.service.stopService)

    def files(self, operator: str) -> Path:
        return self.directory / "operators" / operator

    def test_files_of_the_operator(self) -> None:
        """
        A missing file is named, and a key that others can read is not used.
        """
        files = Path(self.mktemp())
        shutil.copytree(self.files("my-user"), files)
        for mode, refused in ((0o644, True), (0o660, True), (0o640, False), (0o600, False)):
            (files / "operator.key").chmod(mode)
            if refused:
                with self.assertRaisesRegex(ConnectionError, "open to others: chmod 0600"):
                    check_files(files)
            else:
                check_files(files)
        (files / "operator.key").unlink()
        with self.assertRaisesRegex(ConnectionError, f"{files}/operator.key is missing"):
            check_files(files)

    def asking(self, files: Path, line: str, node: str | None = "a") -> Any:
        """
        Ask in a thread.
        """

        def ask() -> Reply:
            with remote((HOST, self.port), files, node) as connection:
                return connection.ask(line)

        return deferToThread(ask)


class LevelTests(TlsTestCase):
    @inlineCallbacks
    def test_levels(self) -> Any:
        """
        Each may do what the level in the certificate allows, and no more.
        """
        lines = ("show stats", "clear counters", "reload")
        for allowed, level in enumerate(("user", "operator", "admin"), 1):
            for number, line in enumerate(lines):
                reply = yield self.asking(self.files(f"my-{level}"), line)
                may = number < allowed
                wanted = Status.DONE if may else Status.NOT_ALLOWED
                self.assertIs(reply.status, wanted, (level, line))
        self.assertEqual(self.counters["manage.not-allowed"], 3)

    @inlineCallbacks
    def test_who(self) -> Any:
        reply = yield self.asking(self.files("my-operator"), "show info")
        self.assertEqual(reply.value["info"]["level"], "operator")

    @inlineCallbacks
    def test_large_answer(self) -> Any:
        self.scene.node.large = "x" * 1_000_000
        reply = yield self.asking(self.files("my-user"), "show peers")
        self.assertEqual(reply.value["peers"], self.scene.node.large)

    @inlineCallbacks
    def test_unknown_level(self) -> Any:
        issue_operator(self.directory, "odd", "emperor", 30, datetime.now(UTC))
        yield self.refused_by_the_node(self.files("odd"))

    @inlineCallbacks
    def test_certificate_of_a_node(self) -> Any:
        """
        Nodes are not operators.
        """
        files = Path(self.mktemp())
        files.mkdir()
        for ending in ("crt", "key"):
            copy(self.directory / "b" / f"node.{ending}", files / f"operator.{ending}")
        copy(self.directory / "ca.crt", files)
        yield self.refused_by_the_node(files)

    @inlineCallbacks
    def refused_by_the_node(self, files: Path) -> Any:
        reply = yield self.asking(files, "show stats")
        self.assertIs(reply.status, Status.NOT_ALLOWED)
        self.assertEqual(reply.value["error"], "the certificate names no operator")
        self.assertEqual(self.counters["manage.refused-tls.no-operator"], 1)


class StrangerTests(TlsTestCase):
    @inlineCallbacks
    def test_other_authority(self) -> Any:
        """
        Neither side takes the other: we do not take its, and it not ours.
        """
        other = Path(self.mktemp())
        now = datetime.now(UTC)
        create(other, 365, now)
        issue_operator(other, "mallory", "admin", 30, now)
        files = other / "operators" / "mallory"
        yield self.unreachable(files, "its certificate is not valid")
        copy(self.directory / "ca.crt", files)
        yield self.unreachable(files, "")
        self.assertEqual(self.counters["manage.refused-tls.wrong-authority"], 1)

    @inlineCallbacks
    def test_expired(self) -> Any:
        then = datetime.now(UTC) - timedelta(days=2)
        issue_operator(self.directory, "late", "admin", 1, then)
        yield self.unreachable(self.files("late"), "")
        self.assertEqual(self.counters["manage.refused-tls.expired"], 1)

    @inlineCallbacks
    def test_wrong_node(self) -> Any:
        """
        Whoever wants to speak to b does not speak to a.
        """
        yield self.unreachable(self.files("my-user"), "not valid for 'b.btcp.internal'", "b")

    @inlineCallbacks
    def test_any_node(self) -> Any:
        reply = yield self.asking(self.files("my-user"), "show stats", None)
        self.assertIs(reply.status, Status.DONE)

    @inlineCallbacks
    def test_no_certificate(self) -> Any:
        def ask() -> bytes:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            plain = create_connection((HOST, self.port), 5)
            with context.wrap_socket(plain) as secured:
                return secured.recv(100)

        yield self.assertFailure(deferToThread(ask), OSError)
        self.assertEqual(self.counters["manage.refused-tls.no-certificate"], 1)

    @inlineCallbacks
    def test_plaintext(self) -> Any:
        yield deferToThread(_talk, self.port, b"GET / HTTP/1.1\r\n\r\n")
        self.assertEqual(self.counters["manage.refused-tls.plaintext"], 1)

    @inlineCallbacks
    def test_slow_handshakes(self) -> Any:
        """
        They end in time, and others get in all the while.
        """
        self.patch(server, "HANDSHAKE_TIME", 1.0)
        slow = yield deferToThread(_connect, self.port, 2 * MAX_SESSIONS)
        self.addCleanup(_close, slow)
        reply = yield self.asking(self.files("my-user"), "show stats")
        self.assertIs(reply.status, Status.DONE)
        yield deferLater(reactor, 1.2, lambda: None)
        ended = yield deferToThread(_count, slow, _has_ended)
        self.assertEqual(ended, len(slow))
        self.assertEqual(self.counters["manage.silent"], len(slow))

    @inlineCallbacks
    def unreachable(self, files: Path, words: str, node: str = "a") -> Any:
        asking = self.asking(files, "show stats", node)
        error = yield self.assertFailure(asking, Unreachable)
        self.assertIn(words, str(error))


def _talk(port: int, octets: bytes) -> bytes:
    with create_connection((HOST, port), 5) as connection:
        connection.sendall(octets)
        try:
            return connection.recv(100)
        except OSError:
            return b""


def _connect(port: int, number: int) -> list[socket]:
    return [create_connection((HOST, port), 5) for _ in range(number)]


def _close(sockets: list[socket]) -> None:
    for each in sockets:
        each.close()


def _count(sockets: list[socket], holds: Callable[[socket], bool]) -> int:
    return sum(map(holds, sockets))


def _has_ended(connection: socket) -> bool:
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


class OperatorNameTests(SynchronousTestCase):
    """
    Tests for L{operator_of}.
    """

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        create(self.directory, 30, datetime.now(UTC))

    def certificate(self, path: str) -> x509.Certificate:
        return x509.load_pem_x509_certificate((self.directory / path).read_bytes())

    def test_operator(self) -> None:
        issue_operator(self.directory, "alice", None, 1, datetime.now(UTC))
        found = operator_of(self.certificate("operators/alice/operator.crt"))
        self.assertEqual(found, ("alice", "user"))

    def test_nodes(self) -> None:
        """
        Whatever they are called.
        """
        for node in ("operator", "admin", "a"):
            issue(self.directory, node, 1, datetime.now(UTC))
            self.assertIsNone(operator_of(self.certificate(f"{node}/node.crt")))

    def test_no_name(self) -> None:
        self.assertIsNone(operator_of(self.certificate("ca.crt")))

    def test_apart(self) -> None:
        """
        No node's name is an operator's.
        """
        self.assertEqual(operator_name("x", "user").count("."), 4)
        self.assertEqual(certificate_name("x").count("."), 2)
