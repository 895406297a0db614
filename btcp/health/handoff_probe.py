# SPDX-License-Identifier: MIT
"""
Health check by handoff: hands a synthetic client's connection to this node's own back-end half
and evaluates the origin's response at the point where packets would leave the host.
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
from btcp.health.checks import CheckFailed, Origin, status_problem

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})[ \r]")

_SERVER_HELLO = re.compile(rb"\x16\x03[\x00-\x03].{2}\x02", re.DOTALL)
"""The header of a handshake record and the message type ServerHello (RFC 8446, 4 and 5.1)."""

_FIRST_PORT, _PORTS = 1024, 60000
"""The range of source ports, used in turn: the local TCP may still have the last connection of
a port in TIME-WAIT."""

_WINDOW = 64240
_MSS = 536
"""The default MSS of IPv4, which every TCP accepts (RFC 9293, 3.7.1)."""


@define
class _Pending:
    """
    A check in progress.

    @ivar problem_of: returns the problem with a response, given its first octets; empty if
        there is none.
    @ivar answered: fires with the result of the check.
    @ivar over: whether the back-end half has ended the connection.
    """

    problem_of: Callable[[bytes], str]
    answered: Deferred[None]
    over: bool = False

    def fail(self, how: str) -> None:
        """
        Fail the check, unless it has a result.
        """
        if not self.answered.called:
            self.answered.errback(CheckFailed(how))


class HandoffProbe:
    """
    The front-end half of the synthetic client's connections.
    """

    def __init__(
        self,
        handoff: Callable[[str, Handoff], Deferred[Adopted]],
        terminate: Callable[[str, list[Terminate]], object],
        front: Callable[[str, int], Endpoint],
        secured: Collection[str] = (),
    ) -> None:
        """
        @param handoff: L{btcp.node.peer_handler.PeerHandler.handoff}, which handles messages of
            peers.
        @param terminate: L{btcp.node.peer_handler.PeerHandler.terminate}.
        @param front: returns the endpoint that clients connect to, given a listener's name and
            the length of the addresses (4 or 16).
        @param secured: the names of listeners whose origins speak TLS.
        """
        self._secured = secured
        self._handoff = handoff
        self._terminate = terminate
        self._front = front
        self._pending: dict[int, _Pending] = {}
        self._last = 0

    def ask(self, reactor: Any, origin: Origin, check: Check) -> Deferred[Any]:
        """
        Check an origin.  See L{btcp.health.checks.CheckFunction}.
        """
        self._last += 1
        number = self._last
        answered: Deferred[None] = Deferred()
        if origin.listener in self._secured:
            request, problem_of = _hello(check.host), _problem_of_hello
        else:
            request, problem_of = _get(check, origin), partial(_problem_of_status, check)
        self._pending[number] = _Pending(problem_of, answered)
        order = self._compose(number, origin, check, request)
        self._handoff(PROBER, order).addErrback(self._refused, number)
        return answered.addBoth(self._finish, number, reactor)

    def _compose(self, number: int, origin: Origin, check: Check, request: bytes) -> Handoff:
        assert check.client is not None  # the configuration requires it of this kind of check
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
        asked = self._pending.get(number)
        if asked is not None:
            asked.over = True
            asked.fail(f"the handoff is refused: {failure.value.reason.value}")

    def reply(self, number: int, payload: bytes) -> None:
        """
        Process a segment that the origin sends to the synthetic client.

        @param number: the handoff's number.
        @param payload: the segment's payload; empty for acknowledgments, FIN and RST.
        """
        asked = self._pending.get(number)
        if asked is None or asked.answered.called or not payload:
            return
        wrong = asked.problem_of(payload)
        if wrong:
            asked.fail(wrong)
        else:
            asked.answered.callback(None)

    def ended(self, number: int, reason: Reason) -> None:
        """
        Process the end of a connection, reported by the back-end half.

        @param number: the handoff's number.
        """
        asked = self._pending.get(number)
        if asked is not None:
            asked.over = True
            asked.fail(f"the connection ended: {reason.value}")

    def _finish(self, result: Any, number: int, reactor: Any) -> Any:
        if self._pending[number].over:
            del self._pending[number]
        else:
            # In a later turn of the reactor: the caller may be processing actions of the core.
            reactor.callLater(0, self._abandon, number)
        return result

    def _abandon(self, number: int) -> None:
        if not self._pending.pop(number).over:
            over = Terminate(
                front=PROBER, id=number, reason=Reason.ABANDONED, client_next=0, server_next=0
            )
            self._terminate(PROBER, [over])


def _get(check: Check, origin: Origin) -> bytes:
    host = check.host or origin.netloc
    lines = (f"GET {check.path} HTTP/1.1", f"Host: {host}", "User-Agent: btcp-health")
    return "\r\n".join((*lines, "Connection: close", "", "")).encode()


def _problem_of_status(check: Check, payload: bytes) -> str:
    # The status line is assumed to fit into the first segment.
    match = _STATUS_LINE.match(payload)
    return status_problem(int(match[1]), check) if match else "it does not answer in HTTP/1"


def _hello(name: str | None) -> bytes:
    """
    Make a TLS record with a ClientHello.

    @param name: the server name (SNI), if any.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the response is only looked at
    hello = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), hello, server_hostname=name)
    with suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return hello.read()


def _problem_of_hello(payload: bytes) -> str:
    return "" if _SERVER_HELLO.match(payload) else "it does not answer a ClientHello"
