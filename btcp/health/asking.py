# SPDX-License-Identifier: MIT
"""
Asking an origin whether it is well: by TCP, TLS, HTTP and HTTPS.
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

MOST = 65536
"""Octets of a body that are looked at."""


class Unwell(Exception):
    """
    The origin answers, and not as it should; the text says how.
    """


@frozen
class Origin:
    """
    Where an origin listens.

    @ivar listener: whose it is.
    @ivar host: its address in text.
    """

    listener: str
    host: str
    port: int

    @property
    def netloc(self) -> str:
        """
        As URLs have it.
        """
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def endpoint(self, reactor: Any) -> Any:
        """
        @return: an C{IStreamClientEndpoint}.
        """
        kind = TCP6ClientEndpoint if ":" in self.host else TCP4ClientEndpoint
        return kind(reactor, self.host, self.port)


Asking = Callable[[Any, Origin, Check], "Deferred[Any]"]
"""
Asks once.  Takes a reactor; fails if the origin is not well, ends when it is cancelled.
"""


@implementer(IOpenSSLClientConnectionCreator)
class AnyCertificate:
    """
    TLS with whoever answers at an address of this very host: whether his certificate is
    that of the site, the clients judge.
    """

    def __init__(self, name: str | None) -> None:
        """
        @param name: what to call the server (SNI), if anything.
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


class _Visit(Protocol):
    """
    A connection that is of interest only until it C{stands}.
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
class _TlsVisit(_Visit):
    """
    One that stands when both sides have agreed on keys.
    """

    def connectionMade(self) -> None:
        """
        That is not enough.
        """

    def handshakeCompleted(self) -> None:
        """
        See L{IHandshakeListener}.
        """
        self._leave()


def _visit(endpoint: Any, visit: _Visit) -> Deferred[Any]:
    factory = Factory.forProtocol(lambda: visit)
    factory.noisy = False
    connecting: Deferred[Any] = endpoint.connect(factory)
    return connecting.addCallback(lambda _: visit.stands)


def ask_tcp(reactor: Any, origin: Origin, check: Check) -> Deferred[Any]:
    """
    Does it take a connection?
    """
    return _visit(origin.endpoint(reactor), _Visit())


def ask_tls(reactor: Any, origin: Origin, check: Check) -> Deferred[Any]:
    """
    Does it shake hands?
    """
    return _visit(_encrypted(reactor, origin, check), _TlsVisit())


def _encrypted(reactor: Any, origin: Origin, check: Check) -> Any:
    return wrapClientTLS(AnyCertificate(check.host), origin.endpoint(reactor))


@implementer(IAgentEndpointFactory, IStreamClientEndpoint)
class _Only:
    """
    Leads every request to one endpoint.
    """

    def __init__(self, endpoint: Any) -> None:
        self._endpoint = endpoint

    def endpointForURI(self, uri: object) -> _Only:
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
    The first octets of a body.
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


def ask_web(reactor: Any, origin: Origin, check: Check) -> Deferred[Any]:
    """
    Does it answer a request as it should?
    """
    return Deferred.fromCoroutine(_ask_web(reactor, origin, check))


async def _ask_web(reactor: Any, origin: Origin, check: Check) -> None:
    # A connection of its own for each, as most clients have: that it takes new ones is
    # what is asked.
    pool = HTTPConnectionPool(reactor, persistent=False)
    secure = check.kind == "https"
    endpoint = _encrypted(reactor, origin, check) if secure else origin.endpoint(reactor)
    client = HTTPClient(Agent.usingEndpointFactory(reactor, _Only(endpoint), pool))
    response = await client.get(
        f"{check.kind}://localhost{check.path}",  # where that is, L{_Only} says
        headers=Headers({"Host": [check.host or origin.netloc], "User-Agent": ["btcp-health"]}),
        allow_redirects=False,
        unbuffered=True,
        reactor=reactor,
    )
    body = _Body(MOST if check.body is not None else 0)
    response.deliverBody(body)
    octets = await body.came
    wrong = misfit(response.code, check)
    if wrong:
        raise Unwell(wrong)
    if check.body is not None and not re.search(check.body.encode(), octets):
        raise Unwell(f"nothing in its answer matches {check.body!r}")


def misfit(status: int, check: Check) -> str:
    """
    @return: why a status is not what the check expects; empty if it is.
    """
    expected = any(low <= status <= high for low, high in check.status)
    return "" if expected else f"it answers with status {status}"


def cause(failure: Failure) -> Failure:
    """
    @return: what really happened: a request that fails or is cancelled says so in a wrapping.
    """
    inner = getattr(failure.value, "reasons", None)
    return inner[0] if inner else failure


ASKINGS: Mapping[str, Asking] = MappingProxyType(
    {"http": ask_web, "https": ask_web, "tcp": ask_tcp, "tls": ask_tls}
)
"""By the kind of check."""
