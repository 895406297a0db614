# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.daemon.notify}.
"""

from __future__ import annotations

import os
import time
from socket import AF_UNIX, SOCK_DGRAM, socket
from tempfile import TemporaryDirectory

from twisted.trial.unittest import SynchronousTestCase

from btcp.daemon.notify import Notify


class NotifyTests(SynchronousTestCase):
    def listen(self, path: str) -> socket:
        listening = socket(AF_UNIX, SOCK_DGRAM)
        self.addCleanup(listening.close)
        listening.bind(path)
        listening.settimeout(2)
        return listening

    def test_file(self) -> None:
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        path = os.path.join(directory.name, "notify")
        listening = self.listen(path)
        Notify({"NOTIFY_SOCKET": path})(READY=1, STATUS="2 of 2")
        self.assertEqual(listening.recv(100), b"READY=1\nSTATUS=2 of 2")

    def test_abstract_name(self) -> None:
        name = f"btcp-test-{os.getpid()}"
        listening = self.listen("\0" + name)
        before = time.monotonic_ns() // 1000
        Notify({"NOTIFY_SOCKET": "@" + name}).reloading()
        said = dict(line.split("=") for line in listening.recv(100).decode().splitlines())
        self.assertEqual(said["RELOADING"], "1")
        self.assertTrue(before <= int(said["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000)

    def test_nobody(self) -> None:
        """
        Neither that nobody asks nor that he is gone is an error.
        """
        Notify({})(READY=1)
        Notify({"NOTIFY_SOCKET": "/does/not/exist"})(READY=1)

    def test_watchdog(self) -> None:
        self.assertEqual(Notify({}).watchdog, 0)
        self.assertEqual(Notify({"WATCHDOG_USEC": "30000000"}).watchdog, 30)
        self.assertEqual(Notify({"WATCHDOG_USEC": "odd"}).watchdog, 0)
