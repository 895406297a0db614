# SPDX-License-Identifier: MIT
"""
The state of the origin's socket: to the back-end's TCP, the path to the client must look as it
would on a direct connection.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

from btcp.lab.topology import CLIENT, ORIGIN_PORT, ROUTER, url
from tests.claims.scene import end
from tests.claims.stage import answer, dial, request
from tests.integration.rules import FAMILIES
from tests.integration.standing import ClusterTestCase
from tests.modes import in_every_mode

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
        @return: what C{ss -ti} says of the origin's socket, by name.  C{ssthresh} and C{retrans}
            are there only if TCP has left its first slow start, or has sent anything again.
        """
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
                self.assertNotIn("retrans", facts)
                self.assertGreaterEqual(facts["cwnd"], _INITIAL_WINDOW)
