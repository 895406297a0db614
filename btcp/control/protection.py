# SPDX-License-Identifier: MIT
"""
Protection of the control channel: mutual TLS, or none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from math import inf
from typing import Any, Protocol

from twisted.application.internet import TimerService
from twisted.application.service import Service
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.protocols.tls import (
    BufferingTLSTransport,
    TLSMemoryBIOFactory,
    TLSMemoryBIOProtocol,
)
from twisted.python.failure import Failure

from btcp.config import Control
from btcp.control.dialing import ControlFactory
from btcp.control.link import ControlProtocol, LinkOwner
from btcp.control.secured import SecuredProtocol
from btcp.pki.trust import Trust, TrustError

LOOK_TIME = 60.0
"""Seconds between checks whether the certificate files have changed."""

ENDS_SOON = timedelta(days=14)
"""Remaining validity of a certificate below which a warning is logged every day."""

_DAY = 86400.0

log = Logger()


class Protection(Protocol):
    """
    An C{IService} that makes the protocols and factories of links.
    """

    def setServiceParent(self, parent: Any) -> object: ...

    def link(self, owner: LinkOwner, dialed: str | None = None) -> ControlProtocol:
        """
        Make the protocol of one connection.

        @param dialed: the node that is dialed; L{None} for an incoming connection.
        """

    def factory(
        self, make: Callable[[Any], TwistedProtocol | None], dialing: bool
    ) -> IProtocolFactory:
        """
        Make a factory of connections.

        @param make: given an address, returns a L{link}, or L{None} to close the connection.
        @param dialing: whether the connections are outgoing.
        """


class Unprotected(Service):
    """
    Neither encryption nor authentication.
    """

    def startService(self) -> None:
        """
        Log a warning.
        """
        super().startService()
        log.warn(
            "control.insecure: the control channel is neither encrypted nor authenticated;"
            " any host that can reach it can hijack connections"
        )

    def link(self, owner: LinkOwner, dialed: str | None = None) -> ControlProtocol:
        """
        See L{Protection}.
        """
        return ControlProtocol(owner, dialed)

    def factory(
        self, make: Callable[[Any], TwistedProtocol | None], dialing: bool
    ) -> IProtocolFactory:
        """
        See L{Protection}.
        """
        return ControlFactory(make)


class MutualTls(TimerService):
    """
    Mutual TLS.  Reloads changed certificate files, and warns before this node's certificate
    expires.
    """

    def __init__(self, trust: Trust, reactor: Any, counters: Counter[str]) -> None:
        super().__init__(LOOK_TIME, self.look)
        self.clock = reactor  # TimerService's
        self._reactor = reactor
        self._trust = trust
        self._counters = counters
        self._warned = -inf

    def startService(self) -> None:
        """
        Log the expiry of the certificate, and start to check the files.
        """
        log.info("control channel: mutual TLS, certificate expires {ends}", ends=self._trust.ends)
        super().startService()

    def look(self) -> None:
        """
        Reload the files if they have changed, and warn if this node's certificate expires soon.
        """
        try:
            if self._trust.refresh():
                ends = self._trust.ends
                log.info(
                    "certificates reloaded for new links; own certificate expires {ends}", ends=ends
                )
        except TrustError as error:
            self._counters["control.reload-failed"] += 1
            log.error("certificates not reloaded, the old ones stay in use: {error}", error=error)
        now = self._reactor.seconds()
        if self._trust.ends - datetime.now(UTC) < ENDS_SOON and now >= self._warned + _DAY:
            self._warned = now
            log.warn(
                "own certificate expires {ends}; no link will come up then", ends=self._trust.ends
            )

    def link(self, owner: LinkOwner, dialed: str | None = None) -> SecuredProtocol:
        """
        See L{Protection}.
        """
        return SecuredProtocol(owner, dialed)

    def factory(
        self, make: Callable[[Any], TwistedProtocol | None], dialing: bool
    ) -> IProtocolFactory:
        """
        See L{Protection}.
        """
        factory = _TlsFactory(self._trust, dialing, ControlFactory(make), self._reactor)
        factory.look = self.look
        return factory


class _TlsTransport(BufferingTLSTransport):
    """
    A TLS transport that leaves no reference cycles.
    """

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Process the close of the TCP connection.  L{BufferingTLSTransport} would ask OpenSSL whether
        more data can follow, which raises an exception whose traceback keeps itself and 40 kB of
        OpenSSL's state alive until the next garbage collection.
        """
        self._lostTLSConnection = True
        super().connectionLost(reason)


class _TlsFactory(TLSMemoryBIOFactory):
    """
    Factory of TLS connections.

    @ivar look: called before each connection, to reload changed files.
    """

    protocol = _TlsTransport
    look: Callable[[], None]

    def buildProtocol(self, addr: Any) -> TLSMemoryBIOProtocol | None:  # type: ignore[override]
        """
        Make the protocol.  L{TLSMemoryBIOFactory} does not expect that the wrapped factory returns
        L{None}.
        """
        wrapped = self.wrappedFactory.buildProtocol(addr)
        if wrapped is None:
            return None
        self.look()
        return self.protocol(self, wrapped)


def protect(control: Control, node: str, reactor: Any, counters: Counter[str]) -> Protection:
    """
    Make the protection that the configuration asks for.

    @param node: the name of this host's node.
    @raise TrustError: if the configured files cannot be used.
    """
    if control.credentials is None:
        return Unprotected()
    return MutualTls(Trust(control.credentials, node), reactor, counters)
