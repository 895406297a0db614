# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.content.http}, L{btcp.content.host} and L{btcp.content.path}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from btcp.content.contract import ContentError, ContentReader, RequestKey
from btcp.content.host import canonical_host, split_authority
from btcp.content.http import HttpReader
from btcp.content.path import routing_path

CURL = (
    b"GET /a/index.html?x=1 HTTP/1.1\r\n"
    b"Host: www.example.com\r\n"
    b"User-Agent: curl/8.5.0\r\n"
    b"Accept: */*\r\n"
    b"\r\n"
)


def read(data: bytes, limit: int = 16384) -> RequestKey | None:
    """
    What a new reader answers to C{data} in one piece.
    """
    reader: ContentReader = HttpReader(limit)
    return reader.feed(data)


def request(line: bytes, *fields: bytes) -> bytes:
    """
    A request head with an innocent Host unless C{fields} says otherwise.
    """
    return b"\r\n".join((line, *(fields or (b"Host: h.example",)), b"", b""))


class KeyTests(SynchronousTestCase):
    """
    What becomes of requests that are routed.
    """

    def test_curl(self) -> None:
        self.assertEqual(read(CURL), RequestKey("GET", "www.example.com", "/a/index.html", "http"))

    def test_octet_by_octet(self) -> None:
        reader = HttpReader(16384)
        answers = [reader.feed(CURL[at : at + 1]) for at in range(len(CURL))]
        self.assertEqual(set(answers[:-1]), {None})
        self.assertEqual(answers[-1], read(CURL))

    def test_memoryview(self) -> None:
        self.assertEqual(HttpReader(999).feed(memoryview(CURL)), read(CURL))

    def test_body_is_not_looked_at(self) -> None:
        head = request(b"POST /p HTTP/1.1", b"Host: h.example", b"Content-Length: 3")
        self.assertEqual(read(head + b"\n\x00\x16"), RequestKey("POST", "h.example", "/p"))

    def test_key_stays(self) -> None:
        reader = HttpReader(16384)
        key = reader.feed(CURL)
        self.assertIs(reader.feed(b"\x00 whatever"), key)

    def test_empty_lines_before(self) -> None:
        self.assertEqual(read(b"\r\n\r\n" + CURL), read(CURL))

    def test_http_1_0_without_host(self) -> None:
        self.assertEqual(read(b"GET /x HTTP/1.0\r\n\r\n"), RequestKey("GET", "", "/x"))

    def test_host_is_canonical(self) -> None:
        for sent, host in (
            (b"WWW.Example.COM:8080", "www.example.com"),
            (b"www.example.com.", "www.example.com"),
            (b"www.example.com:", "www.example.com"),
            (b" \t 192.0.2.1 ", "192.0.2.1"),
            (b"[2001:DB8:0::1]:80", "[2001:db8::1]"),
            (b"under_score.example", "under_score.example"),
        ):
            key = read(request(b"GET / HTTP/1.1", b"Host:" + sent))
            self.assertEqual(key, RequestKey("GET", host, "/"), sent)

    def test_absolute_target(self) -> None:
        for target, path in (
            (b"http://h.example/p?q", "/p"),
            (b"HTTP://H.example:80/p/../q", "/q"),
            (b"http://h.example", "/"),
            (b"http://h.example?q", "/"),
        ):
            key = read(request(b"GET " + target + b" HTTP/1.1"))
            self.assertEqual(key, RequestKey("GET", "h.example", path), target)

    def test_absolute_target_without_host_field(self) -> None:
        key = read(b"GET http://h.example/p HTTP/1.0\r\n\r\n")
        self.assertEqual(key, RequestKey("GET", "h.example", "/p"))

    def test_options_asterisk(self) -> None:
        key = read(request(b"OPTIONS * HTTP/1.1"))
        self.assertEqual(key, RequestKey("OPTIONS", "h.example", "/"))

    def test_equal_content_lengths(self) -> None:
        head = request(b"PUT / HTTP/1.1", b"Host: h", b"Content-Length: 5", b"Content-Length: 5")
        self.assertEqual(read(head), RequestKey("PUT", "h", "/"))

    def test_text_of_a_key_fits_a_log(self) -> None:
        key = read(request(b"GET /a%0a%1b%ff%c3%bc HTTP/1.1"))
        self.assertEqual(str(key), r"GET h.example/a\n\x1b\udcff\xfc")


class RefusalTests(SynchronousTestCase):
    """
    What is refused, and that it is refused as early as it can be known.
    """

    def assert_refused(self, data: bytes, status: int = 400, reason: str = "") -> None:
        """
        The last octet of C{data} is what makes it refused.
        """
        reader = HttpReader(16384)
        self.assertIsNone(reader.feed(data[:-1]), data)
        error = self.assertRaises(ContentError, reader.feed, data[-1:])
        self.assertEqual(error.status, status, data)
        self.assertIn(reason, error.reason)
        self.assertRaises(ContentError, read, data + b" ")

    def test_other_protocols(self) -> None:
        for data in (
            b"\x16",  # TLS
            b"\x80",  # SSLv2
            b"\x00",
            b"PRI * HTTP/2.0\r\n",
            b"SSH-2.0-OpenSSH_9.6\r",
            b"EHLO mail.example\r\n",
            b"{",
            b" ",
            b"GET\t",
            b"G" * 33,
        ):
            self.assert_refused(data, reason="request line")

    def test_request_line(self) -> None:
        for line in (
            b"GET /",  # HTTP/0.9
            b"GET / HTTP/2.0",
            b"GET / HTTP/1.2",
            b"GET / HTTP/0.9",
            b"GET / http/1.1",
            b"GET / HTTP/1.1 ",
            b"GET  / HTTP/1.1",
            b"GET /a b HTTP/1.1",
            b"GET /\xc3\xbc HTTP/1.1",
            b"GET /\tHTTP/1.1",
            b"GET",
        ):
            self.assertRaises(ContentError, read, line + b"\r\n")

    def test_octets(self) -> None:
        start = b"GET / HTTP/1.1\r\nHost: h"
        for data, reason in (
            (start + b"\n", "bare LF"),
            (b"GET / HTTP/1.1\n", "bare LF"),
            (b"\r\r", "request line"),
            (b"\r\n\n", "request line"),
            (start + b"\rX", "bare CR"),
            (start + b"\r\r", "bare CR"),
            (start + b"\x00", "control"),
            (start + b"\x7f", "control"),
            (start + b"\x0b", "control"),
            (b"GET /\x01", "control"),
            (start + b"\r\n ", "folded"),
            (b"GET / HTTP/1.1\r\n\t", "folded"),
        ):
            self.assert_refused(data, reason=reason)

    def test_fields(self) -> None:
        host = b"Host: h.example"
        for fields, reason in (
            ((b"Accept: */*",), "malformed"),  # no Host
            ((host, host), "malformed"),
            ((host, b"Accept : */*"), "malformed"),
            ((host, b"no colon"), "malformed"),
            ((host, b": no name"), "malformed"),
            ((host, b"a(b: c"), "malformed"),
            ((host, b"Content-Length: 5", b"Content-Length: 6"), "malformed"),
            ((host, b"Content-Length: 5, 6"), "malformed"),
            ((host, b"Content-Length: +5"), "malformed"),
            ((host, b"Content-Length: -5"), "malformed"),
            ((host, b"Transfer-Encoding: gzip, chunked"), "malformed"),
            ((host, b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"), "malformed"),
            ((host, b"Transfer-Encoding: chunked", b"Content-Length: 5"), "both"),
            ((b"Host:",), "invalid host"),
            ((b"Host: a, b",), "invalid host"),
            ((b"Host: a b",), "invalid host"),
            ((b"Host: a/b",), "invalid host"),
            ((b"Host: user@a",), "invalid host"),
            ((b"Host: a..b",), "invalid host"),
            ((b"Host: a%2e",), "invalid host"),
            ((b"Host: a:80:80",), "invalid host"),
            ((b"Host: a:65536",), "invalid host"),
            ((b"Host: a:-1",), "invalid host"),
            ((b"Host: \xc3\xbc",), "invalid host"),
            ((b"Host: [::1",), "invalid host"),
            ((b"Host: [fe80::1%25eth0]",), "invalid host"),
            ((b"Host: ::1",), "invalid host"),
        ):
            self.assert_refused(request(b"GET / HTTP/1.1", *fields), reason=reason)

    def test_transfer_encoding_in_http_1_0(self) -> None:
        head = request(b"POST / HTTP/1.0", b"Transfer-Encoding: chunked")
        self.assert_refused(head, reason="HTTP/1.0")

    def test_targets(self) -> None:
        for target, reason in (
            (b"index.html", "neither"),
            (b"*", "neither"),
            (b"https://h.example/", "neither"),
            (b"ftp://h.example/", "neither"),
            (b"http:/x", "neither"),
            (b"http://h.example/#f", "neither"),
            (b"http://", "invalid host"),
            (b"http://me@h.example/", "invalid host"),
            (b"http://other.example/", "differ"),
            (b"http://h.example:81/", "differ"),
            (b"/a#f", "fragment"),
            (b"/%zz", "escape"),
            (b"/%4", "escape"),
            (b"/%", "escape"),
            (b"/a%00b", "escape"),
            (b"/..", "above"),
            (b"/a/../../b", "above"),
            (b"/%2e%2E/b", "above"),
            (b"/a/..;x=1/b", "parameters"),
        ):
            self.assert_refused(request(b"GET " + target + b" HTTP/1.1"), reason=reason)

    def test_connect(self) -> None:
        self.assert_refused(request(b"CONNECT h.example:443 HTTP/1.1"), reason="CONNECT")

    def test_error_stays(self) -> None:
        reader = HttpReader(16384)
        error = self.assertRaises(ContentError, reader.feed, b"\x16")
        self.assertIs(self.assertRaises(ContentError, reader.feed, CURL), error)
        self.assertEqual(str(error), "400: not an HTTP/1.0 or HTTP/1.1 request line")


class LimitTests(SynchronousTestCase):
    """
    A head may have C{limit} octets and a reader holds no more.
    """

    def test_exactly(self) -> None:
        self.assertIsNotNone(read(CURL, len(CURL)))
        self.assertIsNotNone(read(CURL + b"body", len(CURL)))

    def test_one_more(self) -> None:
        error = self.assertRaises(ContentError, read, CURL, len(CURL) - 1)
        self.assertEqual(error.status, 431)

    def test_larger_than_the_default_of_h11(self) -> None:
        head = request(b"GET / HTTP/1.1", b"Host: h", b"Cookie: " + b"x" * 32000)
        self.assertIsNotNone(read(head, 32768))

    def test_in_pieces(self) -> None:
        reader = HttpReader(len(CURL) - 1)
        self.assertIsNone(reader.feed(CURL[:-1]))
        self.assertIsNone(reader.feed(b""))
        error = self.assertRaises(ContentError, reader.feed, CURL[-1:])
        self.assertEqual(error.status, 431)

    def test_empty_lines_count(self) -> None:
        error = self.assertRaises(ContentError, read, b"\r\n" * 50 + CURL, 100)
        self.assertEqual(error.status, 431)

    def test_what_is_beyond_the_limit_is_not_looked_at(self) -> None:
        error = self.assertRaises(ContentError, read, CURL[:-2] + b"\x00", len(CURL) - 2)
        self.assertEqual(error.status, 431)


class HostTests(SynchronousTestCase):
    """
    L{canonical_host} and L{split_authority} beyond what requests show.
    """

    def test_names(self) -> None:
        self.assertEqual(canonical_host("A.B."), "a.b")
        for text in ("", ".", "a.", "*.a", "a b", "[a]", "[::1", "\u212a", "a" * 254):
            self.assertEqual(canonical_host(text), "a" if text == "a." else None, text)

    def test_authority(self) -> None:
        self.assertEqual(split_authority("A:081"), ("a", 81))
        self.assertEqual(split_authority("[::1]"), ("[::1]", 80))
        self.assertIsNone(split_authority("a:000080"))


class PathTests(SynchronousTestCase):
    """
    L{routing_path} answers as nginx does for the same target.
    """

    def test_paths(self) -> None:
        for target, path in (
            (b"/", "/"),
            (b"/?/../..", "/"),
            (b"/a%20b", "/a b"),
            (b"/%C3%bc", "/\u00fc"),
            (b"/%ff", "/\udcff"),
            (b"/%2561", "/%61"),
            (b"/a%2fb", "/a/b"),
            (b"/a%3fb", "/a?b"),
            (b"//a///b//", "/a/b/"),
            (b"//", "/"),
            (b"/a/./b/.", "/a/b/"),
            (b"/a/../b", "/b"),
            (b"/a//../b", "/b"),
            (b"/a/b/..", "/a/"),
            (b"/a/..", "/"),
            (b"/%2e/a", "/a"),
            (b"/a%2f..%2fb", "/b"),
            (b"/.a/..b/...", "/.a/..b/..."),
            (b"/a;x=..", "/a;x=.."),
            (b"/a\\..\\b", "/a\\..\\b"),
        ):
            self.assertEqual(routing_path(target), path, target)
