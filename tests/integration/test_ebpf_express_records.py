# SPDX-License-Identifier: MIT
"""
What the program that hands connections off tells the daemon of them, run by the kernel on
packets that tests make.
"""

from __future__ import annotations

import time

from attrs import evolve

from btcp.content.http import HttpReader
from btcp.datapath.ebpf import abi
from tests.integration.express_case import NODE, OTHER, REQUEST, SIZE, Client, ExpressCase
from tests.integration.loaded import REDIRECT
from tests.integration.program_case import BOTH, V4

ROOM = 1500 - SIZE - 40
"""Octets of the largest request that a record can follow, in IPv4."""
RING = 1 << 22
"""Octets of the ring buffer."""


class ToldTests(ExpressCase):
    def setUp(self) -> None:
        super().setUp()
        self.told: list[bytes] = []
        self.ring = self.tables.handed(self.told.append)
        self.addCleanup(self.ring.close)
        self.addCleanup(self.ring.consume)
        self.hear()
        self.plan(records=True)

    def hear(self) -> list[bytes]:
        """
        @return: what was told since the last time.
        """
        self.ring.consume()
        told, self.told[:] = list(self.told), []
        return told

    def assert_told(self, client: Client, head: bytes, kind: int = abi.HANDED_OFF) -> None:
        """
        That, and nothing else.
        """
        [told] = self.hear()
        name, number, node, its, at = abi.HANDED.unpack_from(told)
        key = abi.pack_key(client.flow.request)
        self.assertEqual(name, abi.DONE.pack(key, client.iss, client.irs + 1))
        self.assertEqual((node, its, told[abi.HANDED.size :]), (NODE, kind, head))
        if kind == abi.HANDED_OFF:
            self.assertEqual(number, NODE)
        self.assertLess(abs(time.monotonic() - at * 1e-9), 60.0)

    def test_request(self) -> None:
        """
        The ends, the numbers, whose turn it was; and the head, whatever follows it.
        """
        for flow in BOTH:
            for body in (b"", b"body"):
                client = self.known(evolve(flow, port=flow.port + len(body)))
                self.handed(client, REQUEST + body)
                self.assert_told(client, REQUEST)

    def test_name(self) -> None:
        """
        It is what the route is called, and what its end is told by.
        """
        client = self.known(V4)
        self.handed(client)
        route = self.tables.route(abi.pack_key(V4.request))
        assert route is not None
        [told] = self.hear()
        self.assertEqual(told[36:44], route[64:72])

    def test_largest(self) -> None:
        """
        A head that is handed off is told as a whole.
        """
        path = "/a/" + "x" * (ROOM - len("GET /a/ HTTP/1.1\r\nHost: h.example\r\n\r\n"))
        head = f"GET {path} HTTP/1.1\r\nHost: h.example\r\n\r\n".encode()
        self.assertEqual(len(head), ROOM)
        client = self.known(V4)
        self.handed(client, head)
        self.assert_told(client, head)
        key = HttpReader(len(head)).feed(head)
        self.assertEqual(key and key.path, path)

    def test_once(self) -> None:
        """
        A request sent again is no other one.
        """
        client = self.known(V4)
        self.handed(client)
        self.loaded.ingress(client.says(REQUEST))
        self.assert_told(client, REQUEST)

    def test_handed_back(self) -> None:
        """
        The daemon has it to hand off.
        """
        client = self.known(V4)
        octets = self.handed(client).frame
        self.plan(own=bytes(8), records=True)  # another node's, where nobody listens
        self.renew(60.0)
        back = self.loaded.ingress(octets)
        self.assertEqual(back.counted, {"returned": 1})
        self.assert_told(client, REQUEST)
        self.plan(records=True)
        outcome = self.loaded.ingress(octets[:12] + back.frame[12:])
        self.assertEqual(outcome.counted, {"regained": 1, "declined": 1, "punted": 1})
        self.assert_told(client, b"", abi.HANDED_BACK)
        key = abi.pack_key(V4.request)
        self.assertTrue(self.tables.is_declined(abi.DONE.pack(key, client.iss, 0)))
        self.assertFalse(self.tables.is_declined(abi.DONE.pack(key, client.iss + 1, 0)))
        self.assertFalse(self.tables.is_declined(abi.DONE.pack(key[::-1], client.iss, 0)))

    def test_not_handed_off(self) -> None:
        self.assert_declined(self.known(V4).says(b"GET /none HTTP/1.1\r\nHost: x\r\n\r\n"))
        self.assertEqual(self.hear(), [])

    def test_nobody_asked(self) -> None:
        self.plan(records=False)
        self.handed(self.known(V4))
        self.assertEqual(self.hear(), [])

    def test_no_room(self) -> None:
        """
        Then it is counted, and the request goes its way.
        """
        data = REQUEST[:-2] + b"X: " + b"x" * 1000 + b"\r\n\r\n"
        client = self.known(V4)
        octets, key = client.says(data), abi.pack_key(V4.request)
        for _ in range(RING // len(data)):
            outcome = self.loaded.ingress(octets)
            if "unrecorded" in outcome.counted:
                break
            self.loaded.programs.routes.delete(key)
        self.assertEqual(outcome.counted, {"expressed": 1, "forwarded": 1, "unrecorded": 1})
        self.assertEqual(outcome.verdict, REDIRECT)
        self.assertEqual(self.split(outcome)[1], data)
        kept = len(self.hear())
        self.assertGreater(kept, RING // (len(data) + abi.HANDED.size + 16) - 1)
        self.forget()
        self.handed(client)
        self.assert_told(client, REQUEST)

    def test_whose_turn(self) -> None:
        """
        The replica set, whichever of its nodes it was.
        """
        self.tables.turns(NODE, [OTHER])
        self.addCleanup(self.tables.turns, NODE, [NODE])
        self.loaded.ingress(self.known(V4).says(REQUEST))
        [told] = self.hear()
        self.assertEqual(abi.HANDED.unpack_from(told)[1:3], (NODE, OTHER))
