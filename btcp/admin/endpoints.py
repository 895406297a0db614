# SPDX-License-Identifier: MIT
"""
Where a node can be managed: its socket, and its TLS port.
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
    Another process listens on the management socket, or it is no socket.
    """


class Protected(Protocol):
    """
    What of L{btcp.control.protection.Protection} is used here.
    """

    def factory(
        self, make: Callable[[Any], TwistedProtocol | None], dialing: bool
    ) -> IProtocolFactory: ...


class ManageService(Service):
    """
    Listens for people.
    """

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._listening: Any = None

    def listen(self) -> Any:
        """
        Override.

        @return: an C{IListeningPort}.
        """
        raise NotImplementedError

    def startService(self) -> None:
        """
        Begin.
        """
        self._listening = self.listen()
        super().startService()

    def stopService(self) -> Deferred[Any]:
        """
        Listen no more, and end all sessions.
        """
        super().stopService()
        listening, self._listening = self._listening, None
        stopping = [] if listening is None else [maybeDeferred(listening.stopListening)]
        return gatherResults([*stopping, *self._sessions.close()])


class SocketService(ManageService):
    """
    The management socket, which is for its owner alone.
    """

    def __init__(self, path: str, sessions: Sessions, reactor: Any) -> None:
        """
        @param path: of the socket; its directory exists.
        @param reactor: provides C{IReactorUNIX}.
        """
        super().__init__(sessions)
        self._path = path
        self._reactor = reactor

    def listen(self) -> Any:
        """
        @raise SocketInUse: if somebody else listens there.
        """
        remove_stale(self._path)
        return self._reactor.listenUNIX(self._path, self._sessions, mode=0o600)


class TlsService(ManageService):
    """
    The port for operators with certificates.
    """

    def __init__(
        self, end: tuple[str, int], sessions: Sessions, protection: Protected, reactor: Any
    ) -> None:
        """
        @param end: address and port.
        @param protection: shows the node's certificate, and wants one.
        @param reactor: provides C{IReactorTCP}.
        """
        super().__init__(sessions)
        self._end = end
        self._protection = protection
        self._reactor = reactor

    def listen(self) -> Any:
        """
        @raise twisted.internet.error.CannotListenError: if the address cannot be had.
        """
        factory = self._protection.factory(self._sessions.buildProtocol, dialing=False)
        return listen(self._reactor, *self._end, factory)


def remove_stale(path: str) -> None:
    """
    Remove the socket that a node left behind that did not end in order.

    @raise SocketInUse: if somebody listens on it, or it is something else.
    """
    try:
        is_socket = stat.S_ISSOCK(os.lstat(path).st_mode)
    except FileNotFoundError:
        return
    if not is_socket:
        raise SocketInUse(f"{path} is not a socket")
    with socket(AF_UNIX, SOCK_STREAM) as probe:
        # A full queue of connections must not make us wait, and is a sign of life.
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:
            pass
    raise SocketInUse(f"another node listens on {path}")
