# SPDX-License-Identifier: MIT
"""
The node's side of the management socket.
"""

from __future__ import annotations

import json
import os
import stat
from socket import AF_UNIX, SOCK_STREAM, socket
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.protocol import Factory
from twisted.protocols import amp

from btcp.manage.commands import PAGE, Show, UnknownSubject


class SocketInUse(Exception):
    """
    Another process listens on the management socket, or it is no socket.
    """


class ShowSource(Protocol):
    """
    The node.
    """

    def show(self, what: str) -> object:
        """
        @param what: C{stats}, C{flows} or C{peers}.
        @return: something that L{json} can write; what it cannot is written as
            C{str} does.
        @raise KeyError: if there is no such thing.
        """


class ManageProtocol(amp.AMP):
    """
    One person asking.
    """

    def __init__(self, source: ShowSource) -> None:
        super().__init__()
        self._source = source
        self._kept: dict[str, bytes] = {}

    @Show.responder
    def show(self, what: str, page: int) -> dict[str, object]:
        """
        Answer L{Show}.
        """
        text = self._render(what) if page == 0 else self._kept.get(what, b"")
        pages = max(1, -(-len(text) // PAGE))
        # Only what somebody is in the middle of reading is worth keeping.
        self._kept = {what: text} if page < pages - 1 else {}
        return {"text": text[page * PAGE : (page + 1) * PAGE], "pages": pages}

    def _render(self, what: str) -> bytes:
        try:
            shown = self._source.show(what)
        except KeyError:
            raise UnknownSubject(what) from None
        return json.dumps(shown, default=str, separators=(",", ":")).encode()


class ManageFactory(Factory):
    """
    Makes one L{ManageProtocol} a connection.
    """

    noisy = False

    def __init__(self, source: ShowSource) -> None:
        self._source = source

    def buildProtocol(self, addr: object) -> ManageProtocol:
        """
        Whoever can open the socket may ask.
        """
        protocol = ManageProtocol(self._source)
        protocol.factory = self
        return protocol


class ManageService(Service):
    """
    Listens on the management socket, which is for its owner alone.
    """

    def __init__(self, path: str, source: ShowSource, reactor: Any) -> None:
        """
        @param path: of the socket; its directory exists.
        @param reactor: provides C{IReactorUNIX}.
        """
        self._path = path
        self._factory = ManageFactory(source)
        self._reactor = reactor
        self._listening: Any = None

    def startService(self) -> None:
        """
        @raise SocketInUse: if somebody else listens there.
        """
        remove_stale(self._path)
        self._listening = self._reactor.listenUNIX(self._path, self._factory, mode=0o600)
        super().startService()

    def stopService(self) -> Deferred[Any] | None:
        """
        Stop listening and remove the socket.
        """
        super().stopService()
        listening, self._listening = self._listening, None
        return maybeDeferred(listening.stopListening) if listening is not None else None


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
