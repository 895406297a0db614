# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.health.handoff_probe}.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from btcp.config import Check
from btcp.content.tls import TlsReader
from btcp.control.commands import HandoffRefused
from btcp.handoff.messages import PROBER, Adopted, Endpoint, Handoff, Reason, Terminate
from btcp.health.checks import CheckFailed, Origin
from btcp.health.handoff_probe import HandoffProbe

CHECK = Check(kind="handoff", client="192.0.2.1", path="/well", status=((200, 299),))
ORIGIN = Origin("web", "192.0.2.11", 8080)
SECURE = Origin("secure", "192.0.2.11", 8443)
FRONT = Endpoint(bytes((192, 0, 2, 100)), 80)


class ProbeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.orders: list[Handoff] = []
        self.answers: list[Deferred[Adopted]] = []
        self.over: list[int] = []
        self.probe = HandoffProbe(
            self._handoff, self._terminate, lambda listener, size: FRONT, ["secure"]
        )

    def _handoff(self, peer: str, order: Handoff) -> Deferred[Adopted]:
        self.assertEqual(peer, PROBER)
        self.orders.append(order)
        self.answers.append(Deferred())
        return self.answers[-1]

    def _terminate(self, peer: str, records: list[Terminate]) -> None:
        self.assertEqual(peer, PROBER)
        self.assertEqual({record.front for record in records}, {PROBER})
        self.over += [record.id for record in records]

    def ask(self, origin: Origin = ORIGIN, check: Check = CHECK) -> Deferred[Any]:
        return self.probe.ask(self.clock, origin, check)

    def unwell(self, asked: Deferred[Any]) -> str:
        return str(self.failureResultOf(asked, CheckFailed).value)

    def test_compose(self) -> None:
        self.ask()
        (order,) = self.orders
        self.assertEqual((order.listener, order.front), ("web", FRONT))
        self.assertEqual(order.client.address, bytes((192, 0, 2, 1)))
        lines = order.request.split(b"\r\n")
        self.assertEqual(lines[:2], [b"GET /well HTTP/1.1", b"Host: 192.0.2.11:8080"])
        self.assertEqual(lines[-3:], [b"Connection: close", b"", b""])

    def test_order_of_tls(self) -> None:
        """
        A ClientHello that any server understands, with the name of the check or none.
        """
        for host, name in (("shop.example", "shop.example"), (None, "")):
            self.ask(SECURE, Check(kind="handoff", client="192.0.2.1", host=host))
            key = TlsReader(16384).feed(self.orders[-1].request)
            assert key is not None
            self.assertEqual(key.host, name)

    def test_well_by_tls(self) -> None:
        asked = self.ask(SECURE)
        self.probe.reply(1, b"\x16\3\3\0\x7a\2\0\0\x76\3\3")
        self.assertIsNone(self.successResultOf(asked))

    def test_unwell_by_tls(self) -> None:
        """
        An alert, and what is no TLS at all.
        """
        for number, answer in enumerate((b"\x15\3\3\0\2\2\x50", b"HTTP/1.1 400 Bad\r\n\r\n"), 1):
            asked = self.ask(SECURE)
            self.probe.reply(number, answer)
            self.assertEqual(self.unwell(asked), "it does not answer a ClientHello")

    def test_each_is_another_connection(self) -> None:
        for _ in range(100):
            self.ask()
        for different in ("id", "client", "irs", "iss"):
            self.assertEqual(len({getattr(order, different) for order in self.orders}), 100)

    def test_well(self) -> None:
        """
        Its connection is ended, and not in the middle of what the shell does.
        """
        asked = self.ask()
        self.probe.reply(1, b"")  # it acknowledges the request
        self.assertNoResult(asked)
        self.probe.reply(1, b"HTTP/1.1 204 No Content\r\n\r\n")
        self.assertIsNone(self.successResultOf(asked))
        self.probe.reply(1, b"more")
        self.probe.reply(1, b"")
        self.assertEqual(self.over, [])
        self.clock.advance(0)
        self.assertEqual(self.over, [1])

    def test_unwell(self) -> None:
        for answer, words in (
            (b"HTTP/1.0 503 No\r\n\r\n", "it answers with status 503"),
            (b"SSH-2.0-\r\n", "it does not answer in HTTP/1"),
        ):
            asked = self.ask()
            self.probe.reply(self.orders[-1].id, answer)
            self.assertEqual(self.unwell(asked), words)
            self.clock.advance(0)
            self.assertEqual(self.over.pop(), self.orders[-1].id)

    def test_refused(self) -> None:
        """
        There is nothing then to end.
        """
        asked = self.ask()
        self.answers[0].errback(HandoffRefused(Reason.ACCEPT_QUEUE_FULL))
        self.assertEqual(self.unwell(asked), "the handoff is refused: accept-queue-full")
        self.clock.advance(0)
        self.assertEqual(self.over, [])

    def test_ended(self) -> None:
        asked = self.ask()
        self.probe.ended(1, Reason.RESET_BY_ORIGIN)
        self.assertEqual(self.unwell(asked), "the connection ended: reset-by-origin")
        self.clock.advance(0)
        self.assertEqual(self.over, [])

    def test_ended_after_its_answer(self) -> None:
        asked = self.ask()
        self.probe.reply(1, b"HTTP/1.1 200 OK\r\n\r\n")
        self.probe.ended(1, Reason.CLOSED)
        self.assertIsNone(self.successResultOf(asked))
        self.clock.advance(0)
        self.assertEqual(self.over, [])

    def test_silent(self) -> None:
        """
        Whoever asks does not wait for ever; the connection is ended, and what still comes of it
        does no harm.
        """
        asked = self.ask()
        asked.cancel()
        self.failureResultOf(asked)
        self.clock.advance(0)
        self.assertEqual(self.over, [1])
        self.probe.reply(1, b"HTTP/1.1 200 OK\r\n\r\n")
        self.probe.ended(1, Reason.CLOSED)
        self.answers[0].errback(HandoffRefused(Reason.ABANDONED))
        self.assertEqual(self.clock.getDelayedCalls(), [])
