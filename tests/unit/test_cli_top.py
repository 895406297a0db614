# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.cli.top}.
"""

from __future__ import annotations

import os
import pty
import sys
import termios
import time
from io import StringIO
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from btcp.admin import client
from btcp.admin.client import Connection, Reply, Unreachable
from btcp.admin.protocol import Status
from btcp.cli import top
from btcp.cli.main import main
from btcp.cli.top import Sample, view

INFO = {
    "node": "a",
    "version": "0.1.0",
    "uptime": 93784.2,
    "datapath": "ebpf",
    "adoption": "cookie",
}
NODES = [
    {"node": "a", "admin": "ready", "health": "up", "link": "self", "weight": 1, "load": 0.123,
     "rate": 7.0, "fronts": 3, "backs": 4, "epoch": 17},
    {"node": "b", "admin": "drain", "health": "unchecked", "link": "down", "weight": 1,
     "load": None, "rate": 0, "fronts": 0, "backs": 0, "epoch": None},
]  # fmt: skip


def sample(at: float, **counters: int) -> Sample:
    """
    @param counters: with C{__} for a dot and C{_} for a hyphen.
    """
    named = {key.replace("__", ".").replace("_", "-"): count for key, count in counters.items()}
    stats = {"flows": {"front": 3, "back": 4}, "counters": named}
    return Sample(at, INFO, stats, NODES)


EXPECTED = """\
btcp 0.1.0  node a  up 1d 02:03:04  ebpf datapath, adoption by cookie
flows: 3 as front-end, 4 as back-end

per second             now
connections             50
handed to peers         20
handed to itself         0
adopted                  0
ended                    5
refused                  2
answered by itself       0
dropped packets          0
packets by the kernel  100

node  admin  health     link  weight  load  rate  fronts  backs
a     ready  up         self       1  0.12   7.0       3      4
b     drain  unchecked  down       1  -        0       0      0
"""


class ViewTests(SynchronousTestCase):
    """
    Tests for L{view}.
    """

    before = sample(10.0, accept__established=100, ebpf__sent=1, ended__closed=3)
    after = sample(
        12.0,
        accept__established=200,
        handoff__sent=40,
        handoff__refused__overload=4,
        ended__closed=8,
        ended__idle=5,
        ebpf__sent=101,
        ebpf__forwarded=100,
    )

    def test_whole(self) -> None:
        shown = view(self.before, self.after, 200, 100)
        self.assertEqual("\n".join(shown) + "\n", EXPECTED)

    def test_small_screen(self) -> None:
        shown = view(self.before, self.after, 20, 5)
        self.assertEqual(shown, [line[:20] for line in EXPECTED.splitlines()[:5]])

    def test_cleared_in_between(self) -> None:
        """
        Nothing goes backwards.
        """
        self.assertNotIn("-", "".join(view(self.after, self.before, 200, 12)[4:12]))

    def test_young(self) -> None:
        info = {**INFO, "uptime": 61.9}
        shown = view(self.before, Sample(11.0, info, self.before.stats, []), 200, 1)
        self.assertIn("up 00:01:01 ", shown[0])


class FakeConnection:
    """
    @ivar looks: how often somebody looked; then the node is gone.
    """

    where = "/s"

    def __init__(self, looks: int) -> None:
        self.looks = looks

    def __enter__(self) -> FakeConnection:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def ask(self, line: str) -> Reply:
        self.looks -= line == "show info"
        if self.looks < 0:
            raise Unreachable("/s: gone")
        said: dict[str, Any] = {
            "show info": {"info": INFO},
            "show stats": {"flows": {"front": 3, "back": 4}, "counters": {}},
            "show nodes": {"nodes": NODES},
        }
        return Reply(Status.DONE, said[line])


class CommandTests(SynchronousTestCase):
    """
    C{btcp top}.
    """

    def setUp(self) -> None:
        self.out, self.err = StringIO(), StringIO()
        self.patch(sys, "stdout", self.out)
        self.patch(sys, "stderr", self.err)
        self.slept: list[float] = []
        self.patch(time, "sleep", self.slept.append)

    def run_top(self, looks: int) -> int:
        def local(path: str) -> Connection:
            made: Any = FakeConnection(looks)
            connection: Connection = made
            return connection

        self.patch(client, "local", local)
        return main(["top", "--interval", "2"])

    def test_no_terminal(self) -> None:
        """
        One view, of one interval, without a control character.
        """
        self.assertEqual(self.run_top(2), Status.DONE)
        said = self.out.getvalue()
        self.assertIn("per second             now\nconnections              0\n", said)
        self.assertNotIn("\x1b", said)
        self.assertEqual(self.slept, [2.0])

    def test_terminal(self) -> None:
        """
        View after view, on a screen that is given back at the end.
        """
        self.out.isatty = lambda: True  # type: ignore[method-assign]
        self.patch(sys, "stdin", StringIO())
        self.assertEqual(self.run_top(4), Status.UNREACHABLE)
        said = self.out.getvalue()
        self.assertEqual(said.count("node a"), 3)
        self.assertTrue(said.startswith(top._OTHER_SCREEN))
        self.assertTrue(said.endswith(top._OWN_SCREEN))
        self.assertEqual(self.err.getvalue(), "btcp: /s: gone\n")

    def test_key(self) -> None:
        """
        The letter q ends it, and the terminal is as it was.
        """
        ours, theirs = pty.openpty()
        self.addCleanup(os.close, ours)
        self.out.isatty = lambda: True  # type: ignore[method-assign]
        with os.fdopen(theirs, "r") as terminal:
            self.patch(sys, "stdin", terminal)
            before = termios.tcgetattr(terminal)
            os.write(ours, b"xq")
            self.assertEqual(self.run_top(3), Status.DONE)
            self.assertEqual(termios.tcgetattr(terminal), before)

    def test_interval(self) -> None:
        for interval in ("0", "x", "1e9"):
            self.assertEqual(main(["top", "--interval", interval]), Status.MISUSED)

    def test_node_that_does_not_say(self) -> None:
        self.patch(
            FakeConnection, "ask", lambda self, line: Reply(Status.FAILED, {"error": "a defect"})
        )
        self.assertEqual(self.run_top(2), Status.UNREACHABLE)
        self.assertEqual(self.err.getvalue(), "btcp: /s: a defect\n")
