# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.lab.processes}: only what is provably the lab's own is ended.

The namespace that the tests themselves run in stands in for a lab's.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from btcp.lab.processes import end, read_pid, recorded

OURS = Path("/proc/self/ns/net")


class EndTests(SynchronousTestCase):
    def start(self, *command: str, session: bool = True) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=session
        )
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process

    def record(self, pid: int) -> Path:
        path = Path(self.mktemp())
        path.write_text(f"{pid}\n")
        return path

    def test_recorded_ends(self) -> None:
        process = self.start("sleep", "60")
        self.assertEqual(end(recorded([self.record(process.pid)], [OURS])), [])
        self.assertEqual(process.wait(), -signal.SIGTERM)

    def test_unrecorded_lives(self) -> None:
        recorded_one, other = self.start("sleep", "60"), self.start("sleep", "60")
        end(recorded([self.record(recorded_one.pid)], [OURS]))
        self.assertIsNone(other.poll())

    def test_elsewhere_lives(self) -> None:
        process = self.start("sleep", "60")
        end(recorded([self.record(process.pid)], [Path("/proc/self/ns/uts")]))
        self.assertIsNone(process.poll())

    def test_no_namespace_left(self) -> None:
        process = self.start("sleep", "60")
        end(recorded([self.record(process.pid)], [Path("/run/netns/does-not-exist")]))
        self.assertIsNone(process.poll())

    def test_session_ends_with_its_dead_leader(self) -> None:
        leader = self.start("sh", "-c", "sleep 60 & echo $!; exit")
        assert leader.stdout is not None
        orphan = int(leader.stdout.readline())
        leader.wait()
        grip = os.pidfd_open(orphan)
        self.addCleanup(os.close, grip)
        end(recorded([self.record(leader.pid)], [OURS]))
        # A pidfd is readable once its process has ended, whoever may still have to reap it.
        self.assertEqual(select.select([grip], [], [], 0)[0], [grip])

    def test_deaf_is_killed(self) -> None:
        process = self.start("sh", "-c", "trap '' TERM; echo; while :; do sleep 1; done")
        assert process.stdout is not None
        process.stdout.readline()
        killed = end(recorded([self.record(process.pid)], [OURS]), patience=0.2)
        self.assertIn(process.pid, killed)
        self.assertEqual(process.wait(), -signal.SIGKILL)


class ReadPidTests(SynchronousTestCase):
    def test_absent_empty_garbage(self) -> None:
        self.assertIsNone(read_pid(Path("/does/not/exist")))
        for text in ("", "abc"):
            path = Path(self.mktemp())
            path.write_text(text)
            self.assertIsNone(read_pid(path))
