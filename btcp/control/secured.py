# SPDX-License-Identifier: MIT
"""
A connection of the control channel over TLS: verification of the peer's certificate, and reasons of
failures.
"""

from __future__ import annotations

from typing import Any

from attrs import frozen
from cryptography import x509
from OpenSSL import SSL
from twisted.internet.interfaces import IHandshakeListener
from zope.interface import implementer

from btcp.control.commands import HelloRefused
from btcp.control.link import GREETING_TIME, ControlProtocol
from btcp.pki.names import misnamed
from btcp.pki.trust import reason_of

REFUSED = "control.refused-tls."


@frozen
class Flaw:
    """
    The reason why a TLS handshake failed.

    @ivar name: the last part of the counter's name.
    @ivar words: the reason as text for the log.
    """

    name: str
    words: str


_STRANGE = Flaw("wrong-authority", "its certificate is not signed by our authority")

# X509_V_ERR_* of OpenSSL's <openssl/x509_vfy.h>
_FLAWS = {
    **dict.fromkeys((2, 7, 18, 19, 20, 21, 30), _STRANGE),
    9: Flaw("not-yet-valid", "its certificate, or its authority's, is not yet valid"),
    10: Flaw("expired", "its certificate, or its authority's, has expired"),
    26: Flaw("wrong-purpose", "its certificate is not for both sides of a TLS connection"),
}

# OpenSSL's errors for octets that are not a TLS record.
_NO_TLS = ("wrong version number", "http request")


class MisnamedPeer(HelloRefused):
    """
    A peer whose certificate does not name the node that it claims to be.
    """

    counter = f"{REFUSED}wrong-name"


class Examined:
    """
    Mixin that records the result of a connection's TLS handshake.
    """

    transport: Any
    _flaw: Flaw | None = None
    _shaken = False

    def unverified(self, error: int) -> None:
        """
        Record an error that OpenSSL found in the peer's certificate chain.

        @param error: one of C{X509_V_ERR_*}.
        """
        if self._flaw is None:
            words = f"its certificate is bad: OpenSSL's verification error {error}"
            self._flaw = _FLAWS.get(error, Flaw("bad-certificate", words))

    def flaw_of(self, error: BaseException | None) -> Flaw | None:
        """
        Determine why the TLS handshake failed.

        @param error: the exception with which the connection ended.
        @return: the reason; L{None} if the handshake was completed.
        """
        if self._flaw is not None:
            return self._flaw
        if isinstance(error, SSL.Error):
            said = reason_of(error)
            if "alert" in said:
                return Flaw("by-peer", f"the peer refuses this node: {said}")
            if "did not return a certificate" in said:
                return Flaw("no-certificate", "it presents no certificate")
            if said in _NO_TLS:
                return Flaw("plaintext", "it does not speak TLS: is 'insecure' configured there?")
            return Flaw("handshake", f"the TLS handshake failed: {said}")
        if not self._shaken:
            return Flaw("unfinished", "it closed the connection during the TLS handshake")
        return None

    def certificate(self) -> x509.Certificate:
        """
        Return the peer's certificate, after the handshake.
        """
        found: Any = self.transport.getPeerCertificate()
        certificate: x509.Certificate = found.to_cryptography()
        return certificate


@implementer(IHandshakeListener)
class SecuredProtocol(Examined, ControlProtocol):
    """
    A L{ControlProtocol} over mutual TLS.
    """

    def connectionMade(self) -> None:
        """
        Start the deadline for TLS handshake and Hello together.
        """
        self.limit(GREETING_TIME, "no TLS handshake and Hello in time", "control.silent")

    def handshakeCompleted(self) -> None:
        """
        Verify the name of a node that this side dialed, and begin.  TLS has verified that the peer
        has a certificate of the same authority.
        """
        self._shaken = True
        try:
            if self.dialed is not None:
                self.vouch(self.dialed)
        except MisnamedPeer as error:
            self.drop(f"refused: {error}", error.counter)
        else:
            self.begin()

    def vouch(self, node: str) -> None:
        """
        Verify that the peer's certificate names C{node}.

        @raise MisnamedPeer: if it does not.
        """
        problem = misnamed(self.certificate(), node)
        if problem is not None:
            raise MisnamedPeer(problem)

    def unwelcome(self, error: BaseException | None) -> None:
        """
        Report why the TLS handshake failed, if it did.
        """
        flaw = self.flaw_of(error)
        if flaw is not None:
            self.complain(f"refused: {flaw.words}", f"{REFUSED}{flaw.name}")
        else:
            super().unwelcome(error)
