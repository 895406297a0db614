# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.health.checks}: real servers on loopback.
"""

from __future__ import annotations

from pathlib import Path
from socket import socket
from typing import Any

from twisted.internet import reactor, ssl
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from twisted.web._newclient import ParseError

from btcp.config import Check
from btcp.health.checks import CHECK_FUNCTIONS, MAX_BODY, CheckFailed, Origin, cause
from tests.certificates import Certificates


class Answering(Protocol):
    """
    Answers whatever comes, once there is an end of a head.

    @ivar ended: fires when the other side is gone.
    """

    transport: Any

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.request = b""
        self.ended: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.request += data
        if b"\r\n\r\n" in self.request:
            self.transport.write(self.answer)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self.ended.callback(None)


def response(status: str, body: bytes = b"well", more: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode() + body


class AskingTestCase(TestCase):
    """
    Every connection ends, whatever is asked and answered.
    """

    patience = 5.0

    def setUp(self) -> None:
        self.addCleanup(self._all_ended)
        self.served: list[Answering] = []

    def serve(self, answer: bytes, host: str = "127.0.0.1", tls: bool = False) -> Origin:
        """
        @return: where a server is that always says C{answer}.
        """

        def make() -> Answering:
            self.served.append(Answering(answer))
            return self.served[-1]

        factory = Factory.forProtocol(make)
        factory.noisy = False
        listen: Any = reactor
        if tls:
            files = Certificates(Path(self.mktemp()), "a").good("a")
            context = ssl.DefaultOpenSSLContextFactory(files.key, files.certificate)
            port = listen.listenSSL(0, factory, context, interface=host)
        else:
            port = listen.listenTCP(0, factory, interface=host)
        self.addCleanup(port.stopListening)
        return Origin("web", host, port.getHost().port)

    async def _all_ended(self) -> None:
        for each in self.served:
            await each.ended

    def ask(self, kind: str, origin: Origin, **check: Any) -> Deferred[Any]:
        asked = CHECK_FUNCTIONS[kind](reactor, origin, Check(kind=kind, **check))
        return asked.addTimeout(self.patience, reactor)

    async def failure(self, kind: str, origin: Origin, **check: Any) -> Failure:
        """
        @return: what happened instead of an answer.
        """
        try:
            await self.ask(kind, origin, **check)
        except Exception:
            return cause(Failure())
        self.fail("it is well")

    async def times_out(self, kind: str, origin: Origin, **check: Any) -> None:
        """
        It takes too long.
        """
        self.patience = 0.2
        failure = await self.failure(kind, origin, **check)
        self.assertTrue(failure.check(TimeoutError, CancelledError), failure)

    async def unwell(self, kind: str, origin: Origin, **check: Any) -> str:
        """
        @return: what is wrong.
        """
        try:
            await self.ask(kind, origin, **check)
        except CheckFailed as problem:
            return str(problem)
        self.fail("it is well")


class ConnectionTests(AskingTestCase):
    """
    Kinds C{tcp} and C{tls}.
    """

    async def test_tcp(self) -> None:
        for host in ("127.0.0.1", "::1"):
            await self.ask("tcp", self.serve(b"", host))

    async def test_tls(self) -> None:
        """
        With and without a server name; the certificate is not verified.
        """
        origin = self.serve(b"", tls=True)
        await self.ask("tls", origin)
        await self.ask("tls", origin, host="www.example")

    async def test_no_server(self) -> None:
        with socket() as unused:
            unused.bind(("127.0.0.1", 0))
            origin = Origin("web", *unused.getsockname())
            for kind in CHECK_FUNCTIONS:
                failure = await self.failure(kind, origin)
                self.assertTrue(failure.check(ConnectionRefusedError), kind)

    async def test_no_tls(self) -> None:
        """
        One that does not understand TLS, and says nothing.
        """
        origin = self.serve(b"")
        for kind in ("tls", "https"):
            await self.times_out(kind, origin)
        self.assertEqual(len(self.served), 2)


class WebTests(AskingTestCase):
    """
    Kinds C{http} and C{https}.
    """

    async def test_well(self) -> None:
        for host in ("127.0.0.1", "::1"):
            await self.ask("http", self.serve(response("200 OK"), host), path="/a?b=c")
            (request,) = (each.request for each in self.served[-1:])
            self.assertTrue(request.startswith(b"GET /a?b=c HTTP/1.1\r\n"), request)
            self.assertIn(b"Connection: close", request)

    async def test_host(self) -> None:
        origin = self.serve(response("200 OK"))
        await self.ask("http", origin, host="www.example")
        self.assertIn(b"\r\nHost: www.example\r\n", self.served[0].request)
        await self.ask("http", origin)
        self.assertIn(f"\r\nHost: {origin.netloc}\r\n".encode(), self.served[1].request)

    async def test_https(self) -> None:
        await self.ask("https", self.serve(response("204 No Content", b""), tls=True))

    async def test_status(self) -> None:
        for status, wanted, well in (
            ("200 OK", ((200, 399),), True),
            ("399 ?", ((200, 399),), True),
            ("400 Bad", ((200, 399),), False),
            ("404 No", ((200, 200), (404, 404)), True),
            ("503 No", ((200, 200), (404, 404)), False),
        ):
            origin = self.serve(response(status))
            if well:
                await self.ask("http", origin, status=wanted)
            else:
                said = await self.unwell("http", origin, status=wanted)
                self.assertEqual(said, f"it answers with status {status[:3]}")

    async def test_redirection(self) -> None:
        """
        Is an answer, and not followed.
        """
        origin = self.serve(response("302 Found", more="Location: http://192.0.2.1/\r\n"))
        await self.ask("http", origin)
        await self.unwell("http", origin, status=((200, 200),))

    async def test_body(self) -> None:
        origin = self.serve(response("200 OK", b"it is \xffwell"))
        await self.ask("http", origin, body="w.ll$")
        self.assertIn("'ill'", await self.unwell("http", origin, body="ill"))

    async def test_large_body(self) -> None:
        """
        Only the beginning is looked at; if nothing has to be in it, none of it.
        """
        large = self.serve(response("200 OK", b"x" * (MAX_BODY - 3) + b"well" + b"y" * 5_000_000))
        await self.ask("http", large)
        self.assertIn("'well'", await self.unwell("http", large, body="well"))
        await self.ask("http", large, body="xwel")

    async def test_endless_body(self) -> None:
        """
        One that never ends; a check that needs it waits no longer than it may.
        """
        origin = self.serve(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nwell")
        await self.ask("http", origin)
        await self.times_out("http", origin, body="well")

    async def test_no_answer(self) -> None:
        await self.times_out("http", self.serve(b""))

    async def test_no_http(self) -> None:
        failure = await self.failure("http", self.serve(b"220 mail.example ready\r\n\r\n"))
        self.assertTrue(failure.check(ParseError), failure)
