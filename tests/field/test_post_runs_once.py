# SPDX-License-Identifier: MIT
"""
A node is lost while its origin works on a request that must not be executed twice (RFC 9110,
9.2.2): its daemon hangs or is killed, or its links go down.  Another node holds the content too.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable, Mapping
from subprocess import Popen
from typing import ClassVar

from tests.integration.test_failures import FailureTestCase
from tests.modes import in_every_mode
from tests.parallel import slot

_DELAY = 6.0
"""Seconds that the origins work: longer than it takes to notice that a node is lost."""


@in_every_mode
class PostTests(FailureTestCase):
    prefix: ClassVar[str] = f"post{slot()}"

    def _executed(self, lose: Callable[[str], None], *options: str) -> tuple[int, int, int]:
        """
        Send one request to node a, which holds nothing, and lose the node that works on it.

        @return: how many origins have executed it, its status code, and curl's exit status.
        """
        self.await_links()
        origins = {node: self.start_origin(node, _DELAY) for node in "bc"}
        fetch = self.fetch("a", "/late/x", *options)
        worker = self._worker(origins)
        lose(worker)
        fetched = fetch.wait(30)
        executed = 1
        for node, origin in origins.items():
            origin.kill()
            said, _ = origin.communicate()
            executed += said.count(b"executed") if node != worker else 0
        return executed, fetched.status, fetched.exit

    def _worker(self, origins: Mapping[str, Popen[bytes]]) -> str:
        """
        Wait for the first origin that begins to execute.
        """
        pipes = {origin.stdout: node for node, origin in origins.items() if origin.stdout}
        ready, _, _ = select.select(list(pipes), [], [], 20)
        self.assertTrue(ready, "no origin received the request")
        (first,) = ready
        self.assertEqual(first.readline(), b"executed\n")
        return pipes[first]

    def _kill(self, node: str) -> None:
        pid = self.lab.daemon_pid(node)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

    def _check(self, lose: Callable[[str], None]) -> None:
        executed, status, _ = self._executed(lose, "-d", "order=1")
        self.assertEqual(executed, 1)
        self.assertIn(status, (0, 200))

    def test_post_runs_once_when_daemon_hangs(self) -> None:
        self._check(self.pause)

    def test_post_runs_once_when_daemon_is_killed(self) -> None:
        self._check(self._kill)

    def test_post_runs_once_when_links_are_cut(self) -> None:
        self._check(self.cut)
