# SPDX-License-Identifier: MIT
"""
Any octets, cut in any way, give a key, L{None} or a L{ContentError}, nothing else; and
how they were cut changes nothing.
"""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from btcp.content.contract import RequestKey
from btcp.content.http import HttpReader
from tests.properties.readers import answer

# The pieces heads are made of, odd ones included: random octets alone hardly ever get
# past the request line.
PIECES = (
    b"GET ",
    b"OPTIONS * ",
    b"/a/../b%2f",
    b"http://h.example",
    b"?q",
    b" HTTP/1.1",
    b" HTTP/1.0\r\n",
    b"\r\n",
    b"\r\n\r\n",
    b"\r",
    b"\n",
    b" ",
    b"\t",
    b"\x00",
    b"\x80",
    b"Host: h.example\r\n",
    b"Host:",
    b"GET / HTTP/1.1\r\nHost: h.example",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"\x16\x03\x01",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
)

streams = st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=8)), max_size=12).map(
    b"".join
)
cuts = st.lists(st.integers(0, 250), max_size=8)
limits = st.one_of(st.just(16384), st.integers(0, 120))


class ReaderProperties(SynchronousTestCase):
    """
    Properties of L{HttpReader}.
    """

    @given(data=streams, at=cuts, limit=limits)
    @example(data=b"\x80\x00", at=[1], limit=16384)
    @example(data=b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", at=[15, 16, 24, 25, 26, 27], limit=26)
    @example(data=b"GET / HTTP/3.1\r\n\x00", at=[16], limit=16384)
    def test_cuts_change_nothing(self, data: bytes, at: list[int], limit: int) -> None:
        edges = [0, *sorted(at), len(data)]
        cut = [data[start:end] for start, end in zip(edges, edges[1:], strict=False)]
        expected = answer(HttpReader(limit), [data])
        self.assertEqual(answer(HttpReader(limit), cut), expected)
        single = [data[index : index + 1] for index in range(len(data))]
        self.assertEqual(answer(HttpReader(limit), single), expected)

    @given(data=streams)
    def test_keys_are_routable(self, data: bytes) -> None:
        key = answer(HttpReader(16384), [data])
        if isinstance(key, RequestKey):
            self.assertTrue(key.path.startswith("/"))
            self.assertNotIn("//", key.path)
            self.assertFalse({".", ".."} & set(key.path.split("/")))
            self.assertEqual(key.host, key.host.lower())
            self.assertTrue(str(key).isprintable())

    @given(data=streams, rest=st.binary(max_size=20))
    def test_more_octets_change_no_answer(self, data: bytes, rest: bytes) -> None:
        # 431 is an answer about how much came, so it is left out.
        before = answer(HttpReader(16384), [data])
        if before is not None:
            self.assertEqual(answer(HttpReader(16384), [data + rest]), before)
