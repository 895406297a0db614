# SPDX-License-Identifier: MIT
"""
What the tests of TCP's rules have in common: a lab of their own, and what its kernels count.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import ClassVar

from twisted.trial.unittest import SynchronousTestCase

from btcp.lab.topology import CLIENT, LISTEN_PORT, ORIGIN_PORT, url
from tests.claims.scene import emptied
from tests.claims.stage import Stage
from tests.integration.standing import GUARD
from tests.modes import RAW_REPLAY, Mode

ODD_PORT = 81
ODD_ORIGIN = 8081
"""Of servers that a test starts, see L{tests.integration.odd_origin}."""

STAGE = Stage(
    "claimstcp",
    {
        "listeners": {
            "web": {"port": LISTEN_PORT, "origin": ORIGIN_PORT},
            "odd": {"port": ODD_PORT, "origin": ODD_ORIGIN},
        }
    },
)
FAMILIES = (4, 6)
PAIRS = (("a", "b"), ("b", "b"))
"""Front-end and back-end: a handoff, and a connection that stays."""

NOTHING = {"front": 0, "back": 0}


class RulesTestCase(SynchronousTestCase):
    """
    @cvar mode: in which the nodes work.
    @ivar lab: stands, with a daemon on each node.
    """

    mode: ClassVar[Mode] = RAW_REPLAY

    def setUp(self) -> None:
        self.lab = STAGE.lab(self.mode)

    def tcp_counters(self, node: str, *names: str) -> dict[str, int]:
        """
        Of the node's kernel, as nstat has them.
        """
        text = self.lab.exec(node, ["cat", "/proc/net/netstat"]).stdout.decode()
        keys, values = re.findall(r"^TcpExt: (.*)$", text, re.MULTILINE)
        found = dict(zip(keys.split(), map(int, values.split()), strict=True))
        return {name: found[name] for name in names}

    def counter(self, node: str, name: str) -> int:
        """
        Of the node's daemon.
        """
        counters: dict[str, int] = self.lab.query(node, "stats")["counters"]
        return counters.get(name, 0)

    def set(self, host: str, key: str, value: str) -> None:
        """
        Change a sysctl of a host until the test is over.
        """
        before = self.lab.exec(host, ["sysctl", "-n", key]).stdout.decode().strip()
        self.lab.exec(host, ["sysctl", "-q", f"{key}={value}"])
        self.addCleanup(self.lab.exec, host, ["sysctl", "-q", f"{key}={before}"])

    def await_that(self, holds: Callable[[], bool], seconds: float) -> None:
        """
        See L{tests.integration.standing.ClusterTestCase.await_that}.
        """
        deadline = time.monotonic() + max(seconds, GUARD)
        while not holds():
            self.assertLess(time.monotonic(), deadline, "it hangs")
            time.sleep(0.02)

    def curl(self, *arguments: str) -> bytes:
        done = self.lab.exec(CLIENT, ["curl", "-sS", "-m", "30", *arguments])
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def download(self, family: int, front: str, back: str, octets: int = 10 << 20) -> None:
        path = f"/{back}/10m"
        body = self.curl("-r", f"0-{octets - 1}", url(front, family, path))
        self.assertTrue(body == self.lab.content(path)[:octets])

    def assert_empty(self) -> None:
        """
        No node knows a flow any more, or soon none will.
        """
        self.assertEqual(emptied(self.lab), dict.fromkeys(self.lab.nodes, NOTHING))
