# SPDX-License-Identifier: MIT
"""
ClientHellos: of OpenSSL, and put together octet by octet.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from contextlib import suppress

SERVER_NAME = 0
ALPN = 16


def openssl_hello(
    name: str | None, *protocols: str, highest: ssl.TLSVersion | None = None
) -> bytes:
    """
    @param name: what is asked for by SNI.
    @param protocols: what is offered by ALPN; long ones make it long.
    @return: what a client of this machine's OpenSSL begins with.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if highest is not None:
        context.maximum_version = highest
    if protocols:
        context.set_alpn_protocols(protocols)
    hello = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), hello, server_hostname=name)
    with suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return hello.read()


def vector(size: int, octets: bytes) -> bytes:
    """
    Octets after their number, in C{size} octets.
    """
    return len(octets).to_bytes(size, "big") + octets


def server_name(*names: bytes, kind: int = 0) -> tuple[int, bytes]:
    """
    @return: the extension (RFC 6066, 3).
    """
    return SERVER_NAME, vector(2, b"".join(bytes((kind,)) + vector(2, name) for name in names))


def message(
    *extensions: tuple[int, bytes],
    session: bytes = b"",
    suites: bytes = b"\x13\x01",
    compression: bytes = b"\0",
    after: bytes = b"",
) -> bytes:
    """
    @param after: stands behind the extensions.
    @return: a handshake message (RFC 8446, 4 and 4.1.2); without extensions, it has not
        even their length.
    """
    body = b"\3\3" + bytes(range(32)) + vector(1, session) + vector(2, suites)
    body += vector(1, compression)
    if extensions:
        packed = (kind.to_bytes(2, "big") + vector(2, content) for kind, content in extensions)
        body += vector(2, b"".join(packed))
    return b"\1" + vector(3, body + after)


def records(fragments: Iterable[bytes], kind: int = 22) -> bytes:
    """
    @return: the fragments, each in a record.
    """
    return b"".join(bytes((kind, 3, 1)) + vector(2, fragment) for fragment in fragments)


def hello(*extensions: tuple[int, bytes]) -> bytes:
    """
    @return: a L{message} in one record.
    """
    return records([message(*extensions)])
