# SPDX-License-Identifier: MIT
"""
Requests cut into segments in every way, and options of every kind.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable

from btcp.lab.topology import LISTEN_PORT, ORIGIN_PORT
from tests.claims.packets import HEADERS, between
from tests.claims.scene import end
from tests.claims.stage import dial, request
from tests.claims.tape import recording
from tests.integration import handmade
from tests.integration.rules import FAMILIES, PAIRS, RulesTestCase
from tests.modes import in_all_modes


@in_all_modes
class SegmentTests(RulesTestCase):
    """
    However a request is cut and sent, the answer is the one that the origin gives itself.
    """

    def setUp(self) -> None:
        super().setUp()
        handmade.guard(self.lab)

    def check(self, cut: Callable[[bytes, int], list[tuple[int, bytes]]], size: int) -> None:
        self.check_request(request("/b/1k", f"X: {'x' * 400}", "Connection: close"), cut, size)

    def check_request(
        self, head: bytes, cut: Callable[[bytes, int], list[tuple[int, bytes]]], size: int
    ) -> None:
        segments = cut(head, size)
        if self.mode.in_kernel and segments[0][0]:
            # Who keeps nothing of a SYN knows a client by its first octets only.  What comes
            # before them is lost, and TCP sends it again.
            segments *= 2
        for family in FAMILIES:
            direct = self.direct(family, head)
            self.assertIn(b"X-Node: b", direct)
            for front, _ in PAIRS:
                client = self.client(family, front)
                self.assertEqual(_plain(client.ask(segments)), direct)

    def direct(self, family: int, head: bytes) -> bytes:
        with dial(self.lab, family, "b", ORIGIN_PORT) as connection:
            connection.sendall(head)
            with connection.makefile("rb") as stream:
                return _plain(stream.read())

    def long(self) -> bytes:
        """
        A request with 15 kB of header.
        """
        return request("/b/1k", f"X: {'x' * 15000}", "Connection: close")

    def test_an_octet_each(self) -> None:
        self.check(handmade.segments, 1)

    def test_reversed(self) -> None:
        self.check(handmade.reversed_segments, 16)

    def test_each_twice(self) -> None:
        self.check(handmade.doubled, 16)

    def test_overlapping(self) -> None:
        self.check(handmade.overlapping, 40)

    def test_long_header(self) -> None:
        self.check_request(self.long(), handmade.segments, 1400)

    def test_long_header_reversed(self) -> None:
        self.check_request(self.long(), handmade.reversed_segments, 1400)

    def test_long_header_each_twice(self) -> None:
        self.check_request(self.long(), handmade.doubled, 1400)

    def test_repeated_syn(self) -> None:
        """
        It is answered as before.
        """
        head = request("/b/1k", "Connection: close")
        for family in FAMILIES:
            client = self.client(family, "a")
            first, second = client.say_hello(), client.say_hello()
            self.assertEqual((first.seq, first.ack), (second.seq, second.ack))
            self.assertEqual(first.options, second.options)
            self.assertEqual(
                _plain(client.ask(handmade.segments(head, 100))), self.direct(family, head)
            )

    def test_nothing_promised_in_vain(self) -> None:
        """
        Neither ECN nor TCP Fast Open nor Multipath TCP, which the back-end could not keep.
        """
        multipath = b"\0\1" + bytes(8)
        offered = [*handmade.OPTIONS, ("TFO", b""), (30, multipath)]
        for family in FAMILIES:
            answer = self.client(family, "a").say_hello("SEC", offered)
            self.assertEqual(str(answer.flags), "SA")
            names = {name for name, _ in answer.options}
            self.assertEqual(names, {"MSS", "SAckOK", "NOP", "WScale"})

    def client(self, family: int, front: str) -> handmade.Client:
        client = handmade.Client(self.lab, family, front)
        self.addCleanup(client.close)
        return client

    def test_no_delay(self) -> None:
        """
        An octet a segment, from a real TCP.
        """
        head = request("/b/1k", "Connection: close")
        for family in FAMILIES:
            with recording(self.lab, [("a", "eth0")], "tcp dst port 80", HEADERS) as tape:
                with dial(self.lab, family, "a") as connection:
                    client = end(connection)
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    for octet in head:
                        connection.sendall(bytes([octet]))
                        time.sleep(0.002)
                    with connection.makefile("rb") as stream:
                        said = _plain(stream.read())
            self.assertEqual(said, self.direct(family, head))
            arrived = between(tape.at("a"), client, (self.lab.address("a", family), LISTEN_PORT))
            self.assertGreater(sum(each.length == 1 for each in arrived), len(head) // 2)


def _plain(response: bytes) -> bytes:
    """
    @return: the response without what differs from one moment to the next.
    """
    return re.sub(rb"(?m)^Date: .*\r\n", b"", response)
