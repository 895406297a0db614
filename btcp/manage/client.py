# SPDX-License-Identifier: MIT
"""
The asking side of the management socket.
"""

from __future__ import annotations

import json
from collections.abc import Generator
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
