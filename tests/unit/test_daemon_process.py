# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.daemon.process}.
"""

from __future__ import annotations

import atexit
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.application.service import Application, Service
from twisted.internet.task import Clock
from twisted.logger import ILogObserver
from twisted.trial.unittest import SynchronousTestCase

from btcp.config import Config, ConfigErrors, Log, Problem, loads
from btcp.daemon import files, privileges
from btcp.daemon.notify import Notify
from btcp.daemon.process import STATUS_TIME, Daemon, Surroundings
from btcp.lab.topology import node_yaml
from btcp.logs import LogFile, LogWriter
from btcp.node.reload import RestartNeeded
from tests.scratch import short_directory


class Reactor(Clock):
    """
    Calls from threads are made at once.
    """

    def callFromThread(self, function: Any, *arguments: object) -> None:
        function(*arguments)

    def stop(self) -> None:
        """
        See L{IReactorCore}.
        """


class FakeNode:
    """
    @ivar outcome: of a reload: the keys, or what it raises.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.reloaded: Callable[[], None] = lambda: None
        self.outcome: list[str] | Exception = []
        self.reloads = 0
        self.left = False
        self.failed: Callable[[str], None] = lambda reason: None

    def leave(self) -> None:
        self.left = True

    def reload(self) -> list[str]:
        self.reloads += 1
        if isinstance(self.outcome, Exception):
            raise self.outcome
        self.reloaded()
        return self.outcome


class Told(Notify):
    """
    Keeps what is said.
    """

    def __init__(self, watchdog: float = 0) -> None:
        super().__init__({})
        self.watchdog = watchdog
        self.said: list[dict[str, object]] = []

    def __call__(self, **values: object) -> None:
        self.said.append(values)

    def words(self) -> list[str]:
        return [key for values in self.said for key in values]


class DaemonTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.run_directory = short_directory(self)
        text = node_yaml("a", self.run_directory, "abc")
        self.node = FakeNode(loads(text, "node.yaml"))
        self.patch(os, "geteuid", lambda: 0)
        self.reactor = Reactor()
        self.notify = Told()
        self.path = Path(self.mktemp())

    def make(self, writer: LogWriter | None = None) -> Daemon:
        around = Surroundings(writer, self.notify, lambda: "well")
        return Daemon(self.reactor, self.node, around)

    def start(self, writer: LogWriter | None = None) -> Daemon:
        daemon = self.make(writer)
        daemon.privilegedStartService()
        daemon.startService()
        self.addCleanup(lambda: daemon.running and daemon.stopService())
        return daemon

    def writer(self) -> LogWriter:
        return LogWriter(Log(format="json"), LogFile(str(self.path)))

    # -- the supervisor

    def test_ready_when_all_is_started(self) -> None:
        daemon = self.make()
        inner = Service()
        seen: list[list[str]] = []
        inner.startService = lambda: seen.append(self.notify.words())  # type: ignore[method-assign]
        inner.setServiceParent(daemon)
        daemon.startService()
        self.addCleanup(daemon.stopService)
        self.assertNotIn("READY", seen[0])
        self.assertEqual(self.notify.said[-1], {"READY": 1, "STATUS": "well"})

    def test_stopping(self) -> None:
        daemon = self.start()
        self.successResultOf(daemon.stopService())
        self.assertEqual(self.notify.said[-1]["STOPPING"], 1)

    def test_status(self) -> None:
        self.start()
        self.notify.said.clear()
        self.reactor.advance(STATUS_TIME)
        self.assertEqual(self.notify.said, [{"STATUS": "well"}])

    def test_watchdog(self) -> None:
        """
        Twice in its time.
        """
        self.notify = Told(watchdog=4)
        self.start()
        self.notify.said.clear()
        self.reactor.pump([1, 1, 1, 1])
        self.assertEqual(self.notify.words().count("WATCHDOG"), 2)

    # -- signals

    def test_leaves(self) -> None:
        """
        And has the reactor stop, which would end the node's connections otherwise.
        """
        stopped: list[bool] = []
        self.patch(self.reactor, "stop", lambda: stopped.append(self.node.left))
        self.start()
        os.kill(os.getpid(), signal.SIGUSR2)
        self.reactor.advance(0)
        self.assertEqual(stopped, [True])

    def test_fails(self) -> None:
        """
        The connections are left to the next daemon, and the exit status tells the supervisor.
        """
        stopped: list[bool] = []
        at_exit: list[object] = []
        self.patch(self.reactor, "stop", lambda: stopped.append(self.node.left))
        self.patch(atexit, "register", at_exit.append)
        self.start()
        self.node.failed("the hook is in use")
        self.assertEqual((stopped, len(at_exit)), ([True], 1))
        self.assertEqual(self.notify.said[-1], {"STATUS": "ended: the hook is in use"})

    def test_hang_up(self) -> None:
        """
        The signal reads the configuration again, and no longer once it has stopped.
        """
        before = signal.getsignal(signal.SIGHUP)
        daemon = self.start()
        os.kill(os.getpid(), signal.SIGHUP)
        self.assertEqual(self.node.reloads, 1)
        self.successResultOf(daemon.stopService())
        self.assertIs(signal.getsignal(signal.SIGHUP), before)

    def test_reload(self) -> None:
        writer = self.writer()
        daemon = self.start(writer)
        self.node.config = evolve(self.node.config, log=Log(format="json", level="warn"))
        self.node.outcome = ["log.level"]
        self.notify.said.clear()
        daemon.reload()
        self.assertEqual(writer.settings.level, "warn")
        self.assertEqual(self.notify.words(), ["RELOADING", "MONOTONIC_USEC", "READY", "STATUS"])

    def test_reload_that_fails(self) -> None:
        """
        The daemon is ready all the same.
        """
        writer = self.writer()
        daemon = self.start(writer)
        problem = ConfigErrors([Problem("node.yaml", 1, 1, "odd")])
        for outcome in (problem, RestartNeeded(["run"]), ZeroDivisionError()):
            self.node.outcome = outcome
            self.notify.said.clear()
            daemon.reload()
            self.assertEqual(self.notify.said[-1]["READY"], 1)
        self.assertEqual(writer.settings.format, "json")

    def test_log_is_reopened(self) -> None:
        """
        By SIGHUP and by SIGUSR1.
        """
        self.start(self.writer())
        for number in (signal.SIGHUP, signal.SIGUSR1):
            self.path.unlink()
            os.kill(os.getpid(), number)
            self.assertTrue(self.path.exists())

    def test_log_cannot_be_reopened(self) -> None:
        writer = self.writer()
        daemon = self.start(writer)
        assert isinstance(writer.file, LogFile)
        writer.file.path = "/does/not/exist"
        daemon.reopen()
        writer.file.write("goes on\n")
        self.assertIn("goes on", self.path.read_text())

    # -- twistd

    def test_log_of_the_application(self) -> None:
        writer = self.writer()
        application = Application("btcp")
        self.make(writer).setServiceParent(application)
        self.assertIs(application.getComponent(ILogObserver), writer)
        plain = Application("btcp")
        self.make().setServiceParent(plain)
        self.assertIsNone(plain.getComponent(ILogObserver, None))

    # -- the user

    def test_becomes_a_user(self) -> None:
        """
        Who owns by then all that the daemon writes.
        """
        done: list[object] = []
        self.patch(privileges, "account", lambda user: (12, 34))
        self.patch(privileges, "become", done.append)
        self.patch(files, "make_directory", lambda *what, **_: done.append(what))
        state = Path(self.mktemp()).resolve()
        self.node.config = evolve(self.node.config, user="btcp", state=str(state))
        self.start(self.writer())
        made = [(Path(self.node.config.run), (12, 34)), (state, (12, 34))]
        self.assertEqual(done, [*made, "btcp"])

    def test_is_none_but_root_already(self) -> None:
        done: list[object] = []
        self.patch(os, "geteuid", lambda: 12)
        self.patch(privileges, "hand_on", lambda: done.append("handed on"))
        self.start()
        self.assertEqual(done, ["handed on"])
        self.assertTrue(self.run_directory.is_dir())
