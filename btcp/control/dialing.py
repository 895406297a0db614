# SPDX-License-Identifier: MIT
"""
How the connections between nodes come to be: who listens, who dials, from where.
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
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure

CONNECT_TIME = 5.0
FIRST_RETRY = 0.1
LAST_RETRY = 5.0
HOPEFUL_RETRY = 0.5
HOPEFUL = 60
"""Attempts at L{HOPEFUL_RETRY}: a host that refuses to be dialed costs next to nothing."""


class Patience:
    """
    How long to wait before a node is dialed again: longer each time, with a
    random share taken off, until it has said Hello.
    """

    def __init__(self, jitter: Callable[[], float]) -> None:
        """
        @param jitter: a number from 0 to 1, another one each time.
        """
        self._jitter = jitter
        self._attempts = 0
        self._hopeful = 0

    def __call__(self, attempt: int) -> float:
        """
        @param attempt: not used: it starts anew with each TCP connection, and
            one that we make is not yet one that is welcome.
        @return: seconds.
        """
        longest = min(LAST_RETRY, FIRST_RETRY * 2.0 ** min(self._attempts, 10))
        self._attempts += 1
        if self._hopeful:
            self._hopeful -= 1
            longest = min(longest, HOPEFUL_RETRY)
        return longest * (1 - self._jitter() / 2)

    def reset(self) -> None:
        """
        The node said Hello.
        """
        self._attempts = 0

    def hope(self) -> None:
        """
        The node may be expected back at any moment.
        """
        self._hopeful = HOPEFUL


class ControlFactory(Factory):
    """
    Makes one protocol a connection, if it may be made.
    """

    noisy = False

    def __init__(self, make: Callable[[Any], Protocol | None]) -> None:
        self._make = make

    def buildProtocol(self, addr: Any) -> Protocol | None:
        """
        @return: L{None} closes the connection.
        """
        protocol = self._make(addr)
        if protocol is not None:
            protocol.factory = self
        return protocol


def listen(reactor: Any, host: str, port: int, factory: IProtocolFactory) -> Any:
    """
    @return: an C{IListeningPort}.
    @raise twisted.internet.error.CannotListenError: if the address cannot be had.
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


def dial(
    reactor: Any,
    host: str,
    port: int,
    source: str | None,
    factory: IProtocolFactory,
    patience: Patience,
) -> ClientService:
    """
    @param source: the address to dial from, L{None} for the kernel's choice.
    @return: a service that keeps one connection.
    """
    kind = TCP6ClientEndpoint if ":" in host else TCP4ClientEndpoint
    endpoint = kind(reactor, host, port, CONNECT_TIME, source and (source, 0))
    return ClientService(endpoint, factory, retryPolicy=patience, clock=reactor)


def choose_source(host: str, own: Iterable[bytes]) -> str | None:
    """
    @param own: packed addresses, the best first.
    @return: the first that is of the family of C{host}.
    """
    size = len(pack_address(host))
    for address in own:
        if len(address) == size:
            return inet_ntop(AF_INET if size == 4 else AF_INET6, address)
    return None


def pack_address(host: str) -> bytes:
    """
    @param host: an address in words, with or without a scope.
    @raise OSError: if it is none.
    """
    return inet_pton(AF_INET6 if ":" in host else AF_INET, host.partition("%")[0])
