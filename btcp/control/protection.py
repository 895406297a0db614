# SPDX-License-Identifier: MIT
"""
How the control channel is protected: by mutual TLS, or not at all.
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
"""Seconds from one look at the files to the next."""

ENDS_SOON = timedelta(days=14)
"""A certificate that ends so soon is worth a warning every day."""

_DAY = 86400.0

log = Logger()


class Protection(Protocol):
    """
    An C{IService} that makes the two ends of links.
    """

    def setServiceParent(self, parent: Any) -> object: ...

    def link(self, owner: LinkOwner, dialed: str | None = None) -> ControlProtocol:
        """
        @return: what wants to become a link.
        """

    def factory(
        self, make: Callable[[Any], TwistedProtocol | None], dialing: bool
    ) -> IProtocolFactory:
        """
        @param make: given an address, makes a L{link}, or L{None} to close the connection.
        """


class Unprotected(Service):
    """
    Neither encryption nor authentication.
    """

    def startService(self) -> None:
        """
        Warn of it.
        """
        super().startService()
        log.warn(
            "control.insecure: the control channel is neither encrypted nor authenticated;"
            " whoever reaches it can take over connections"
        )

    def link(self, owner: LinkOwner, dialed: str | None = None) -> ControlProtocol:
        """
        As L{Protection}.
        """
        return ControlProtocol(owner, dialed)

    def factory(
        self, make: Callable[[Any], TwistedProtocol | None], dialing: bool
    ) -> IProtocolFactory:
        """
        As L{Protection}.
        """
        return ControlFactory(make)


class MutualTls(TimerService):
    """
    TLS, with certificates on both sides, that are looked after.
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
        Say until when it will do, and begin to look.
        """
        log.info("control channel: mutual TLS, certificate ends {ends}", ends=self._trust.ends)
        super().startService()

    def look(self) -> None:
        """
        Read the files again if they have changed; warn if our certificate ends soon.
        """
        try:
            if self._trust.refresh():
                ends = self._trust.ends
                log.info("certificates read again, for new links; ours ends {ends}", ends=ends)
        except TrustError as error:
            self._counters["control.reload-failed"] += 1
            log.error("certificates changed, but the old ones stay: {error}", error=error)
        now = self._reactor.seconds()
        if self._trust.ends - datetime.now(UTC) < ENDS_SOON and now >= self._warned + _DAY:
            self._warned = now
            log.warn("our certificate ends {ends}; then no link comes up", ends=self._trust.ends)

    def link(self, owner: LinkOwner, dialed: str | None = None) -> SecuredProtocol:
        """
        As L{Protection}.
        """
        return SecuredProtocol(owner, dialed)

    def factory(
        self, make: Callable[[Any], TwistedProtocol | None], dialing: bool
    ) -> IProtocolFactory:
        """
        As L{Protection}.
        """
        factory = _TlsFactory(self._trust, dialing, ControlFactory(make), self._reactor)
        factory.look = self.look
        return factory


class _TlsTransport(BufferingTLSTransport):
    """
    Leaves no garbage behind.
    """

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        As in L{BufferingTLSTransport}, but for asking OpenSSL whether the other side might
        have had more to say.  It raises an exception then, whose traceback refers to itself
        and to OpenSSL's 40 kB for this connection, until the garbage is collected.
        """
        self._lostTLSConnection = True
        super().connectionLost(reason)


class _TlsFactory(TLSMemoryBIOFactory):
    """
    @ivar look: called before each connection.
    """

    protocol = _TlsTransport
    look: Callable[[], None]

    def buildProtocol(self, addr: Any) -> TLSMemoryBIOProtocol | None:  # type: ignore[override]
        """
        As in L{TLSMemoryBIOFactory}, which takes for granted that there is a protocol.
        """
        wrapped = self.wrappedFactory.buildProtocol(addr)
        if wrapped is None:
            return None
        self.look()
        return self.protocol(self, wrapped)


def protect(control: Control, node: str, reactor: Any, counters: Counter[str]) -> Protection:
    """
    @param node: the node that this host is.
    @raise TrustError: if the files that the configuration names cannot be used.
    """
    if control.credentials is None:
        return Unprotected()
    return MutualTls(Trust(control.credentials, node), reactor, counters)
