# SPDX-License-Identifier: MIT
"""
The top-level service: log file, change of user, signals, notification of the service manager.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from attrs import frozen
from twisted.application.internet import TimerService
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, Logger
from twisted.python.components import Componentized

from btcp.config import Config
from btcp.daemon import files, privileges
from btcp.daemon.notify import Notify
from btcp.daemon.startup import reasons_in_one_line
from btcp.logs import LogFile, LogWriter
from btcp.node.service import Node

STATUS_TIME = 10.0
"""Seconds between updates of the status text, unless the watchdog needs them more often."""

log = Logger()


class Reloading(Protocol):
    """
    The part of L{btcp.node.service.Node} that the daemon uses.

    @ivar reloaded: called when a new configuration is in effect.
    """

    reloaded: Callable[[], None]

    @property
    def config(self) -> Config: ...

    def reload(self) -> list[str]: ...

    def leave(self) -> None: ...

    failed: Callable[[str], None]


@frozen
class Surroundings:
    """
    The daemon's connections to its environment.

    @ivar writer: writes the log in place of C{twistd}; L{None} if C{twistd} writes it.
    @ivar notify: notifies the service manager.
    @ivar status: returns the node's state in one line.
    """

    writer: LogWriter | None
    notify: Notify
    status: Callable[[], str]


class Daemon(MultiService):
    """
    The top-level service.
    """

    def __init__(self, reactor: Any, node: Reloading, around: Surroundings) -> None:
        """
        @param reactor: provides C{IReactorTime} and C{IReactorFromThreads}.
        """
        super().__init__()
        self._reactor = reactor
        self._node = node
        self._writer, self._notify, self._status = around.writer, around.notify, around.status
        node.reloaded = self._reloaded
        node.failed = self.fail
        self._before: dict[int, Any] = {}
        telling: Any = TimerService(self._beat(), self._tell)
        telling.clock = reactor
        telling.setServiceParent(self)

    def _beat(self) -> float:
        watchdog = self._notify.watchdog
        return min(STATUS_TIME, watchdog / 2) if watchdog else STATUS_TIME

    # -- starting -------------------------------------------------------------

    def setServiceParent(self, parent: Any) -> None:
        """
        Set the parent; if it is Twisted's application, make it log through the log writer.
        """
        if self._writer is not None and isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self._writer)
        super().setServiceParent(parent)

    def privilegedStartService(self) -> None:
        """
        Change to the configured user, after C{twistd} has detached and written its pid file and
        before any other service starts.

        @raise StartError: if that fails.
        """
        with reasons_in_one_line():
            self._change_user()
            super().privilegedStartService()

    def _change_user(self) -> None:
        config = self._node.config
        user = config.user
        owner = files.owner_of(user)
        files.make_directory(Path(config.run), owner)
        if owner is not None and user is not None:
            files.make_directory(Path(config.state), owner, suffix=".json")
            privileges.become(user)
            log.info("changed to user {user}, with {names}", user=user, names=_names())
        elif os.geteuid() != 0:
            privileges.hand_on()
            log.info("not started as root; has {names}", names=_names())

    def startService(self) -> None:
        """
        Start all services, then notify the service manager.

        @raise StartError: if the host does not allow it, such as for an occupied port.
        """
        with reasons_in_one_line():
            super().startService()
        self._catch(signal.SIGHUP, self.reload)
        self._catch(signal.SIGUSR2, self.leave)
        if self._writer is not None:
            self._catch(signal.SIGUSR1, self.reopen)
        self._notify(READY=1, STATUS=self._status())

    def stopService(self) -> Deferred[Any]:
        """
        Notify the service manager, then stop all services.
        """
        self._notify(STOPPING=1, STATUS="ending all connections")
        for number, before in self._before.items():
            signal.signal(number, before)
        self._before.clear()
        stopped: Deferred[Any] = super().stopService()
        return stopped

    def _catch(self, number: int, act: Callable[[], object]) -> None:
        def caught(*_: object) -> None:
            self._reactor.callFromThread(act)

        self._before[number] = signal.signal(number, caught)

    def _tell(self) -> None:
        self._notify(STATUS=self._status())
        if self._notify.watchdog:
            self._notify(WATCHDOG=1)

    # -- signals --------------------------------------------------------------

    def leave(self) -> None:
        """
        Stop the daemon, leaving the connections to the next one.
        """
        self._node.leave()
        self._reactor.stop()

    def fail(self, reason: str) -> None:
        """
        End with exit status 1 and leave the connections to the next daemon, which the supervisor
        starts.
        """
        log.critical("this node cannot go on, and ends: {reason}", reason=reason)
        self._notify(STATUS=f"ended: {reason}")
        atexit.register(_exit_failed)  # twistd itself knows no other status than success
        self.leave()

    def reload(self) -> None:
        """
        Reload the configuration and reopen the log file.  If the configuration has errors, they
        are logged and the old one stays in effect.
        """
        self._notify.reloading()
        self.reopen()
        with suppress(Exception):  # logged by the node
            self._node.reload()
        self._notify(READY=1, STATUS=self._status())

    def _reloaded(self) -> None:
        if self._writer is not None:
            self._writer.settings = self._node.config.log

    def reopen(self) -> None:
        """
        Reopen the log file, after log rotation has renamed it.
        """
        if self._writer is None or not isinstance(self._writer.file, LogFile):
            return
        try:
            self._writer.file.reopen()
        except OSError as problem:
            log.error("cannot reopen the log; the old file stays in use: {why}", why=str(problem))


def _exit_failed() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)


def status(node: Node) -> str:
    """
    Format a node's state as one line: links and flows.
    """
    links = [link["state"] for link in node.peers.states().values()]
    fronts, backs = len(node.core.acceptor.flows), len(node.core.adopter.flows)
    return (
        f"node {node.config.node}: {links.count('up')} of {len(links)} links up, "
        f"{fronts} flows as front-end, {backs} as back-end"
    )


def _names() -> str:
    having = privileges.held()
    return ", ".join(each.name for each in privileges.ALL if each.number in having)
