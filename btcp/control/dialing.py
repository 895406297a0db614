# SPDX-License-Identifier: MIT
"""
Listening for, and dialing of, connections between nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import Any

from twisted.application.internet import ClientService
from twisted.internet.endpoints import (
    TCP4ClientEndpoint,
    TCP4ServerEndpoint,
    TCP6ClientEndpoint,
    TCP6ServerEndpoint,
)
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

CONNECT_TIME = 5.0
FIRST_RETRY = 0.1
LAST_RETRY = 5.0
EXPECTED_RETRY = 0.5
EXPECTED_ATTEMPTS = 60
"""Number of attempts at intervals of at most L{EXPECTED_RETRY}, which are cheap while the peer's
host refuses connections."""


class Backoff:
    """
    Exponential backoff with jitter between attempts to connect to a node.
    """

    def __init__(self, jitter: Callable[[], float]) -> None:
        """
        @param jitter: returns a random number from 0 to 1.
        """
        self._jitter = jitter
        self._attempts = 0
        self._soon = 0

    def __call__(self, attempt: int) -> float:
        """
        Return the seconds to wait before the next attempt.

        @param attempt: ignored.  C{ClientService} resets it at each TCP connection, but the peer
            may still refuse the Hello.
        """
        longest = min(LAST_RETRY, FIRST_RETRY * 2.0 ** min(self._attempts, 10))
        self._attempts += 1
        if self._soon:
            self._soon -= 1
            longest = min(longest, EXPECTED_RETRY)
        return longest * (1 - self._jitter() / 2)

    def reset(self) -> None:
        """
        Start again with the shortest interval, because a link came up.
        """
        self._attempts = 0

    def expect_soon(self) -> None:
        """
        Use short intervals for a while, because the node is expected back soon.
        """
        self._soon = EXPECTED_ATTEMPTS


class ControlFactory(Factory):
    """
    Factory that makes a protocol for each connection, or refuses the connection.
    """

    noisy = False

    def __init__(self, make: Callable[[Any], Protocol | None]) -> None:
        self._make = make

    def buildProtocol(self, addr: Any) -> Protocol | None:
        """
        Make the protocol.

        @return: L{None} closes the connection.
        """
        protocol = self._make(addr)
        if protocol is not None:
            protocol.factory = self
        return protocol


def listen(reactor: Any, host: str, port: int, factory: IProtocolFactory) -> Any:
    """
    Listen on a TCP port.

    @return: an C{IListeningPort}.
    @raise twisted.internet.error.CannotListenError: if the address is not available.
    """
    endpoint = TCP6ServerEndpoint if ":" in host else TCP4ServerEndpoint
    ports: list[Any] = []
    failures: list[Failure] = []
    endpoint(reactor, port, interface=host).listen(factory).addCallbacks(
        ports.append, failures.append
    )
    if failures:
        failures[0].raiseException()
    return ports[0]


@implementer(IStreamClientEndpoint)
class PeerEndpoint:
    """
    A TCP endpoint that names the peer in the log messages of C{ClientService}.
    """

    def __init__(self, peer: str, host: str, port: int, endpoint: Any) -> None:
        """
        @param peer: the node's name.
        @param endpoint: the endpoint that connects.
        """
        self._text = f"node {peer} at {f'[{host}]' if ':' in host else host}:{port}"
        self._endpoint = endpoint

    def __repr__(self) -> str:
        return self._text

    def connect(self, protocolFactory: IProtocolFactory) -> Any:
        """
        See C{IStreamClientEndpoint}.
        """
        return self._endpoint.connect(protocolFactory)


def dial(
    reactor: Any,
    peer: str,
    host: str,
    port: int,
    source: str | None,
    factory: IProtocolFactory,
    backoff: Backoff,
) -> ClientService:
    """
    Make a service that keeps one connection to a peer.

    @param peer: the node's name, for the log.
    @param source: the source address; L{None} for the kernel's choice.
    """
    kind = TCP6ClientEndpoint if ":" in host else TCP4ClientEndpoint
    endpoint = kind(reactor, host, port, CONNECT_TIME, source and (source, 0))
    named = PeerEndpoint(peer, host, port, endpoint)
    return ClientService(named, factory, retryPolicy=backoff, clock=reactor)


def choose_source(host: str, own: Iterable[bytes]) -> str | None:
    """
    Select the first of a node's own addresses that has the family of C{host}.

    @param own: packed addresses, most preferred first.
    @return: the address as text; L{None} if there is none.
    """
    size = len(pack_address(host))
    for address in own:
        if len(address) == size:
            return inet_ntop(AF_INET if size == 4 else AF_INET6, address)
    return None


def pack_address(host: str) -> bytes:
    """
    Pack an address.

    @param host: an address as text, with or without a scope.
    @raise OSError: if it is not an address.
    """
    return inet_pton(AF_INET6 if ":" in host else AF_INET, host.partition("%")[0])
