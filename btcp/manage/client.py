# SPDX-License-Identifier: MIT
"""
The asking side of the management socket.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from socket import AF_UNIX, SOCK_STREAM, socket
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol
from twisted.protocols import amp

from btcp.manage.commands import Show

PATIENCE = 30.0
"""Seconds for a whole answer; a node with a full flow table writes some 50 MB."""


def query(path: str, what: str, reactor: Any) -> Deferred[object]:
    """
    Ask the node that listens on the socket C{path}.

    @param what: C{stats}, C{flows} or C{peers}.
    @param reactor: provides C{IReactorUNIX} and C{IReactorTime}.
    @return: fires with what the node's JSON says; fails with
        L{UnknownSubject<btcp.manage.commands.UnknownSubject>},
        C{twisted.internet.error.ConnectError} or C{TimeoutError}.
    """
    asked = _ask(path, what, reactor)
    return asked.addTimeout(PATIENCE, reactor)


@inlineCallbacks
def _ask(path: str, what: str, reactor: Any) -> Generator[Deferred[Any], Any, object]:
    endpoint = UNIXClientEndpoint(reactor, path)
    protocol = yield connectProtocol(endpoint, amp.AMP())
    try:
        text, page, pages = bytearray(), 0, 1
        while page < pages:
            answer = yield protocol.callRemote(Show, what=what, page=page)
            text += answer["text"]
            page, pages = page + 1, answer["pages"]
    finally:
        if protocol.transport is not None:
            protocol.transport.loseConnection()
    return json.loads(text)


def query_now(path: str, what: str) -> object:
    """
    As L{query}, for programs without a reactor: waits for the answer.

    @raise OSError: if nobody listens, or answers in time.
    @raise ValueError: if the answer is none that a node gives.
    """
    with socket(AF_UNIX, SOCK_STREAM) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(path)
        text, page, pages = b"", 0, 1
        while page < pages:
            asked = {"what": what, "page": page}
            box = amp.AmpBox(Show.makeArguments(asked, None))
            box[amp.COMMAND], box[amp.ASK] = Show.commandName, b"%d" % page
            connection.sendall(box.serialize())
            answer = _read_box(connection)
            if amp.ANSWER not in answer:
                raise ValueError(f"{path} does not show {what}")
            text += answer[b"text"]
            page, pages = page + 1, int(answer[b"pages"])
    return json.loads(text)


def _read_box(connection: socket) -> amp.AmpBox:
    data = b""
    boxes: list[amp.AmpBox] = []
    while not boxes:
        piece = connection.recv(65_536)
        if not piece:
            raise ConnectionError("the node closed the management socket")
        data += piece
        boxes = amp.parseString(data)
    return boxes[0]
