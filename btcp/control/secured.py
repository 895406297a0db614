# SPDX-License-Identifier: MIT
"""
One connection of the control channel over TLS: whom it is with, and why it is not.
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
    @ivar name: the last part of the counter's name.
    @ivar words: what is wrong, for the log.
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

# OpenSSL's words about what cannot be a record's head, and about what is surely none.
_NO_TLS = ("wrong version number", "http request")


class MisnamedPeer(HelloRefused):
    """
    The other side's certificate does not name the node it says it is.
    """

    counter = f"{REFUSED}wrong-name"


class Examined:
    """
    What a connection over TLS remembers of its handshake.
    """

    transport: Any
    _flaw: Flaw | None = None
    _shaken = False

    def unverified(self, error: int) -> None:
        """
        OpenSSL found a flaw in the other side's chain of certificates.

        @param error: one of C{X509_V_ERR_*}.
        """
        if self._flaw is None:
            words = f"its certificate is bad: OpenSSL's verification error {error}"
            self._flaw = _FLAWS.get(error, Flaw("bad-certificate", words))

    def flaw_of(self, error: BaseException | None) -> Flaw | None:
        """
        @param error: with which the connection ended.
        @return: why TLS did not come about; L{None} if that was not the reason.
        """
        if self._flaw is not None:
            return self._flaw
        if isinstance(error, SSL.Error):
            said = reason_of(error)
            if "alert" in said:
                return Flaw("by-peer", f"the other side refuses us: {said}")
            if "did not return a certificate" in said:
                return Flaw("no-certificate", "it shows no certificate")
            if said in _NO_TLS:
                return Flaw("plaintext", "it does not speak TLS: is 'insecure' configured there?")
            return Flaw("handshake", f"the TLS handshake failed: {said}")
        if not self._shaken:
            return Flaw("unfinished", "it hung up during the TLS handshake")
        return None

    def certificate(self) -> x509.Certificate:
        """
        The other side's, after the handshake.
        """
        found: Any = self.transport.getPeerCertificate()
        certificate: x509.Certificate = found.to_cryptography()
        return certificate


@implementer(IHandshakeListener)
class SecuredProtocol(Examined, ControlProtocol):
    """
    A link over TLS, or what wants to become one.
    """

    def connectionMade(self) -> None:
        """
        The same time for the handshake and Hello as for Hello alone.
        """
        self.limit(GREETING_TIME, "no TLS handshake and Hello in time", "control.silent")

    def handshakeCompleted(self) -> None:
        """
        The other side has the key of a certificate that is signed by our authority.
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
        @raise MisnamedPeer: if the other side's certificate does not name C{node}.
        """
        problem = misnamed(self.certificate(), node)
        if problem is not None:
            raise MisnamedPeer(problem)

    def unwelcome(self, error: BaseException | None) -> None:
        """
        Say why, if TLS is why.
        """
        flaw = self.flaw_of(error)
        if flaw is not None:
            self.complain(f"refused: {flaw.words}", f"{REFUSED}{flaw.name}")
        else:
            super().unwelcome(error)
