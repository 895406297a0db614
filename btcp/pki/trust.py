# SPDX-License-Identifier: MIT
"""
Who this node is to its peers, and whose word it takes for who they are: its files, read
for TLS.
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
    The files cannot be used; the text says why, in one line.
    """


@frozen
class Loaded:
    """
    What the files held.

    @ivar context: for either side of a connection.
    @ivar ends: when the certificate does.
    """

    context: SSL.Context
    ends: datetime


def load(files: Credentials, node: str) -> Loaded:
    """
    Read the files and make sure that peers with the same authority will take the
    certificate for that of C{node}.

    @raise TrustError: they would not, or a file cannot be read.
    """
    try:
        return _load(files, node)
    except TrustError:
        raise
    except Exception as error:  # cryptography's and OpenSSL's are many, and not all documented
        raise TrustError(f"{', '.join(astuple(files))} can not be used: {error!r}") from error


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
    # Not by CertificateOptions, whose contexts tell nobody what is wrong with a
    # certificate, and take no callback that would.
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    # A session that is resumed would not be verified again.
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
    OpenSSL has judged one certificate of the other side's chain.
    """
    if not ok:
        connection.get_app_data().wrappedProtocol.unverified(error)
    return bool(ok)


def reason_of(error: SSL.Error) -> str:
    """
    What OpenSSL has to say, in its own words.
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
        raise TrustError(f"{path} is encrypted; the daemon has nobody to ask") from None
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
            f"{files.certificate} does not pass with {files.authority}: {error}"
        ) from None


def _stamp(files: Credentials) -> tuple[tuple[int, int, int] | None, ...]:
    """
    @return: other values if the files are others, or have been written to.
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
    Makes TLS connections with what the files say now.
    """

    def __init__(self, files: Credentials, node: str) -> None:
        """
        @param node: the node that this host is.
        @raise TrustError: if the files cannot be used.
        """
        self._files = files
        self._node = node
        self._stamp = _stamp(files)
        self._loaded = load(files, node)

    @property
    def ends(self) -> datetime:
        """
        When our certificate does.
        """
        return self._loaded.ends

    def refresh(self) -> bool:
        """
        Read the files again if they have changed.  Connections that stand are not
        concerned.

        @return: whether they had.
        @raise TrustError: they had, and cannot be used.  Said once for each change;
            what they held before stays in use.
        """
        stamp = _stamp(self._files)
        if stamp == self._stamp:
            return False
        # Before they are read: what is written meanwhile is seen the next time.
        self._stamp = stamp
        self._loaded = load(self._files, self._node)
        return True

    def clientConnectionForTLS(self, protocol: object) -> SSL.Connection:
        """
        A connection that we dial.
        """
        return SSL.Connection(self._loaded.context)

    def serverConnectionForTLS(self, protocol: object) -> SSL.Connection:
        """
        A connection that we accept.
        """
        return SSL.Connection(self._loaded.context)
