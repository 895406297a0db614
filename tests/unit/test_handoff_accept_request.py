# SPDX-License-Identifier: MIT
"""
The front-end's half while the request comes: ESTABLISHED.
"""

from __future__ import annotations

from typing import Any

from btcp.handoff.context import Periods
from btcp.handoff.messages import Endpoint, Handoff
from btcp.handoff.reassembly import WINDOW
from btcp.handoff.states import Accept
from btcp.wire.options import SynOptions, pack_timestamps
from btcp.wire.segment import ACK, FIN, PSH, RST
from tests.simulation.cluster import PORT
from tests.simulation.script import ADDRESSES, CLIENTS, Tcp
from tests.unit import front_case as case
from tests.unit.front_case import IRS, OUT, REQUEST, SYN_OF_CLIENT, WINDOW_OF_SYN


class EstablishedTests(case.FrontCase):
    """
    The request is coming.
    """

    def setUp(self) -> None:
        super().setUp()
        self.establish()

    def part(self, start: int, end: int, **changes: Any) -> list[Tcp]:
        """
        The client sends octets of the request.
        """
        piece = self.client.but(seq=IRS + 1 + start, payload=REQUEST[start:end])
        return self.script.take(piece.but(**changes))

    def acked(self, count: int) -> Tcp:
        """
        What acknowledges so many octets.
        """
        left = WINDOW - count
        return self.front.but(ack=(IRS + 1 + count) % 2**32, window=left)

    def handed_off(self) -> Handoff:
        """
        The handoff that the last step asked for.
        """
        ((node, message),) = self.script.said
        self.assertEqual(node, "b")
        assert isinstance(message, Handoff)
        self.assertIs(self.state(), Accept.HANDING_OFF)
        return message

    def test_whole_request(self) -> None:
        """
        It is not acknowledged: the back-end does that when it has it.
        """
        self.assertEqual(self.part(0, 99, flags=ACK | PSH), [])
        self.assertEqual(
            self.handed_off(),
            Handoff(
                id=self.number(),
                listener="web",
                client=Endpoint(CLIENTS[0], 51515),
                front=Endpoint(ADDRESSES["a"][0], PORT),
                irs=IRS,
                iss=self.iss,
                window=WINDOW_OF_SYN,
                mss=1460,
                client_scale=-1,
                front_scale=-1,
                sack=False,
                tsval=-1,
                front_tsval=-1,
                acked=0,
                request=REQUEST,
                rtt=0,
            ),
        )

    def test_one_octet_per_segment(self) -> None:
        """
        Each is acknowledged but the last.
        """
        for at in range(len(REQUEST) - 1):
            self.assertEqual(self.part(at, at + 1), [self.acked(at + 1)])
        self.assertEqual(self.part(len(REQUEST) - 1, len(REQUEST)), [])
        self.assertEqual(self.handed_off().request, REQUEST)
        self.assertEqual(self.script.counted("handoff.sent"), 1)

    def test_backwards(self) -> None:
        """
        Each asks for the first octet, until it is there.
        """
        for at in range(len(REQUEST) - 1, 0, -1):
            self.assertEqual(self.part(at, at + 1), [self.acked(0)])
        self.assertEqual(self.part(0, 1), [])
        self.assertEqual(self.handed_off().request, REQUEST)

    def test_each_twice(self) -> None:
        for at in range(len(REQUEST) - 1):
            for _ in range(2):
                self.assertEqual(self.part(at, at + 1), [self.acked(at + 1)])
        self.part(len(REQUEST) - 1, len(REQUEST))
        self.assertEqual(self.handed_off().request, REQUEST)

    def test_overlapping(self) -> None:
        """
        What came first stays.
        """
        self.part(0, 10)
        self.assertEqual(self.part(5, 20), [self.acked(20)])
        self.script.take(self.client.but(payload=b"X" * 15 + REQUEST[15:30]))
        self.part(0, 99)
        self.assertEqual(self.handed_off().request, REQUEST)

    def test_more_than_the_head(self) -> None:
        """
        A body goes along, as far as it is there.
        """
        head = b"PUT /b/ HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n"
        self.script.take(self.client.but(payload=head + b"body"))
        self.assertEqual(self.handed_off().request, head + b"body")

    def test_what_was_acknowledged_is_told(self) -> None:
        self.part(0, 10)
        self.part(10, 99)
        self.assertEqual(self.handed_off().acked, 10)

    def test_window_never_moves_back(self) -> None:
        """
        Whatever is left to round: the right edge stays or moves on.
        """
        for scale in (0, 1, 7, 14):
            self.begin(window_scale=scale)
            self.open(SYN_OF_CLIENT.but(options=SynOptions(mss=1460, scale=7).pack()))
            edge = WINDOW
            for at, step in enumerate((1, 1, 126, 1, 3, 999, 2048, 16000), 1):
                start = (self.client.seq - IRS - 1) % 2**32
                head = b"GET / HTTP/1.1\r\nX: "
                data = (head + b"x" * 20_000)[start : start + step]
                (ack,) = self.script.take(self.client.but(payload=data))
                now = start + step + (ack.window << scale)
                self.assertGreaterEqual(now, edge, (scale, at))
                self.assertLess(now, start + step + WINDOW + (1 << scale), (scale, at))
                edge, self.client = now, self.client.but(seq=self.client.seq + step)

    def test_outside_the_window(self) -> None:
        """
        Is answered with what we wait for (RFC 9293, 3.10.7.4).
        """
        for offset in (WINDOW + 1000, 2**31, -70_000):
            far = self.client.but(seq=(IRS + 1 + offset) % 2**32, payload=b"x")
            self.assertEqual(self.script.take(far), [self.acked(0)])
        self.assertEqual(self.script.counted("dropped.outside-window"), 3)

    def test_unacceptable_acks(self) -> None:
        """
        Of what we never sent, or of nothing at all.
        """
        for wrong in (self.iss, self.iss + 2):
            self.assertEqual(self.part(0, 99, ack=wrong), [])
        self.assertEqual(self.part(0, 99, flags=PSH), [])
        self.assertIs(self.state(), Accept.ESTABLISHED)
        self.assertEqual(self.script.counted("dropped.unacceptable-ack"), 3)

    def test_keep_alive(self) -> None:
        """
        A probe has the number before the next one.
        """
        self.assertEqual(self.script.take(self.client), [])
        self.part(0, 10)
        probe = self.client.but(seq=IRS + 10)
        self.assertEqual(self.script.take(probe), [self.acked(10)])

    def test_syn_is_challenged(self) -> None:
        """
        RFC 5961, 4: the same one or another.
        """
        for seq in (IRS, IRS + 1000):
            self.assertEqual(self.script.take(SYN_OF_CLIENT.but(seq=seq)), [self.acked(0)])
        self.assertIs(self.state(), Accept.ESTABLISHED)

    def test_rst(self) -> None:
        self.part(0, 10)
        rst = self.client.but(seq=IRS + 11, flags=RST, ack=0)
        self.assertEqual(self.script.take(rst), [])
        self.assertTrue(self.script.empty)

    def test_rst_elsewhere_is_challenged(self) -> None:
        """
        RFC 5961, 3.2: only the very next number is believed; what is in the window
        is asked about, what is outside is nothing.
        """
        self.part(0, 10)
        for rst in (
            self.client.but(seq=IRS + 12, flags=RST, ack=0),
            self.client.but(seq=IRS + 12, flags=RST | ACK, payload=REQUEST[11:]),
        ):
            self.assertEqual(self.script.take(rst), [self.acked(10)])
        for seq in (IRS + 1, IRS + WINDOW * 2):
            self.assertEqual(self.script.take(self.client.but(seq=seq, flags=RST, ack=0)), [])
        self.assertIs(self.state(), Accept.ESTABLISHED)
        self.part(10, 99)
        self.assertEqual(self.handed_off().request, REQUEST)

    def test_wrong_checksum(self) -> None:
        whole = self.client.but(payload=REQUEST)
        self.assertEqual(self.script.take(whole.but(intact=False)), [])
        self.assertIs(self.state(), Accept.ESTABLISHED)

    def test_timestamps(self) -> None:
        """
        The latest of the client is echoed, and ours go on.
        """
        self.begin()
        offered = SynOptions(mss=1460, tsval=100).pack()
        self.open(SYN_OF_CLIENT.but(options=offered))
        first = self.script.core.context.timestamp(OUT)
        self.assertEqual(self.syn_ack.options, SynOptions(1460, tsval=first, tsecr=100).pack())
        self.script.now += 2
        (ack,) = self.part(0, 10, options=pack_timestamps(2100, first))
        self.assertEqual(ack.options, pack_timestamps(first + 2000, 2100))
        self.part(10, 99, options=pack_timestamps(2050, first))
        message = self.handed_off()
        self.assertEqual((message.tsval, message.front_tsval), (2100, first + 2000))

    def test_round_trip_time(self) -> None:
        """
        That of the handshake, however long the client waits with its request.
        """
        self.begin()
        self.open()
        self.script.now += 0.07
        self.script.take(self.client)
        self.script.now += 2
        self.part(0, 99)
        self.assertEqual(self.handed_off().rtt, 70)

    def test_round_trip_time_is_ambiguous(self) -> None:
        """
        Nobody knows which SYN/ACK is acknowledged.
        """
        self.begin()
        self.open()
        self.script.now += 2
        self.script.take(SYN_OF_CLIENT)
        self.part(0, 99)
        self.assertEqual(self.handed_off().rtt, 300)

    def test_fin_before_the_request_is_complete(self) -> None:
        (answer,) = self.part(0, 10, flags=ACK | FIN)
        self.assertTrue(answer.payload.startswith(b"HTTP/1.1 400 "))
        self.assertEqual(answer.flags, FIN | PSH | ACK)
        self.assertEqual(answer.ack, (IRS + 12) % 2**32)

    def test_fin_before_anything(self) -> None:
        """
        The client has changed its mind: so there is nothing to say.
        """
        (answer,) = self.script.take(self.client.but(flags=ACK | FIN))
        self.assertEqual(answer, self.front.but(flags=FIN | PSH | ACK, ack=answer.ack))
        self.assertEqual(answer.ack, (IRS + 2) % 2**32)

    def test_fin_that_comes_too_early_comes_again(self) -> None:
        last = len(REQUEST) - 1
        self.assertEqual(self.part(last, last + 1, flags=ACK | FIN), [self.acked(0)])
        self.part(0, last)
        self.assertEqual(self.handed_off().request, REQUEST)

    def test_half_closed_with_the_request(self) -> None:
        """
        The FIN follows the request to the back-end.
        """
        self.part(0, 99, flags=ACK | PSH | FIN)
        self.assertEqual(self.handed_off().request, REQUEST)
        (forwarded,) = self.adopted()
        self.assertEqual(forwarded.flags, ACK | PSH | FIN)
        self.assertEqual((forwarded.seq, forwarded.payload), ((IRS + 1) % 2**32, REQUEST))

    def test_malformed(self) -> None:
        for request in (b"\x16\x03\x01", b"GET / HTTP/1.1\nHost: h\n\n", b"GET\r\n\r\n"):
            self.begin()
            self.establish()
            (answer,) = self.script.take(self.client.but(payload=request))
            self.assertTrue(answer.payload.startswith(b"HTTP/1.1 400 "), request)
            self.assertIs(self.state(), Accept.ANSWERED)

    def test_too_large(self) -> None:
        self.begin(max_request=100)
        self.establish()
        head = b"GET / HTTP/1.1\r\nX: " + b"x" * 100
        (answer,) = self.script.take(self.client.but(payload=head))
        self.assertTrue(answer.payload.startswith(b"HTTP/1.1 431 "))

    def test_too_late(self) -> None:
        self.part(0, 10)
        answer = self.script.wait(Periods().request)[0]
        self.assertTrue(answer.payload.startswith(b"HTTP/1.1 408 "))
        self.assertEqual(answer.ack, (IRS + 11) % 2**32)

    def test_no_such_content(self) -> None:
        (answer,) = self.script.take(self.client.but(payload=b"GET /x/ HTTP/1.0\r\n\r\n"))
        self.assertTrue(answer.payload.startswith(b"HTTP/1.1 404 "))

    def test_no_node(self) -> None:
        (answer,) = self.script.take(self.client.but(payload=b"GET /0/ HTTP/1.0\r\n\r\n"))
        self.assertTrue(answer.payload.startswith(b"HTTP/1.1 503 "))

    def test_head_is_answered_without_a_body(self) -> None:
        (answer,) = self.script.take(self.client.but(payload=b"HEAD /x/ HTTP/1.0\r\n\r\n"))
        self.assertTrue(answer.payload.startswith(b"HTTP/1.1 404 "))
        self.assertTrue(answer.payload.endswith(b"\r\n\r\n"))
        self.assertRegex(answer.payload, rb"Content-Length: [1-9]")
