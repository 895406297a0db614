# SPDX-License-Identifier: MIT
"""
ClientHellos: what is read of them, and which are refused.
"""

from __future__ import annotations

import ssl

from twisted.trial.unittest import SynchronousTestCase

from btcp.content.contract import ContentError, RequestKey
from btcp.content.tls import TlsReader
from tests.hellos import ALPN, hello, message, openssl_hello, records, server_name, vector

NAME = server_name(b"shop.example")
HELLO = hello((ALPN, b"\0\3\2h2"), NAME)
KEY = RequestKey("", "shop.example", "/", "tls")


def read(data: bytes, limit: int = 16384) -> RequestKey | None:
    """
    What a new reader makes of C{data} in one piece.
    """
    return TlsReader(limit).feed(data)


class KeyTests(SynchronousTestCase):
    """
    What is read.
    """

    def test_openssl(self) -> None:
        self.assertEqual(read(openssl_hello("Shop.Example")), KEY)

    def test_tls_1_2(self) -> None:
        self.assertEqual(read(openssl_hello("shop.example", highest=ssl.TLSVersion.TLSv1_2)), KEY)

    def test_octet_by_octet(self) -> None:
        """
        The key is there with the last octet, not before.
        """
        reader = TlsReader(16384)
        answers = [reader.feed(HELLO[at : at + 1]) for at in range(len(HELLO))]
        self.assertEqual(set(answers[:-1]), {None})
        self.assertEqual(answers[-1], KEY)

    def test_memoryview(self) -> None:
        self.assertEqual(TlsReader(16384).feed(memoryview(HELLO)), KEY)

    def test_several_records(self) -> None:
        """
        RFC 8446, 5.1: a message may be cut into records anywhere.
        """
        whole = message(NAME)
        self.assertEqual(read(records(whole[at : at + 1] for at in range(len(whole)))), KEY)
        self.assertEqual(read(records((whole[:2], whole[2:]))), KEY)

    def test_several_segments_with_large_key_shares(self) -> None:
        long = openssl_hello("shop.example", *(f"{number:0200}" for number in range(9)))
        self.assertGreater(len(long), 1600)
        reader = TlsReader(16384)
        self.assertIsNone(reader.feed(long[:1460]))
        self.assertEqual(reader.feed(long[1460:]), KEY)

    def test_what_follows_is_not_looked_at(self) -> None:
        """
        Early data (RFC 8446, 4.2.10) is the origin's.
        """
        self.assertEqual(read(HELLO + records([b"early"], kind=23)), KEY)

    def test_key_stays(self) -> None:
        reader = TlsReader(16384)
        reader.feed(HELLO)
        self.assertEqual(reader.feed(b"anything"), KEY)

    def test_no_name(self) -> None:
        """
        A client that asks for none; and one of TLS 1.2 that has no extensions at all.
        """
        nameless = RequestKey("", "", "/", "tls")
        self.assertEqual(read(openssl_hello(None)), nameless)
        self.assertEqual(read(hello()), nameless)

    def test_name_is_canonical(self) -> None:
        for name in (b"SHOP.EXAMPLE", b"shop.example."):
            self.assertEqual(read(hello(server_name(name))), KEY)

    def test_text_of_a_key(self) -> None:
        self.assertEqual(str(KEY), "TLS shop.example")


class RefusalTests(SynchronousTestCase):
    """
    What is not routed.
    """

    def assert_refused(self, data: bytes, reason: str, status: int = 400) -> None:
        """
        It is refused, and not only when it is whole.
        """
        with self.assertRaises(ContentError) as caught:
            read(data)
        self.assertEqual((caught.exception.status, caught.exception.reason), (status, reason))

    def test_other_protocols(self) -> None:
        """
        Their first octet is enough.
        """
        for data in (b"G", b"SSH-2.0-x\r\n", b"\x80\x2e\x01\x03\x01", b"\x17", b"\x16\x02"):
            self.assert_refused(data, "not a TLS handshake")

    def test_other_record_within(self) -> None:
        whole = message(NAME)
        self.assert_refused(records([whole[:9]]) + records([b"\2\50"], 21), "not a TLS handshake")

    def test_lengths_of_records(self) -> None:
        for length in (0, 2**14 + 1):
            data = b"\x16\3\1" + length.to_bytes(2, "big")
            self.assert_refused(data, "malformed ClientHello")

    def test_other_messages(self) -> None:
        self.assert_refused(records([b"\2"]), "the first message is no ClientHello")

    def test_another_message_in_the_record(self) -> None:
        self.assert_refused(records([message(NAME) + b"\1"]), "malformed ClientHello")

    def test_structures(self) -> None:
        """
        Each that is too short, too long, or not of its grammar.
        """
        whole = message(NAME)
        cut = [b"\1" + vector(3, whole[4:end]) for end in range(4, len(whole))]
        # After the compression methods it may end: a ClientHello of TLS 1.2.
        cut.remove(message())
        odd = [
            message(session=bytes(33)),
            message(suites=b""),
            message(suites=b"\x13\1\x13"),
            message(compression=b""),
            message(NAME, after=b"\0"),
        ]
        for each in (*cut, *odd):
            self.assert_refused(records([each]), "malformed ClientHello")

    def test_repeated_extension(self) -> None:
        reason = "the same extension twice in a ClientHello"
        self.assert_refused(hello(NAME, server_name(b"other.example")), reason)
        self.assert_refused(hello((ALPN, b""), NAME, (ALPN, b"")), reason)

    def test_server_names(self) -> None:
        list_of_none = (0, vector(2, b""))
        two = server_name(b"shop.example", b"other.example")
        longer = (0, server_name(b"shop.example")[1] + b"\0")
        for extension in (list_of_none, two, longer, server_name(b""), (0, b"")):
            self.assert_refused(hello(extension), "malformed ClientHello")
        for name in (b"a b", b"shop.example/", b"a..b", b"\xff", b"shop\0.example", b".", b"x:443"):
            self.assert_refused(hello(server_name(name)), "invalid server name")
        self.assert_refused(hello(server_name(b"shop.example", kind=1)), "invalid server name")

    def test_error_stays(self) -> None:
        reader = TlsReader(16384)
        for data in (b"G", HELLO):
            with self.assertRaises(ContentError):
                reader.feed(data)


class LimitTests(SynchronousTestCase):
    """
    How large it may be.
    """

    def assert_too_large(self, data: bytes, limit: int) -> None:
        """
        It is refused, in one piece and octet by octet.
        """
        for pieces in ([data], [data[at : at + 1] for at in range(len(data))]):
            reader = TlsReader(limit)
            with self.assertRaises(ContentError) as caught:
                for piece in pieces:
                    reader.feed(piece)
            self.assertEqual(caught.exception.status, 431)

    def test_exactly(self) -> None:
        self.assertEqual(read(HELLO, len(HELLO)), KEY)
        self.assertEqual(read(HELLO + b"\x17\3\3", len(HELLO)), KEY)

    def test_one_more(self) -> None:
        self.assert_too_large(HELLO, len(HELLO) - 1)

    def test_announced(self) -> None:
        """
        Nobody waits for what will be too much.
        """
        self.assert_too_large(b"\x16\3\1\x40\0", 16384)
        self.assert_too_large(records([b"\1\0\x40\1"]), 16384)

    def test_many_records(self) -> None:
        whole = message(NAME)
        data = records(whole[at : at + 1] for at in range(len(whole)))
        for limit in (len(data) - 1, len(data) - 6):
            self.assert_too_large(data, limit)


class AnswerTests(SynchronousTestCase):
    """
    What the front-end says by itself.
    """

    def test_alerts(self) -> None:
        """
        An OpenSSL client understands them.
        """
        alerts = {400: "DECODE_ERROR", 431: "DECODE_ERROR", 503: "INTERNAL_ERROR"}
        for status, name in (alerts | {404: "UNRECOGNIZED_NAME"}).items():
            client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            incoming = ssl.MemoryBIO()
            talk = client.wrap_bio(incoming, ssl.MemoryBIO(), server_hostname="shop.example")
            with self.assertRaises(ssl.SSLWantReadError):
                talk.do_handshake()
            incoming.write(TlsReader(16384).answer(status, "why"))
            with self.assertRaises(ssl.SSLError) as caught:
                talk.do_handshake()
            self.assertIn(name, caught.exception.reason or "")

    def test_silence(self) -> None:
        """
        Who sends no ClientHello is told nothing.
        """
        self.assertEqual(TlsReader(16384).answer(408, "too late"), b"")
