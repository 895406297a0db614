# SPDX-License-Identifier: MIT
"""
Names of nodes and operators in certificates.
"""

from __future__ import annotations

import re

from cryptography import x509
from service_identity.cryptography import extract_patterns
from service_identity.exceptions import CertificateError, VerificationError
from service_identity.hazmat import DNS_ID, DNSPattern, verify_service_identity

DOMAIN = "btcp.internal"
"""Public authorities do not sign names below C{internal}, which ICANN has reserved for private
use."""

OPERATORS = f"operator.{DOMAIN}"

_OPERATOR = re.compile(rf"([a-z0-9-]{{1,32}})\.([a-z]{{1,16}})\.{re.escape(OPERATORS)}\Z")

_SHOWN = 3

# Exceptions that service_identity and cryptography raise for malformed names.
_UNREADABLE = (
    CertificateError,
    ValueError,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


def certificate_name(node: str) -> str:
    """
    Compose the DNS name in the certificate of a node.

    The bare node name is not used: it may be a number, which service_identity does not accept as
    a DNS name, and certificates with that name may exist for purposes other than BTCP.
    """
    return f"{node}.{DOMAIN}"


def operator_name(operator: str, level: str) -> str:
    """
    Compose the DNS name in the certificate of an operator.  It has more labels than that of a
    node, so neither can be mistaken for the other.
    """
    return f"{operator}.{level}.{OPERATORS}"


def operator_of(certificate: x509.Certificate) -> tuple[str, str] | None:
    """
    Read the operator's name and level from a certificate.

    @return: name and level; L{None} if the certificate does not name exactly one operator.
    """
    try:
        names = [each for each in extract_patterns(certificate) if isinstance(each, DNSPattern)]
    except _UNREADABLE:
        return None
    found = [_OPERATOR.match(name.pattern.decode(errors="replace")) for name in names]
    match found:
        case [re.Match() as only]:
            return only[1], only[2]
    return None


def misnamed(certificate: x509.Certificate, node: str) -> str | None:
    """
    Verify that a certificate is that of a node.

    @param node: the name that the peer with this certificate claims.
    @return: the reason why the certificate does not prove the claim; L{None} if it does.
    """
    wanted = certificate_name(node)
    try:
        patterns = extract_patterns(certificate)
    except _UNREADABLE as error:
        return f"the names in the certificate cannot be read: {error}"
    names = [each for each in patterns if isinstance(each, DNSPattern)]
    # A wildcard would match every node.
    exact = [name for name in names if b"*" not in name.pattern]
    try:
        verify_service_identity(exact, [DNS_ID(wanted)], [])
    except (CertificateError, VerificationError, ValueError):
        found = ", ".join(name.pattern.decode(errors="replace") for name in names[:_SHOWN])
        return f"the certificate is not for {wanted} but for {found or 'nobody'}"
    return None
