# SPDX-License-Identifier: MIT
"""
The state of the origin's socket: to the back-end's TCP, the path to the client must look as it
would on a direct connection.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Mapping
from functools import partial
from itertools import product
from typing import ClassVar

from btcp.lab.topology import CLIENT, ORIGIN_PORT, ROUTER, url
from tests.claims.scene import end
from tests.claims.stage import answer, dial, request
from tests.integration.rules import FAMILIES
from tests.integration.standing import ClusterTestCase
from tests.modes import EBPF_COOKIE, EBPF_REPLAY, EXPRESS, in_every_mode, in_modes

_CONFIG: Mapping[str, object] = {}
_FACT = re.compile(r"(\w+):([\d.]+)")
_INITIAL_WINDOW = 10
"""Segments; RFC 6928, and Linux's TCP_INIT_CWND."""


class OriginSocketTestCase(ClusterTestCase):
    config: ClassVar[Mapping[str, object]] = _CONFIG

    def setUp(self) -> None:
        super().setUp()
        for family in FAMILIES:
            self._use_cubic(family)
            # The first packets of a new lab wait for neighbours to be discovered, those of the
            # client at the front-end as well, which are forwarded: hence two requests.
            target = url("a", family, "/b/1k")
            self.assertEqual(self.lab.exec(CLIENT, ["curl", "-s", target, target]).returncode, 0)
        self.lab.exec("b", ["ip", "tcp_metrics", "flush"])
        if self.mode.express:
            self.await_that(self._expressed, 10, self.flows)

    def _use_cubic(self, family: int) -> None:
        """
        BBR, which may be the machine's default, keeps no ssthresh.  A network namespace may
        choose only among the algorithms that the machine allows to everybody, a route any.
        """
        gateway = self.lab.address(ROUTER, family)
        change = ["ip", f"-{family}", "route", "change", "default", "via", gateway]
        done = self.lab.exec("b", [*change, "congctl", "cubic"])
        self.assertEqual(done.returncode, 0, done.stderr)

    def _expressed(self) -> bool:
        """
        Have a request answered.

        @return: whether the kernel handed it off; in the first second after a start the daemon
            does.
        """
        before = self.counters("a")["ebpf.expressed"]
        self.lab.exec(CLIENT, ["curl", "-s", url("a", 4, "/b/1k")])
        return self.counters("a")["ebpf.expressed"] > before

    def origin_socket(self, port: int, node: str = "b") -> dict[str, float]:
        """
        @param port: the client's.
        @return: what C{ss -ti} says of the origin's socket when all that it has sent is
            acknowledged, by name.  C{ssthresh} and C{bytes_retrans}
            are there only if TCP has left its first slow start, or has sent data again.
        """
        self.await_that(lambda: "unacked" not in self._facts(node, port), 5, str)
        return self._facts(node, port)

    def _facts(self, node: str, port: int) -> dict[str, float]:
        wanted = f"( sport = :{ORIGIN_PORT} and dport = :{port} )"
        shown = self.lab.exec(node, ["ss", "-Htin", wanted]).stdout.decode()
        self.assertIn("cwnd:", shown)
        return {name: float(number) for name, number in _FACT.findall(shown)}


@in_every_mode
class CongestionTests(OriginSocketTestCase):
    """
    What BTCP keeps from the wire is not congestion.
    """

    def test_window(self) -> None:
        """
        After the first response the back-end's TCP is still in slow start, with no less than the
        initial window, and has sent nothing again.
        """
        for family in FAMILIES:
            with dial(self.lab, family, "a") as connection:
                connection.sendall(request("/b/1k"))
                self.assertEqual(answer(connection)[0].status, 200)
                facts = self.origin_socket(end(connection)[1])
                self.assertNotIn("ssthresh", facts)
                self.assertNotIn("bytes_retrans", facts)
                self.assertGreaterEqual(facts["cwnd"], _INITIAL_WINDOW)


_DELAY = 0.06
"""Seconds, of the round-trip time."""


@in_every_mode
class RoundTripTests(OriginSocketTestCase):
    """
    The back-end's TCP begins with the client's round-trip time, not with that of a handshake which
    it never had, or had with the daemon.
    """

    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(self.lab.distance, 0)
        self.lab.distance(_DELAY)

    def test_sample(self) -> None:
        """
        Whether the client asks at once, or has been connected for a while.
        """
        for family, pause in product(FAMILIES, (0.0, 1.0)):
            with dial(self.lab, family, "a") as connection:
                time.sleep(pause)
                connection.sendall(request("/b/1k"))
                self.assertEqual(answer(connection)[0].status, 200)
                facts = self.origin_socket(end(connection)[1])
                self.assertGreater(facts["minrtt"], 0.9 * _DELAY * 1000)
                self.assertLess(facts["rtt"], 2 * _DELAY * 1000)
                self.assertNotIn("bytes_retrans", facts)

    def test_sent_once(self) -> None:
        """
        Further away than the least timeout of TCP, nothing is sent again that is not lost.
        """
        self.lab.distance(0.25)
        for family in FAMILIES:
            with dial(self.lab, family, "a") as connection:
                connection.sendall(request("/b/100k"))
                self.assertEqual(answer(connection)[0].status, 200)
                facts = self.origin_socket(end(connection)[1])
                self.assertNotIn("bytes_retrans", facts)
                self.assertNotIn("dsack_dups", facts)


@in_modes(EBPF_COOKIE, EXPRESS)
class WaitingTests(OriginSocketTestCase):
    """
    A client connects in advance, as browsers do.
    """

    mode = EBPF_REPLAY

    def _probed(self, times: int) -> bool:
        return self.counters("a")["ebpf.probed"] >= times

    def test_keep_alive(self) -> None:
        """
        Its probes are answered, and the request that comes at last is served.
        """
        for family in FAMILIES:
            with dial(self.lab, family, "a") as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
                before = self.counters("a")["ebpf.probed"]
                self.await_that(
                    partial(self._probed, before + 2),
                    20,
                    lambda: self.counters("a"),
                )
                connection.sendall(request("/b/1k"))
                self.assertEqual(answer(connection)[0].status, 200)
