# SPDX-License-Identifier: MIT
"""
C{btcp/datapath/bpf/request.h}, compiled natively: what it reads of a request,
L{HttpReader<btcp.content.http.HttpReader>} reads alike.
"""

from __future__ import annotations

import re
import shutil
from ctypes import CDLL, Structure, byref, c_char, c_uint32
from functools import cache
from unittest import SkipTest

from attrs import frozen
from hypothesis import event, example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from btcp.content.contract import ContentError
from btcp.content.http import HttpReader
from tests.properties.native import compiled

MOST = 2048
"""C{MAX_HEAD}."""
LIMIT = 16384


class Found(Structure):
    """
    C{struct shim_reading}.
    """

    _fields_ = (
        ("state", c_uint32),
        ("count", c_uint32),
        ("before", c_uint32),
        ("path", c_uint32),
        ("path_end", c_uint32),
        ("is_host", c_uint32),
        ("host_size", c_uint32),
        ("literal", c_uint32),
        ("host", c_char * 64),
    )


@frozen
class Read:
    """
    @ivar host: C{None} if it is an address in brackets.
    """

    path: bytes
    host: bytes | None


@cache
def library() -> CDLL:
    return compiled("request.c")


def read(octets: bytes) -> Read | None:
    """
    @return: C{None} if the daemon has to read it.
    """
    found = Found()
    if not library().shim_read(octets, len(octets), byref(found)):
        return None
    host = None if found.literal else bytes(found.host)
    return Read(octets[found.path : found.path_end], host)


class RequestCase(SynchronousTestCase):
    def setUp(self) -> None:
        if shutil.which("cc") is None:
            raise SkipTest("no C compiler: install gcc")


USUALLY = 15


def sometimes(usual: st.SearchStrategy[bytes], *odd: bytes) -> st.SearchStrategy[bytes]:
    """
    Most parts of a head have to be usual, or none would be read to its end.
    """
    rarely = st.sampled_from(odd)
    return st.integers(0, USUALLY).flatmap(lambda roll: usual if roll < USUALLY else rarely)


ODD = (
    *(b"\r", b"\n", b"\r\n", b"\0", b"\t", b"\x7f", b"\x80", b" "),
    *(b"%2f", b"#", b"//", b"/..", b":"),
)

methods = sometimes(
    st.sampled_from([b"GET", b"HEAD", b"POST", b"DELETE"]),
    b"OPTIONS",
    b"CONNECT",
    b"get",
    b"G-T",
    b"",
    b"PRI",
    b"\r\nGET",
)
segments = sometimes(
    st.text("az09-._~!$&'()*+,;=:@\"<>[]\\^`{|}", min_size=1, max_size=8).map(str.encode),
    *(b"", b".", b"..", b"...", b"%41", b"%2e", b"a b", b"\xc3\xbc", b"..;", b"*", b"#x"),
)
paths = sometimes(
    st.lists(segments, max_size=4).map(b"/".join).map(b"/".__add__),
    b"*",
    b"http://h.example/",
    b"",
    b"x",
)
queries = sometimes(st.just(b""), b"?", b"?a=b", b"??", b"?/../%zz", b"?#", b"?\xff", b"?a b")
versions = sometimes(
    st.just(b" HTTP/1.1"), b" HTTP/1.0", b" HTTP/1.2", b" http/1.1", b"  HTTP/1.1", b""
)

names = st.text("aZ09-_", min_size=1, max_size=6).map(str.encode)
hosts = sometimes(
    st.one_of(
        st.lists(names, min_size=1, max_size=3).map(b".".join),
        st.text("0aF:.", max_size=6).map(lambda text: b"[%s]" % text.encode()),
    ),
    *(b"", b"h.", b".h", b"a..b", b"x" * 63, b"x" * 64, b"u@h", b"h%41", b"\xc3\xbc", b"a,b"),
    *(b"[::1]", b"[::FFFF:1.2.3.4]", b"[]", b"[:::]", b"[::1", b"[v1.x]", b"127.0.0.1"),
)
ports = sometimes(st.just(b""), b":", b":80", b":0080", b":65535", b":99999", b":x", b":80:80")
blanks = st.sampled_from([b"", b" ", b"\t", b" \t "])
host_fields = st.tuples(
    sometimes(st.sampled_from([b"Host", b"host", b"HOST"]), b"Host ", b"Hos", b"Hostt", b"X-Host"),
    st.just(b":"),
    blanks,
    hosts,
    ports,
    sometimes(st.just(b""), b" ", b"\t", b", h"),
).map(b"".join)
values = st.text('a \t:"%/\xe9', max_size=8).map(lambda text: text.encode("latin-1"))
other_fields = st.tuples(
    sometimes(names, b"", b"a b", b"a\t", b"\xff", b"a(b"),
    sometimes(st.just(b":"), b"", b"::", b" :"),
    sometimes(values, b" a\r\n b", b" a\n", b"\0", b"a\x0bb", b"\x7f"),
).map(b"".join)
framing_fields = st.sampled_from(
    [
        b"Content-Length: 3",
        b"Content-Length: 3, 4",
        b"Content-Length: x",
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: gzip",
        b"Transfer-Encoding: chunked, chunked",
        b"Expect: 100-continue",
        b"Connection: close",
        b"Upgrade: h2c",
    ]
)
fields = st.one_of(other_fields, other_fields, framing_fields, host_fields)


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    """
    What clients send, and what looks like it.
    """
    lines = [b"".join(draw(st.tuples(methods, st.just(b" "), paths, queries, versions)))]
    named = draw(sometimes(host_fields, b""))
    lines += draw(st.permutations([named, *draw(st.lists(fields, max_size=3))]))
    end = draw(sometimes(st.just(b"\r\n"), b"\n", b"\r", b"\r\r\n"))
    head = end.join(line for line in lines if line) + b"\r\n\r\n"
    return head + draw(st.sampled_from([b"", b"", b"abc", b"GET / HTTP/1.1\r\n\r\n", b"\0"]))


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    octets = draw(heads())
    changes = st.tuples(
        st.integers(0, len(octets)),
        st.integers(0, 2),
        st.one_of(st.sampled_from(ODD), st.binary(max_size=2)),
    )
    for at, gone, new in draw(st.lists(changes, max_size=2)):
        octets = octets[:at] + new + octets[at + gone :]
    return octets[: draw(st.one_of(st.none(), st.integers(0, len(octets))))]


def may_be_refused(octets: bytes, found: Read, reason: str) -> bool:
    """
    For what decides nothing: how long the body is, or what an address in brackets is.
    """
    if reason == "invalid host":
        return found.host is None
    return re.search(rb"(?i)\r\n(content-length|transfer-encoding):", octets) is not None


class RequestProperties(RequestCase):
    def _assert_alike(self, octets: bytes) -> None:
        found = read(octets)
        event("the daemon's" if found is None else "read")
        if found is None:
            return
        try:
            key = HttpReader(LIMIT).feed(octets)
        except ContentError as problem:
            self.assertTrue(may_be_refused(octets, found, problem.reason), problem.reason)
            return
        assert key is not None
        self.assertEqual(key.path.encode(), found.path)
        if found.host is not None:
            self.assertEqual(key.host.encode(), found.host)

    @settings(max_examples=300)
    @given(heads())
    @example(b"GET /%61 HTTP/1.1\r\nHost: h\r\n\r\n")
    @example(b"GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n")
    @example(b"GET / HTTP/1.1\r\nHost: [::1]\r\nHost: h\r\n\r\n")
    @example(b"GET / HTTP/1.1\r\nHost: h\r\n\tfolded\r\n\r\n")
    @example(b"GET /a/.b HTTP/1.1\r\nHost: h\r\n\r\n")
    def test_heads(self, octets: bytes) -> None:
        self._assert_alike(octets)

    @settings(max_examples=300)
    @given(mutated())
    def test_mutations(self, octets: bytes) -> None:
        self._assert_alike(octets)

    @given(st.integers(0, 255), st.integers(0, 200))
    def test_any_octet_anywhere(self, value: int, at: int) -> None:
        """
        In place of one, and in between.
        """
        octets = b"POST /a.b/c?d=e HTTP/1.1\r\nA: b\r\nHost: h.example:8080\r\nC-D: e f\r\n\r\nbody"
        at %= len(octets)
        self._assert_alike(octets[:at] + bytes((value,)) + octets[at:])
        self._assert_alike(octets[:at] + bytes((value,)) + octets[at + 1 :])

    @given(heads(), st.binary(max_size=20), st.data())
    def test_what_follows_changes_nothing(
        self, octets: bytes, rest: bytes, data: st.DataObject
    ) -> None:
        """
        As soon as it is read, it is; a part of a head is not.
        """
        found = read(octets)
        if found is not None:
            self.assertEqual(read(octets + rest), found)
            end = octets.index(b"\r\n\r\n") + 4
            self.assertEqual(read(octets[:end]), found)
            self.assertIsNone(read(octets[: data.draw(st.integers(0, end - 1))]))


CURL = (
    b"GET /index.html HTTP/1.1\r\n"
    b"Host: www.example\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n"
)
WRK = b"GET /a/ HTTP/1.1\r\nHost: 192.0.2.8:80\r\n\r\n"
BROWSER = (
    b"GET /shop/item-7.html?id=7&name=a%20b&x=1/2 HTTP/1.1\r\n"
    b"Host: Shop.Example\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
    b"Accept-Language: de,en-US;q=0.7,en;q=0.3\r\n"
    b"Accept-Encoding: gzip, deflate, br, zstd\r\n"
    b"Connection: keep-alive\r\n"
    b'Cookie: session="a=b"; theme=dark; caf\xc3\xa9=1\r\n'
    b"Upgrade-Insecure-Requests: 1\r\n"
    b"Priority: u=0, i\r\n\r\n"
)
FORM = (
    b"POST /login HTTP/1.1\r\nhost:h\r\nContent-Length: 3\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\nEmpty:\r\n\r\na=b"
)


class PlainRequestTests(RequestCase):
    """
    What clients do send is read.
    """

    def test_of_usual_clients(self) -> None:
        for octets, path, host in (
            (CURL, b"/index.html", b"www.example"),
            (WRK, b"/a/", b"192.0.2.8"),
            (BROWSER, b"/shop/item-7.html", b"shop.example"),
            (FORM, b"/login", b"h"),
            (b"HEAD / HTTP/1.1\r\nX: y\r\nHOST:\t a_b-c.d:8080\r\n\r\n", b"/", b"a_b-c.d"),
            (b"PUT /a~b;c=d,e:f@g HTTP/1.1\r\nHost: h\r\n\r\n", b"/a~b;c=d,e:f@g", b"h"),
            (b"GET /a. HTTP/1.1\r\nHost: h:\r\n\r\n", b"/a.", b"h"),
            (b"GET / HTTP/1.1\r\nHost: [2001:DB8::8]:80\r\n\r\n", b"/", None),
        ):
            self.assertEqual(read(octets), Read(path, host), octets)
            key = HttpReader(LIMIT).feed(octets)
            assert key is not None
            self.assertEqual(key.path.encode(), path)

    def test_as_large_as_it_may_be(self) -> None:
        start = b"GET / HTTP/1.1\r\nHost: h\r\nX: "
        for size, found in ((MOST, Read(b"/", b"h")), (MOST + 1, None)):
            octets = start.ljust(size - 4, b"x") + b"\r\n\r\n"
            self.assertEqual(len(octets), size)
            self.assertEqual(read(octets), found)

    def test_longest_host(self) -> None:
        for size in (63, 64):
            octets = b"GET / HTTP/1.1\r\nHost: %s\r\n\r\n" % (b"h" * size)
            self.assertEqual(read(octets), Read(b"/", b"h" * size) if size == 63 else None)

    def test_left_to_the_daemon(self) -> None:
        """
        Its answer depends on more, or is no node's.
        """
        for octets in (
            b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
            b"CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n",
            b"GET http://h/ HTTP/1.1\r\nHost: h\r\n\r\n",
            b"GET / HTTP/1.0\r\nHost: h\r\n\r\n",
            b"GET / HTTP/1.1\r\nX: y\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
            b"GET //a HTTP/1.1\r\nHost: h\r\n\r\n",
            b"GET /a/../b HTTP/1.1\r\nHost: h\r\n\r\n",
            b"GET /%41 HTTP/1.1\r\nHost: h\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h.\r\n\r\n",
            b"GET / HTTP/1.1\nHost: h\n\n",
            b"\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"",
        ):
            self.assertIsNone(read(octets), octets)
