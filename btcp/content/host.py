# SPDX-License-Identifier: MIT
"""
Host names as routing compares them.
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv6Address

# RFC 9110 allows more (sub-delims, percent escapes); no name in DNS or any
# certificate has them, and origins disagree about them, so they are refused.
_NAME = re.compile(r"[0-9a-z_-]+(?:\.[0-9a-z_-]+)*\Z")
_MAX_NAME = 253  # RFC 1035, in text without the trailing dot
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]*\]|[^:\[\]]*)(?::([0-9]{0,5}))?\Z")
_DEFAULT_PORT = 80


def canonical_host(text: str) -> str | None:
    """
    The one spelling of a host: lower case, no trailing dot, IPv6 compressed in brackets.

    @param text: a host name, an IPv4 address or an IPv6 address in brackets; no port.
    @return: the spelling, or L{None} if C{text} is none of these.
    """
    if not text.isascii() or "%" in text:
        return None  # no zone: it means nothing on another host
    if text.startswith("["):
        try:
            return f"[{IPv6Address(text[1:-1])}]" if text.endswith("]") else None
        except AddressValueError:
            return None
    name = text.lower().removesuffix(".")
    if len(name) > _MAX_NAME or _NAME.match(name) is None:
        return None
    return name


def split_authority(text: str) -> tuple[str, int] | None:
    """
    Take C{host[:port]} apart, as in a Host field or an absolute target.

    @return: the canonical host and the port (80 if none is given), or L{None} if
        C{text} is not valid; user information makes it so.
    """
    match = _AUTHORITY.match(text)
    if match is None:
        return None
    host = canonical_host(match[1])
    port = int(match[2]) if match[2] else _DEFAULT_PORT
    if host is None or port > 65535:
        return None
    return host, port
