# SPDX-License-Identifier: MIT
"""
The check that goes all the way: a connection of nobody's, handed to this node's own
back-end half, whose answer is looked at where it would leave the host.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial
from ipaddress import ip_address
from secrets import randbits
from typing import Any

from attrs import define
from twisted.internet.defer import Deferred

from btcp.config import Check
from btcp.control.commands import HandoffRefused
from btcp.handoff.messages import PROBER, Adopted, Endpoint, Handoff, Reason, Terminate
from btcp.health.asking import Origin, Unwell, misfit

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})[ \r]")

_SERVER_HELLO = re.compile(rb"\x16\x03[\x00-\x03].{2}\x02", re.DOTALL)
"""A record of a handshake, and the message's type in it (RFC 8446, 4 and 5.1)."""

_FIRST_PORT, _PORTS = 1024, 60000
"""The client's ports are used in turn: one that comes back too soon finds the local TCP in
the end of its last connection."""

_WINDOW = 64240
_MSS = 536
"""RFC 9293, 3.7.1: every TCP can take that."""


@define
class _Asked:
    """
    @ivar judge: from the first octets of an answer to what is wrong with it; empty if nothing is.
    @ivar over: the back-end half has no connection any more.
    """

    judge: Callable[[bytes], str]
    answered: Deferred[None]
    over: bool = False

    def unwell(self, how: str) -> None:
        """
        It is not as it should be.
        """
        if not self.answered.called:
            self.answered.errback(Unwell(how))


class Probe:
    """
    The front-end of connections that no client made.
    """

    def __init__(
        self,
        handoff: Callable[[str, Handoff], Deferred[Adopted]],
        terminate: Callable[[str, list[Terminate]], object],
        front: Callable[[str, int], Endpoint],
        secured: Collection[str] = (),
    ) -> None:
        """
        @param handoff: as a peer's words are taken, by
            L{btcp.node.peer_handler.Neighbours.handoff}.
        @param terminate: likewise.
        @param front: for a listener and a length of addresses, where clients connect to.
        @param secured: listeners whose origins speak TLS.
        """
        self._secured = secured
        self._handoff = handoff
        self._terminate = terminate
        self._front = front
        self._asked: dict[int, _Asked] = {}
        self._last = 0

    def ask(self, reactor: Any, origin: Origin, check: Check) -> Deferred[Any]:
        """
        See L{btcp.health.asking.Asking}.
        """
        self._last += 1
        number = self._last
        answered: Deferred[None] = Deferred()
        if origin.listener in self._secured:
            request, judge = _hello(check.host), _judge_hello
        else:
            request, judge = _get(check, origin), partial(_judge_status, check)
        self._asked[number] = _Asked(judge, answered)
        order = self._order(number, origin, check, request)
        self._handoff(PROBER, order).addErrback(self._refused, number)
        return answered.addBoth(self._finish, number, reactor)

    def _order(self, number: int, origin: Origin, check: Check, request: bytes) -> Handoff:
        assert check.client is not None  # the configuration says so
        client = ip_address(check.client).packed
        return Handoff(
            id=number,
            listener=origin.listener,
            client=Endpoint(client, _FIRST_PORT + number % _PORTS),
            front=self._front(origin.listener, len(client)),
            irs=randbits(32),
            iss=randbits(32),
            window=_WINDOW,
            mss=_MSS if len(client) == 4 else 1220,
            client_scale=-1,
            front_scale=-1,
            sack=False,
            tsval=-1,
            front_tsval=-1,
            acked=0,
            request=request,
        )

    def _refused(self, failure: Any, number: int) -> None:
        failure.trap(HandoffRefused)
        asked = self._asked.get(number)
        if asked is not None:
            asked.over = True
            asked.unwell(f"the handoff is refused: {failure.value.reason.value}")

    def witness(self, number: int, payload: bytes) -> None:
        """
        Something that the origin would say to the client.

        @param payload: of one segment; empty if that is an acknowledgment, or the end.
        """
        asked = self._asked.get(number)
        if asked is None or asked.answered.called or not payload:
            return
        wrong = asked.judge(payload)
        if wrong:
            asked.unwell(wrong)
        else:
            asked.answered.callback(None)

    def ended(self, number: int, reason: Reason) -> None:
        """
        The origin ended the connection.
        """
        asked = self._asked.get(number)
        if asked is not None:
            asked.over = True
            asked.unwell(f"the connection ended: {reason.value}")

    def _finish(self, result: Any, number: int, reactor: Any) -> Any:
        if self._asked[number].over:
            del self._asked[number]
        else:
            # Later, for whoever told us is in the middle of something.
            reactor.callLater(0, self._abandon, number)
        return result

    def _abandon(self, number: int) -> None:
        if not self._asked.pop(number).over:
            over = Terminate(
                front=PROBER, id=number, reason=Reason.ABANDONED, client_next=0, server_next=0
            )
            self._terminate(PROBER, [over])


def _get(check: Check, origin: Origin) -> bytes:
    host = check.host or origin.netloc
    lines = (f"GET {check.path} HTTP/1.1", f"Host: {host}", "User-Agent: btcp-health")
    return "\r\n".join((*lines, "Connection: close", "", "")).encode()


def _judge_status(check: Check, payload: bytes) -> str:
    # Every status line fits into one segment.
    match = _STATUS_LINE.match(payload)
    return misfit(int(match[1]), check) if match else "it does not answer in HTTP/1"


def _hello(name: str | None) -> bytes:
    """
    @param name: what is asked for by SNI.
    @return: a ClientHello.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing of the answer is trusted, or used
    hello = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), hello, server_hostname=name)
    with suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return hello.read()


def _judge_hello(payload: bytes) -> str:
    return "" if _SERVER_HELLO.match(payload) else "it does not answer a ClientHello"
