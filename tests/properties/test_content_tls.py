# SPDX-License-Identifier: MIT
"""
Any octets, cut in any way, give a key, L{None} or a L{ContentError}, nothing else, and how they
were cut changes nothing.  Where OpenSSL's server reads a name, it is ours.
"""

from __future__ import annotations

import ssl

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from btcp.content.contract import RequestKey
from btcp.content.host import canonical_host
from btcp.content.tls import TlsReader
from tests.hellos import message, openssl_hello, records, server_name
from tests.properties.readers import answer

names = st.sampled_from([b"h.example", b"H.example", b"a b", b"", b"h\x7f", b"h.example."])
extensions = st.lists(
    st.one_of(
        names.map(server_name),
        st.tuples(names, names).map(lambda pair: server_name(*pair)),
        st.tuples(st.integers(0, 20), st.binary(max_size=9)),
    ),
    max_size=3,
)
messages = st.one_of(
    extensions.map(lambda chosen: message(*chosen)),
    st.just(openssl_hello("h.example")[5:]),
    st.binary(max_size=60),
)


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """
    A message in records, with an octet or two of it changed, and something behind it.
    """
    whole = draw(messages)
    edges = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=3)))
    cut = zip([0, *edges], [*edges, len(whole)], strict=True)
    octets = bytearray(records(whole[a:b] for a, b in cut) + draw(st.binary(max_size=8)))
    for _ in range(draw(st.integers(0, 2))):
        if octets:
            octets[draw(st.integers(0, len(octets) - 1))] = draw(st.integers(0, 255))
    return bytes(octets)


cuts = st.lists(st.integers(0, 250), max_size=8)
limits = st.one_of(st.just(16384), st.integers(0, 200))


def openssl_answer(stream: bytes) -> str | None:
    """
    @return: the name that OpenSSL's server is asked for; L{None} if it does not come so far.
    """
    asked: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED

    def seen(_: object, name: str | None, __: object) -> int:
        asked.append(name)
        return int(ssl.AlertDescription.ALERT_DESCRIPTION_ACCESS_DENIED)

    context.sni_callback = seen
    incoming = ssl.MemoryBIO()
    incoming.write(stream)
    server = context.wrap_bio(incoming, ssl.MemoryBIO(), server_side=True)
    try:
        server.do_handshake()
    except (ssl.SSLError, UnicodeError):
        pass
    return (asked[0] or "") if asked else None


class TlsReaderProperties(SynchronousTestCase):
    """
    L{TlsReader} on anything.
    """

    @given(streams(), cuts, limits)
    @example(b"\0", [0], 1)
    @example(records([b"\x01"]) + b"\0", [6], 8)
    def test_cuts_change_nothing(self, stream: bytes, at: list[int], limit: int) -> None:
        edges = sorted(min(edge, len(stream)) for edge in at)
        pieces = [stream[a:b] for a, b in zip([0, *edges], [*edges, len(stream)], strict=True)]
        self.assertEqual(answer(TlsReader(limit), pieces), answer(TlsReader(limit), [stream]))

    @given(streams())
    @example(openssl_hello("h.example"))
    @example(openssl_hello(None))
    @example(records([message(server_name(b"h.example", b"other.example"))]))
    def test_openssl_reads_the_same(self, stream: bytes) -> None:
        """
        What we route by is what a server sees: if both read it, they read the same name.
        """
        ours, theirs = answer(TlsReader(16384), [stream]), openssl_answer(stream)
        if isinstance(ours, RequestKey) and theirs is not None:
            self.assertEqual(ours.host, canonical_host(theirs) if theirs else "")
