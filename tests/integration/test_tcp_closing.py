# SPDX-License-Identifier: MIT
"""
How connections end: each side on its own, by FIN and by RST.
"""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import cache

from tests.claims.scene import counts, end, sockets
from tests.claims.stage import PATIENCE, answer, dial, request
from tests.integration import odd_origin
from tests.integration.rules import (
    FAMILIES,
    NOTHING,
    ODD_ORIGIN,
    ODD_PORT,
    PAIRS,
    STAGE,
    RulesTestCase,
)
from tests.modes import Mode, in_every_mode

_RESET = struct.pack("ii", 1, 0)


@cache
def _odd_origins(mode: Mode) -> list[subprocess.Popen[bytes]]:
    """
    Start them on all nodes of the lab in this mode.

    @return: what goes down with the lab.
    """
    lab, processes = STAGE.lab(mode), []
    for node in lab.nodes:
        addresses = [lab.address(node, family) for family in FAMILIES]
        argv = [sys.executable, odd_origin.__file__, *addresses, str(ODD_ORIGIN)]
        process = lab.popen(node, argv)
        assert process.stdout is not None
        assert process.stdout.readline() == odd_origin.READY
        processes.append(process)
    return processes


@in_every_mode
class ClosingTests(RulesTestCase):
    def setUp(self) -> None:
        super().setUp()
        _odd_origins(self.mode)
        self.assert_empty()

    def each_way(self) -> Iterator[tuple[int, str, str]]:
        """
        Family, front-end, back-end.
        """
        return ((family, *pair) for family in FAMILIES for pair in PAIRS)

    def test_half_close(self) -> None:
        """
        The end of what the client says is not the end of the response.
        """
        for family, front, back in self.each_way():
            with dial(self.lab, family, front, ODD_PORT) as connection:
                connection.sendall(request(f"/{back}/after-eof"))
                time.sleep(0.05)  # the handoff: the FIN is to pass on its own
                connection.shutdown(socket.SHUT_WR)
                self.assertTrue(answer(connection)[1] == odd_origin.body())
        self.assert_empty()

    def test_half_close_with_the_request(self) -> None:
        """
        As above; the FIN comes with the request.
        """
        for family, front, back in self.each_way():
            with dial(self.lab, family, front, ODD_PORT) as connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
                connection.sendall(request(f"/{back}/after-eof"))
                connection.shutdown(socket.SHUT_WR)
                self.assertTrue(answer(connection)[1] == odd_origin.body())

    def test_reset_by_client(self) -> None:
        """
        It is the end of the connection for both nodes and for the origin; without it they
        would wait until C{timeouts.established}, for a quarter of an hour.
        """
        for family, front, back in self.each_way():
            connection = dial(self.lab, family, front)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            port = end(connection)[1]
            connection.sendall(request(f"/{back}/10m"))
            with connection.makefile("rb") as stream:
                stream.read(1 << 20)
            self.assertIn(f":{port}", sockets(self.lab, back))
            connection.close()
            self.await_forgotten(front, back, port)

    def await_forgotten(self, front: str, back: str, port: int) -> None:
        def forgotten() -> bool:
            left = [counts(self.lab, node) for node in (front, back)]
            return left == [NOTHING] * 2 and f":{port}" not in sockets(self.lab, back)

        self.await_that(forgotten, PATIENCE)

    def test_reset_by_origin(self) -> None:
        """
        The client hears of it, after all that was sent before.  Nothing else would end its
        connection while it waits.
        """
        for family, front, back in self.each_way():
            with dial(self.lab, family, front, ODD_PORT) as connection:
                connection.sendall(request(f"/{back}/reset"))
                received = b""
                with self.assertRaises(ConnectionResetError):
                    while True:
                        received += connection.recv(65536)
                body = received.partition(b"\r\n\r\n")[2]
                self.assertEqual(len(body), odd_origin.PART)
                self.await_forgotten(front, back, end(connection)[1])
