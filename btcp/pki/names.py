# SPDX-License-Identifier: MIT
"""
Nodes' and operators' names in certificates.
"""

from __future__ import annotations

import re

from cryptography import x509
from service_identity.cryptography import extract_patterns
from service_identity.exceptions import CertificateError, VerificationError
from service_identity.hazmat import DNS_ID, DNSPattern, verify_service_identity

DOMAIN = "btcp.internal"
"""Nobody but an authority of one's own signs for names below C{internal}: ICANN has set it
aside for private use."""

OPERATORS = f"operator.{DOMAIN}"

_OPERATOR = re.compile(rf"([a-z0-9-]{{1,32}})\.([a-z]{{1,16}})\.{re.escape(OPERATORS)}\Z")

_SHOWN = 3

# What service_identity and cryptography raise for names they cannot make sense of.
_UNREADABLE = (
    CertificateError,
    ValueError,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


def certificate_name(node: str) -> str:
    """
    The DNS name in the certificate of a node.

    Not the node's bare name, which may be a number and so no DNS name for
    service_identity, and for which a certificate may have been made with nothing of
    BTCP in mind.
    """
    return f"{node}.{DOMAIN}"


def operator_name(operator: str, level: str) -> str:
    """
    The DNS name in the certificate of an operator: of more labels than a node's, so that
    none of the two can be taken for the other.
    """
    return f"{operator}.{level}.{OPERATORS}"


def operator_of(certificate: x509.Certificate) -> tuple[str, str] | None:
    """
    @return: an operator's name and level, L{None} if the certificate is not that of one
        operator.
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
    @param node: who the one with this certificate says it is.
    @return: what is wrong with that, in words; L{None} if nothing is.
    """
    wanted = certificate_name(node)
    try:
        patterns = extract_patterns(certificate)
    except _UNREADABLE as error:
        return f"the names in the certificate cannot be read: {error}"
    names = [each for each in patterns if isinstance(each, DNSPattern)]
    # A wildcard would be every node at once.
    exact = [name for name in names if b"*" not in name.pattern]
    try:
        verify_service_identity(exact, [DNS_ID(wanted)], [])
    except (CertificateError, VerificationError, ValueError):
        found = ", ".join(name.pattern.decode(errors="replace") for name in names[:_SHOWN])
        return f"the certificate is not for {wanted} but for {found or 'nobody'}"
    return None
