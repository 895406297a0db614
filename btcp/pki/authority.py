# SPDX-License-Identifier: MIT
"""
A small certificate authority for clusters that have none.  It is a directory of files.

C{ca.crt} and C{ca.key} are the authority's certificate and key.  The directory C{NODE} has the
files that a node needs: C{node.crt}, C{node.key} and C{ca.crt}.  The directory C{operators/NAME}
has C{operator.crt}, C{operator.key} and C{ca.crt} of an operator.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import mkstemp

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from btcp.config.reading import NAME
from btcp.pki.names import certificate_name, operator_name, operator_of

AUTHORITY_DAYS = 3650
NODE_DAYS = 365

LEAST = "user"
"""The default level of an operator, which is the lowest."""

CLOCK_SKEW = timedelta(hours=1)
"""Time by which the validity of a new certificate begins in the past, because clocks differ."""

_SECRET, _PUBLIC = 0o600, 0o644

_Key = ec.EllipticCurvePrivateKey


@frozen
class Subject:
    """
    A node or operator for which a certificate is made.

    @ivar home: the directory of its files.
    @ivar files: the base name of its files, C{"node"} or C{"operator"}.
    @ivar name: the DNS name in its certificate.
    @ivar purposes: the extended key usages of its certificate.
    """

    home: Path
    files: str
    name: str
    purposes: tuple[x509.ObjectIdentifier, ...]

    @property
    def key(self) -> Path:
        """
        Path of the private key.
        """
        return self.home / f"{self.files}.key"

    @property
    def certificate(self) -> Path:
        """
        Path of the certificate.
        """
        return self.home / f"{self.files}.crt"


class AuthorityError(Exception):
    """
    An operation of the authority that failed; the text is the reason, in one line.
    """


def create(directory: Path, days: int, now: datetime) -> datetime:
    """
    Make an authority.

    @param directory: the directory for its files, which is created if it does not exist.
    @param days: validity of its certificate.
    @param now: the current time.
    @return: when its certificate expires.
    @raise AuthorityError: if the directory has an authority, or files cannot be written.
    """
    for name in ("ca.key", "ca.crt"):
        if (directory / name).exists():
            raise AuthorityError(_taken(directory / name))
    key = ec.generate_private_key(ec.SECP256R1())
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    subject = _name(f"BTCP authority {identifier.digest.hex()[:8]}")
    builder = _builder(subject, key.public_key(), now, days).issuer_name(subject)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
    certificate = builder.sign(key, SHA256())
    _make_directory(directory)
    _add(directory / "ca.key", _pem(key), _SECRET)
    _add(directory / "ca.crt", certificate.public_bytes(Encoding.PEM), _PUBLIC)
    return certificate.not_valid_after_utc


def issue(directory: Path, node: str, days: int, now: datetime) -> datetime:
    """
    Make a key and a certificate for a node.

    @return: when the certificate expires.
    @raise AuthorityError: if the node has a key, the directory has no authority, or files
        cannot be read or written.
    """
    return _issue(directory, _node(directory, node), days, now)


def renew(directory: Path, node: str, days: int, now: datetime) -> datetime:
    """
    Replace a node's certificate by a new one for the same key.

    @return: when the new certificate expires.
    @raise AuthorityError: if the node has no key, the directory has no authority, or files
        cannot be read or written.
    """
    return _renew(directory, _node(directory, node), days, now)


def issue_operator(
    directory: Path, operator: str, level: str | None, days: int, now: datetime
) -> datetime:
    """
    Make a key and a certificate for an operator.

    @param level: the operator's level of permission; L{None} is the lowest.
    @return: when the certificate expires.
    @raise AuthorityError: see L{issue}.
    """
    return _issue(directory, _operator(directory, operator, level or LEAST), days, now)


def renew_operator(
    directory: Path, operator: str, level: str | None, days: int, now: datetime
) -> datetime:
    """
    Replace an operator's certificate by a new one for the same key.

    @param level: the operator's level of permission; L{None} keeps that of the old one.
    @return: when the new certificate expires.
    @raise AuthorityError: see L{renew}.
    """
    home = _operator(directory, operator, LEAST)
    if level is None and home.certificate.exists():
        old = operator_of(x509.load_pem_x509_certificate(_read(home.certificate)))
        level = None if old is None else old[1]
    return _renew(directory, _operator(directory, operator, level or LEAST), days, now)


def _issue(directory: Path, subject: Subject, days: int, now: datetime) -> datetime:
    if subject.key.exists():
        hint = "btcp ca renew makes a new certificate for it"
        raise AuthorityError(f"{_taken(subject.key)}; {hint}")
    authority, authority_key = _read_authority(directory)
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _sign(subject, key, authority, authority_key, now, days)
    _make_directory(subject.home)
    _add(subject.key, _pem(key), _SECRET)
    _put(subject.certificate, certificate.public_bytes(Encoding.PEM), _PUBLIC)
    _put(subject.home / "ca.crt", authority.public_bytes(Encoding.PEM), _PUBLIC)
    return certificate.not_valid_after_utc


def _renew(directory: Path, subject: Subject, days: int, now: datetime) -> datetime:
    authority, authority_key = _read_authority(directory)
    key = _read_key(subject.key)
    certificate = _sign(subject, key, authority, authority_key, now, days)
    _put(subject.certificate, certificate.public_bytes(Encoding.PEM), _PUBLIC)
    return certificate.not_valid_after_utc


def _node(directory: Path, node: str) -> Subject:
    if NAME.match(node) is None:
        raise AuthorityError(f"{node!r} is not a node name: want 1 to 32 of a-z, 0-9 and '-'")
    both = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
    return Subject(directory / node, "node", certificate_name(node), both)


def _operator(directory: Path, operator: str, level: str) -> Subject:
    if NAME.match(operator) is None:
        raise AuthorityError(f"{operator!r} is not a name: want 1 to 32 of a-z, 0-9 and '-'")
    name = operator_name(operator, level)
    only = (ExtendedKeyUsageOID.CLIENT_AUTH,)
    return Subject(directory / "operators" / operator, "operator", name, only)


# certificates


def _sign(
    subject: Subject,
    key: _Key,
    authority: x509.Certificate,
    authority_key: _Key,
    now: datetime,
    days: int,
) -> x509.Certificate:
    end = authority.not_valid_after_utc
    if now + timedelta(days=days) > end:
        left = max((end - now).days, 0)
        raise AuthorityError(
            f"the authority's certificate expires on {end:%Y-%m-%d}: --days can be {left} at most"
        )
    public = key.public_key()
    purposes = x509.ExtendedKeyUsage(subject.purposes)
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    builder = _builder(_name(subject.name), public, now, days).issuer_name(authority.subject)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
    builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
    builder = builder.add_extension(purposes, critical=False)
    names = x509.SubjectAlternativeName([x509.DNSName(subject.name)])
    builder = builder.add_extension(names, critical=False)
    return builder.add_extension(issuer, critical=False).sign(authority_key, SHA256())


def _builder(
    subject: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, days: int
) -> x509.CertificateBuilder:
    try:
        end = now + timedelta(days=days)
        builder = x509.CertificateBuilder().not_valid_before(now - CLOCK_SKEW).not_valid_after(end)
    except (OverflowError, ValueError):
        raise AuthorityError(f"a certificate cannot be valid for {days} days") from None
    identifier = x509.SubjectKeyIdentifier.from_public_key(key)
    builder = builder.subject_name(subject).public_key(key)
    builder = builder.serial_number(x509.random_serial_number())
    return builder.add_extension(identifier, critical=False)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _usage(signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(key: _Key) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


# files


def _read_authority(directory: Path) -> tuple[x509.Certificate, _Key]:
    if not directory.joinpath("ca.key").exists():
        raise AuthorityError(f"{directory} holds no authority: btcp ca init {directory}")
    certificate = _read(directory / "ca.crt")
    try:
        authority = x509.load_pem_x509_certificate(certificate)
    except ValueError:
        raise AuthorityError(f"{directory / 'ca.crt'} is not a PEM certificate") from None
    key = _read_key(directory / "ca.key")
    if key.public_key() != authority.public_key():
        raise AuthorityError(f"{directory}: ca.key is not the key of ca.crt")
    return authority, key


def _read_key(path: Path) -> _Key:
    try:
        key = load_pem_private_key(_read(path), None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, _Key):
        raise AuthorityError(f"{path} is not an elliptic-curve key in PEM, or is encrypted")
    return key


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise AuthorityError(f"{path} can not be read: {error.strerror}") from error


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise AuthorityError(f"{path} can not be made: {error.strerror}") from error


def _add(path: Path, content: bytes, mode: int) -> None:
    """
    Write a new file; an existing one is an error.
    """
    try:
        _write(path, content, mode, os.link)
    except FileExistsError:
        raise AuthorityError(_taken(path)) from None


def _taken(path: Path) -> str:
    return f"{path} already exists and will not be overwritten"


def _put(path: Path, content: bytes, mode: int) -> None:
    """
    Write a file, replacing an existing one.
    """
    _write(path, content, mode, os.replace)


def _write(path: Path, content: bytes, mode: int, place: Callable[[Path, Path], None]) -> None:
    """
    Write a file atomically: a temporary file gets its name when it is complete.

    @param place: moves the temporary file to C{path}.
    @raise FileExistsError: if C{place} raises it.
    """
    temporary = None
    try:
        descriptor, name = mkstemp(prefix=f".{path.name}.", dir=path.parent)
        temporary = Path(name)
        with open(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        place(temporary, path)
    except FileExistsError:
        raise
    except OSError as error:
        raise AuthorityError(f"{path} can not be written: {error.strerror}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
