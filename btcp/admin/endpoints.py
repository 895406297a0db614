# SPDX-License-Identifier: MIT
"""
Endpoints of the management interface: the local socket and the TLS port.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from socket import AF_UNIX, SOCK_STREAM, socket
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Protocol as TwistedProtocol

from btcp.admin.server import Sessions
from btcp.control.dialing import listen


class SocketInUse(Exception):
    """
    A management socket that another process listens on, or a path that is not a socket.
    """


class Protected(Protocol):
    """
    The part of L{btcp.control.protection.Protection} that the TLS port uses.
    """

    def factory(
        self, make: Callable[[Any], TwistedProtocol | None], dialing: bool
    ) -> IProtocolFactory: ...


class ManageService(Service):
    """
    Base of the services that accept management sessions.
    """

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._listening: Any = None

    def listen(self) -> Any:
        """
        Start to listen.  To be overridden.

        @return: an C{IListeningPort}.
        """
        raise NotImplementedError

    def startService(self) -> None:
        """
        Start to listen.
        """
        self._listening = self.listen()
        super().startService()

    def stopService(self) -> Deferred[Any]:
        """
        Stop listening and close all sessions.

        @return: fires when all connections are closed.
        """
        super().stopService()
        listening, self._listening = self._listening, None
        stopping = [] if listening is None else [maybeDeferred(listening.stopListening)]
        return gatherResults([*stopping, *self._sessions.close()])


class SocketService(ManageService):
    """
    The management socket, which only the daemon's user (and root) can open.
    """

    def __init__(self, path: str, sessions: Sessions, reactor: Any) -> None:
        """
        @param path: the socket's path; its directory must exist.
        @param reactor: provides C{IReactorUNIX}.
        """
        super().__init__(sessions)
        self._path = path
        self._reactor = reactor

    def listen(self) -> Any:
        """
        Replace a stale socket and listen.

        @raise SocketInUse: if another process listens on the socket.
        """
        remove_stale(self._path)
        return self._reactor.listenUNIX(self._path, self._sessions, mode=0o600)


class TlsService(ManageService):
    """
    The TLS port for operators with certificates.
    """

    def __init__(
        self, end: tuple[str, int], sessions: Sessions, protection: Protected, reactor: Any
    ) -> None:
        """
        @param end: address and port.
        @param protection: provides mutual TLS with the node's certificate.
        @param reactor: provides C{IReactorTCP}.
        """
        super().__init__(sessions)
        self._end = end
        self._protection = protection
        self._reactor = reactor

    def listen(self) -> Any:
        """
        Listen on the address and port.

        @raise twisted.internet.error.CannotListenError: if the address is not available.
        """
        factory = self._protection.factory(self._sessions.buildProtocol, dialing=False)
        return listen(self._reactor, *self._end, factory)


def remove_stale(path: str) -> None:
    """
    Remove the socket of a daemon that did not stop in order.

    @raise SocketInUse: if a process listens on it, or the path is not a socket.
    """
    try:
        is_socket = stat.S_ISSOCK(os.lstat(path).st_mode)
    except FileNotFoundError:
        return
    if not is_socket:
        raise SocketInUse(f"{path} is not a socket")
    with socket(AF_UNIX, SOCK_STREAM) as probe:
        # Non-blocking: a full accept queue must not block, and shows that a process listens.
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:
            pass
    raise SocketInUse(f"another node listens on {path}")
