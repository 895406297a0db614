# SPDX-License-Identifier: MIT
"""
Health checks of an origin by TCP, TLS, HTTP and HTTPS.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from attrs import frozen
from OpenSSL import SSL
from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import (
    IHandshakeListener,
    IOpenSSLClientConnectionCreator,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from btcp.config import Check

MAX_BODY = 65536
"""Octets of a response body that are matched against the check's pattern."""


class CheckFailed(Exception):
    """
    A check whose origin responded, but not as expected; the text is the reason.
    """


@frozen
class Origin:
    """
    The endpoint of an origin server.

    @ivar listener: the name of the listener that it serves.
    @ivar host: its IP address as text.
    @ivar port: its TCP port.
    """

    listener: str
    host: str
    port: int

    @property
    def netloc(self) -> str:
        """
        Address and port as in a URL.
        """
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def endpoint(self, reactor: Any) -> Any:
        """
        Make an C{IStreamClientEndpoint} that connects to the origin.
        """
        kind = TCP6ClientEndpoint if ":" in self.host else TCP4ClientEndpoint
        return kind(reactor, self.host, self.port)


CheckFunction = Callable[[Any, Origin, Check], "Deferred[Any]"]
"""
The type of functions that perform one check.  The parameters are the reactor, the origin and the
check's settings.  The L{Deferred} fires with any result if the check passed and with a failure
otherwise; cancelling it ends the check.
"""


@implementer(IOpenSSLClientConnectionCreator)
class UnverifiedTls:
    """
    TLS without verification of the server's certificate.

    Checks connect to an address of this host only, and the certificate is for the site's
    clients to verify.
    """

    def __init__(self, name: str | None) -> None:
        """
        @param name: the server name (SNI) to send, if any.
        """
        self._name = name
        self._context = SSL.Context(SSL.TLS_METHOD)

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        """
        See L{IOpenSSLClientConnectionCreator}.
        """
        connection = SSL.Connection(self._context)
        if self._name is not None:
            connection.set_tlsext_host_name(self._name.encode("ascii"))
        return connection


class _ConnectProbe(Protocol):
    """
    A connection that is closed as soon as it is established.

    @ivar stands: fires when the connection is established.
    """

    transport: Any

    def __init__(self) -> None:
        self.stands: Deferred[None] = Deferred(lambda _: self.transport.abortConnection())

    def connectionMade(self) -> None:
        self._leave()

    def _leave(self) -> None:
        self.transport.loseConnection()
        self.stands.callback(None)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        if not self.stands.called:
            self.stands.errback(reason)


@implementer(IHandshakeListener)
class _TlsProbe(_ConnectProbe):
    """
    A connection that counts as established when the TLS handshake is complete.
    """

    def connectionMade(self) -> None:
        """
        Do nothing: the handshake has yet to be completed.
        """

    def handshakeCompleted(self) -> None:
        """
        See L{IHandshakeListener}.
        """
        self._leave()


def _connect_and_close(endpoint: Any, visit: _ConnectProbe) -> Deferred[Any]:
    factory = Factory.forProtocol(lambda: visit)
    factory.noisy = False
    connecting: Deferred[Any] = endpoint.connect(factory)
    return connecting.addCallback(lambda _: visit.stands)


def check_tcp(reactor: Any, origin: Origin, check: Check) -> Deferred[Any]:
    """
    Check that the origin accepts a TCP connection.  See L{CheckFunction}.
    """
    return _connect_and_close(origin.endpoint(reactor), _ConnectProbe())


def check_tls(reactor: Any, origin: Origin, check: Check) -> Deferred[Any]:
    """
    Check that the origin completes a TLS handshake.  See L{CheckFunction}.
    """
    return _connect_and_close(_encrypted(reactor, origin, check), _TlsProbe())


def _encrypted(reactor: Any, origin: Origin, check: Check) -> Any:
    return wrapClientTLS(UnverifiedTls(check.host), origin.endpoint(reactor))


@implementer(IAgentEndpointFactory, IStreamClientEndpoint)
class _FixedEndpoint:
    """
    An endpoint factory that returns one endpoint for every URI.
    """

    def __init__(self, endpoint: Any) -> None:
        self._endpoint = endpoint

    def endpointForURI(self, uri: object) -> _FixedEndpoint:
        """
        See L{IAgentEndpointFactory}.
        """
        return self

    def connect(self, factory: Any) -> Deferred[Any]:
        """
        See L{IStreamClientEndpoint}.
        """
        factory.noisy = False
        connecting: Deferred[Any] = self._endpoint.connect(factory)
        return connecting


class _Body(Protocol):
    """
    A receiver of the first octets of a response body.

    @ivar came: fires with the octets.
    """

    transport: Any

    def __init__(self, most: int) -> None:
        self.came: Deferred[bytes] = Deferred(lambda _: self.transport.loseConnection())
        self._most = most
        self._octets = b""

    def connectionMade(self) -> None:
        self.dataReceived(b"")

    def dataReceived(self, data: bytes) -> None:
        self._octets += data[: self._most - len(self._octets)]
        if len(self._octets) == self._most:
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        if not self.came.called:
            self.came.callback(self._octets)


def check_web(reactor: Any, origin: Origin, check: Check) -> Deferred[Any]:
    """
    Check that the origin responds to an HTTP or HTTPS request with an expected status and body.
    See L{CheckFunction}.
    """
    return Deferred.fromCoroutine(_check_web(reactor, origin, check))


async def _check_web(reactor: Any, origin: Origin, check: Check) -> None:
    # Not persistent: the check has to show that the origin accepts new connections.
    pool = HTTPConnectionPool(reactor, persistent=False)
    secure = check.kind == "https"
    endpoint = _encrypted(reactor, origin, check) if secure else origin.endpoint(reactor)
    client = HTTPClient(Agent.usingEndpointFactory(reactor, _FixedEndpoint(endpoint), pool))
    response = await client.get(
        f"{check.kind}://localhost{check.path}",  # the endpoint is L{_FixedEndpoint}'s
        headers=Headers({"Host": [check.host or origin.netloc], "User-Agent": ["btcp-health"]}),
        allow_redirects=False,
        unbuffered=True,
        reactor=reactor,
    )
    body = _Body(MAX_BODY if check.body is not None else 0)
    response.deliverBody(body)
    octets = await body.came
    wrong = status_problem(response.code, check)
    if wrong:
        raise CheckFailed(wrong)
    if check.body is not None and not re.search(check.body.encode(), octets):
        raise CheckFailed(f"nothing in its answer matches {check.body!r}")


def status_problem(status: int, check: Check) -> str:
    """
    Compare a response's status code with the ranges that a check accepts.

    @return: the problem; empty if the status is accepted.
    """
    expected = any(low <= status <= high for low, high in check.status)
    return "" if expected else f"it answers with status {status}"


def cause(failure: Failure) -> Failure:
    """
    Unwrap a failure: an HTTP client reports the reason of a failed request inside
    C{ResponseFailed}.

    @return: the first of the inner reasons, or C{failure} if it has none.
    """
    inner = getattr(failure.value, "reasons", None)
    return inner[0] if inner else failure


CHECK_FUNCTIONS: Mapping[str, CheckFunction] = MappingProxyType(
    {"http": check_web, "https": check_web, "tcp": check_tcp, "tls": check_tls}
)
"""Check functions by the kind of check."""
