# SPDX-License-Identifier: MIT
"""
Mutual TLS between the nodes: loads certificate, key and authorities, and reloads them when the
files change.
"""

from __future__ import annotations

import os
from datetime import datetime
from typing import Any

from attrs import astuple, frozen
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL, crypto
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
)
from zope.interface import implementer

from btcp.config import Credentials
from btcp.pki.names import misnamed


class TrustError(Exception):
    """
    Credentials that cannot be used; the text is the reason, in one line.
    """


@frozen
class Loaded:
    """
    Loaded credentials.

    @ivar context: the TLS context for connections in either direction.
    @ivar ends: when the certificate expires.
    """

    context: SSL.Context
    ends: datetime


def load(files: Credentials, node: str) -> Loaded:
    """
    Load credentials, and verify that peers with the same authorities will accept the certificate
    as that of C{node}.

    @raise TrustError: if they would not, or a file cannot be read.
    """
    try:
        return _load(files, node)
    except TrustError:
        raise
    except Exception as error:  # cryptography and OpenSSL raise undocumented ones
        raise TrustError(f"{', '.join(astuple(files))} cannot be used: {error!r}") from error


def _load(files: Credentials, node: str) -> Loaded:
    authorities = _certificates(files.authority)
    leaf, *between = _certificates(files.certificate)
    key = _key(files.key)
    if key.public_key() != leaf.public_key():
        raise TrustError(f"{files.key} is not the key of {files.certificate}")
    problem = misnamed(leaf, node)
    if problem is not None:
        raise TrustError(f"{files.certificate}: {problem}")
    _check_signatures(files, leaf, between, authorities)
    try:
        context = _context(key, leaf, between, authorities)
    except SSL.Error as error:
        raise TrustError(f"{files.certificate}: OpenSSL says: {reason_of(error)}") from None
    return Loaded(context, leaf.not_valid_after_utc)


def _context(
    key: Any,
    leaf: x509.Certificate,
    between: list[x509.Certificate],
    authorities: list[x509.Certificate],
) -> SSL.Context:
    # Not by Twisted's CertificateOptions, whose contexts have no callback that reports why a
    # certificate was rejected.
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    # The peer's certificate is not verified again when a session is resumed.
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_options(SSL.OP_NO_TICKET)
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, _verified)
    context.use_certificate(leaf)
    for each in between:
        context.add_extra_chain_cert(each)
    context.use_privatekey(key)
    store = context.get_cert_store()
    assert store is not None  # for mypy: every context has one
    for authority in authorities:
        store.add_cert(crypto.X509.from_cryptography(authority))
    return context


def _verified(
    connection: SSL.Connection, certificate: crypto.X509, error: int, depth: int, ok: int
) -> bool:
    """
    OpenSSL's verification callback for each certificate of the peer's chain; passes errors to
    the connection's protocol.
    """
    if not ok:
        connection.get_app_data().wrappedProtocol.unverified(error)
    return bool(ok)


def reason_of(error: SSL.Error) -> str:
    """
    Extract OpenSSL's own text from an error.
    """
    queue = error.args[0] if error.args else ()
    return str(queue[-1][-1]) if queue and isinstance(queue, list) else str(error)


def _certificates(path: str) -> list[x509.Certificate]:
    content = _read(path)
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError:
        raise TrustError(f"{path} is not a certificate in PEM") from None


def _key(path: str) -> Any:
    content = _read(path)
    try:
        return load_pem_private_key(content, None)
    except TypeError:
        raise TrustError(f"{path} is encrypted; the daemon cannot ask for the passphrase") from None
    except ValueError:
        raise TrustError(f"{path} is not a private key in PEM") from None


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise TrustError(f"{path} can not be read: {error.strerror}") from error


def _check_signatures(
    files: Credentials,
    leaf: x509.Certificate,
    between: list[x509.Certificate],
    authorities: list[x509.Certificate],
) -> None:
    store = crypto.X509Store()
    for authority in authorities:
        store.add_cert(crypto.X509.from_cryptography(authority))
    chain = [crypto.X509.from_cryptography(each) for each in between]
    try:
        subject = crypto.X509.from_cryptography(leaf)
        crypto.X509StoreContext(store, subject, chain).verify_certificate()
    except crypto.X509StoreContextError as error:
        raise TrustError(
            f"{files.certificate} does not verify with {files.authority}: {error}"
        ) from None


def _stamp(files: Credentials) -> tuple[tuple[int, int, int] | None, ...]:
    """
    Make a value that changes whenever one of the files is replaced or written to.
    """
    return tuple(_stamp_of(path) for path in astuple(files))


def _stamp_of(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


@implementer(IOpenSSLClientConnectionCreator, IOpenSSLServerConnectionCreator)
class Trust:
    """
    A factory of TLS connections with the credentials last loaded.
    """

    def __init__(self, files: Credentials, node: str) -> None:
        """
        @param files: the paths of the credentials.
        @param node: the name of this host's node.
        @raise TrustError: if the credentials cannot be used.
        """
        self._files = files
        self._node = node
        self._stamp = _stamp(files)
        self._loaded = load(files, node)

    @property
    def ends(self) -> datetime:
        """
        The time when this node's certificate expires.
        """
        return self._loaded.ends

    def refresh(self) -> bool:
        """
        Reload the files if they have changed.  Existing connections are not affected.

        @return: whether they had changed.
        @raise TrustError: if the changed files cannot be used.  Raised once for each change; the
            credentials loaded before stay in use.
        """
        stamp = _stamp(self._files)
        if stamp == self._stamp:
            return False
        # Set before the files are read, so that a write during the read is noticed next time.
        self._stamp = stamp
        self._loaded = load(self._files, self._node)
        return True

    def clientConnectionForTLS(self, protocol: object) -> SSL.Connection:
        """
        Make the TLS state of an outgoing connection.
        """
        return SSL.Connection(self._loaded.context)

    def serverConnectionForTLS(self, protocol: object) -> SSL.Connection:
        """
        Make the TLS state of an incoming connection.
        """
        return SSL.Connection(self._loaded.context)
