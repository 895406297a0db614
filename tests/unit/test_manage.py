# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.manage}.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from socket import AF_UNIX, SOCK_STREAM, socket
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import inlineCallbacks
from twisted.internet.error import ConnectError
from twisted.trial.unittest import SynchronousTestCase, TestCase

from btcp.manage.client import query
from btcp.manage.commands import PAGE, UnknownSubject
from btcp.manage.server import ManageProtocol, ManageService, SocketInUse, remove_stale


class Source:
    """
    A node with something to show, which is new each time.
    """

    def __init__(self) -> None:
        self.shown: dict[str, object] = {
            "stats": {"control.malformed": 3},
            "peers": {},
            "flows": [{"client": f"198.51.100.7:{port}"} for port in range(10000)],
            "odd": {"path": Path("/run")},
            "wide": "é" * PAGE,
        }
        self.asked = 0

    def show(self, what: str) -> object:
        self.asked += 1
        return self.shown[what]


class ManageProtocolTests(SynchronousTestCase):
    """
    Tests for L{ManageProtocol}.
    """

    def test_pages_of_one_moment(self) -> None:
        """
        The pages after the first are those of the same text, and none is kept
        after the last.
        """
        source = Source()
        protocol = ManageProtocol(source)
        first = protocol.show("flows", 0)
        pages = first["pages"]
        assert isinstance(pages, int)
        self.assertGreater(pages, 3)
        source.shown["flows"] = "changed"
        for page in range(1, pages):
            self.assertLessEqual(len(str(protocol.show("flows", page)["text"])), PAGE + 3)
        self.assertEqual(source.asked, 1)
        self.assertEqual(protocol._kept, {})

    def test_page_of_nothing(self) -> None:
        protocol = ManageProtocol(Source())
        for page in (5, -1):
            self.assertEqual(protocol.show("stats", page), {"text": b"", "pages": 1})


class ManageServiceTests(TestCase):
    """
    The service and its client, on a real socket.
    """

    def setUp(self) -> None:
        # Not in the test's own directory: a socket's path has 107 octets at most.
        self.path = f"/tmp/btcp-test-{os.getpid()}.sock"
        self.source = Source()
        self.service = ManageService(self.path, self.source, reactor)
        self.service.startService()
        self.addCleanup(self.clean)

    @inlineCallbacks
    def clean(self) -> Any:
        """
        Stop; nothing is left.
        """
        yield self.service.stopService()
        self.assertFalse(os.path.exists(self.path))

    @inlineCallbacks
    def test_show(self) -> Any:
        for what, shown in self.source.shown.items():
            answer = yield query(self.path, what, reactor)
            self.assertEqual(answer, {"path": "/run"} if what == "odd" else shown)
        self.assertEqual(self.source.asked, len(self.source.shown))

    @inlineCallbacks
    def test_unknown(self) -> Any:
        yield self.assertFailure(query(self.path, "nothing", reactor), UnknownSubject)

    def test_mode(self) -> None:
        mode = os.stat(self.path).st_mode
        self.assertTrue(stat.S_ISSOCK(mode))
        self.assertEqual(stat.S_IMODE(mode), 0o600)

    def test_second_node(self) -> None:
        """
        A socket that somebody listens on is left alone.
        """
        second = ManageService(self.path, self.source, reactor)
        self.assertRaises(SocketInUse, second.startService)
        self.assertTrue(os.path.exists(self.path))
        self.assertIsNone(second.stopService())


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

    @inlineCallbacks
    def test_nobody_there(self) -> Any:
        yield self.assertFailure(query(self.path, "stats", reactor), ConnectError)
