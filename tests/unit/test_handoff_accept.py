# SPDX-License-Identifier: MIT
"""
The front-end's half, by the state that the connection is in.
"""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from btcp.handoff.context import Periods
from btcp.handoff.messages import (
    Adopted,
    Capabilities,
    Endpoint,
    Handoff,
    Reason,
    Refused,
    Terminate,
)
from btcp.handoff.reassembly import WINDOW
from btcp.handoff.states import Accept
from btcp.wire.options import SynOptions, pack_timestamps
from btcp.wire.segment import ACK, FIN, PSH, RST, SYN, flow_key, reversed_key
from tests.simulation.cluster import CAPABILITIES, ORIGIN, PORT
from tests.simulation.script import ADDRESSES, CLIENTS, Script, Tcp
from tests.unit.test_wire_icmp import sent, told

IN = flow_key(CLIENTS[0], 51515, ADDRESSES["a"][0], PORT)
OUT = reversed_key(IN)
TO_B = flow_key(CLIENTS[0], 51515, ADDRESSES["b"][0], ORIGIN)

IRS = 2**32 - 10
"""So that every request wraps."""
ISN = 777_000
"""Of the back-end's TCP."""
WINDOW_OF_SYN = 64_240

REQUEST = b"GET /b/ HTTP/1.1\r\nHost: h.example\r\n\r\n"

SYN_OF_CLIENT = Tcp(key=IN, seq=IRS, flags=SYN, window=WINDOW_OF_SYN, options=b"\2\4\5\xb4")
"""The template of a SYN: an MSS and nothing else."""


class FrontCase(SynchronousTestCase):
    """
    A script, and the templates of both sides' segments.
    """

    def setUp(self) -> None:
        self.begin()

    def begin(self, **changes: Any) -> None:
        """
        Start a node; C{changes} are of its settings.
        """
        self.script = Script(**changes)

    def open(self, syn: Tcp = SYN_OF_CLIENT) -> None:
        """
        LISTEN to SYN-RECEIVED.
        """
        (syn_ack,) = self.script.take(syn)
        self.iss = syn_ack.seq
        self.syn_ack = syn_ack
        self.client = Tcp(key=IN, seq=IRS + 1, ack=self.iss + 1, flags=ACK, window=500)
        """What the client sends: the template."""
        self.front = Tcp(
            key=OUT, seq=(self.iss + 1) % 2**32, ack=(IRS + 1) % 2**32, flags=ACK, window=WINDOW
        )
        """What the front-end sends."""

    def establish(self) -> None:
        """
        LISTEN to ESTABLISHED.
        """
        self.open()
        self.assertEqual(self.script.take(self.client), [])

    def request(self, request: bytes = REQUEST, flags: int = ACK | PSH) -> None:
        """
        LISTEN to HANDING-OFF.
        """
        self.establish()
        self.length = len(request)
        self.assertEqual(self.script.take(self.client.but(flags=flags, payload=request)), [])
        self.after = self.client.but(seq=IRS + 1 + len(request))
        """What the client sends after its request: the template."""

    def adopted(self, node: str = "b", **changes: Any) -> list[Tcp]:
        """
        A back-end has it.
        """
        message = Adopted(
            id=self.number(), isn=ISN, ts_delta=0, address=ADDRESSES[node][0], port=ORIGIN
        )
        return self.script.hear(node, evolve(message, **changes))

    def forward(self) -> None:
        """
        LISTEN to FORWARDING.
        """
        self.request()
        self.assertEqual(self.adopted(), [])
        self.back = Tcp(
            key=TO_B,
            seq=(IRS + 1 + self.length) % 2**32,
            ack=ISN + 1,
            flags=ACK,
            window=500,
        )
        """What the back-end gets from the client through us: the template."""

    def number(self) -> int:
        """
        Of the only flow.
        """
        (number,) = self.script.core.acceptor.flows.by_number
        return number

    def state(self) -> Accept:
        """
        Of the only flow.
        """
        (flow,) = self.script.core.acceptor.flows.by_key.values()
        return flow.state

    def terminate(self, reason: Reason = Reason.CLOSED, **changes: Any) -> list[Tcp]:
        """
        A back-end says that it is over.
        """
        message = Terminate(
            front="a", id=self.number(), reason=reason, client_next=0, server_next=0
        )
        return self.script.hear("b", evolve(message, **changes))

    def asked(self) -> list[str]:
        """
        Who was asked to adopt the connection in the last step.
        """
        return [node for node, message in self.script.said if isinstance(message, Handoff)]

    def abandoned(self) -> list[tuple[str, Reason]]:
        """
        Who was told in the last step that the connection is over, and why.
        """
        return [
            (node, message.reason)
            for node, message in self.script.said
            if isinstance(message, Terminate)
        ]


class ListenTests(FrontCase):
    """
    Nothing is known of the client.
    """

    def test_syn(self) -> None:
        """
        Our own ISN, an ACK of the client's, and the window we have for a request.
        """
        self.open()
        self.assertEqual(self.syn_ack.key, OUT)
        self.assertEqual(self.syn_ack.flags, SYN | ACK)
        self.assertEqual(self.syn_ack.ack, IRS + 1)
        self.assertEqual(self.syn_ack.window, WINDOW)
        self.assertEqual(self.syn_ack.options, SynOptions(mss=1460).pack())
        self.assertIs(self.state(), Accept.SYN_RECEIVED)

    def test_isn_depends_on_ends_and_time(self) -> None:
        """
        RFC 6528.
        """
        seen = set()
        for key in (IN, IN[:-4] + b"\0\1" + IN[-2:]):
            for seconds in (0, 1):
                self.begin()
                self.script.now += seconds
                seen.add(self.script.take(SYN_OF_CLIENT.but(key=key))[0].seq)
        self.assertEqual(len(seen), 4)

    def offer(self, offered: SynOptions, **can: Any) -> bytes:
        """
        What is promised to whom offers that.
        """
        self.script = Script(evolve(CAPABILITIES, **can))
        (syn_ack,) = self.script.take(SYN_OF_CLIENT.but(options=offered.pack()))
        return syn_ack.options

    def test_everything_is_offered(self) -> None:
        promised = self.offer(SynOptions(mss=1200, scale=3, sack=True, tsval=5))
        stamp = self.script.core.context.timestamp(OUT)
        self.assertEqual(promised, SynOptions(1460, 7, True, stamp, 5).pack())

    def test_promises_are_what_every_node_can_keep(self) -> None:
        """
        One node cannot, so no client is promised it.
        """
        offered = SynOptions(mss=1200, scale=3, sack=True, tsval=5)
        poor = Capabilities(mtu=1280, sack=False, timestamps=False, window_scaling=False)
        self.script.perform(self.script.core.peer_up("c", poor, self.script.now))
        (syn_ack,) = self.script.take(SYN_OF_CLIENT.but(options=offered.pack()))
        self.assertEqual(syn_ack.options, SynOptions(mss=1240).pack())
        for name in ("sack", "timestamps", "window_scaling"):
            with_all = self.offer(offered)
            self.assertNotEqual(self.offer(offered, **{name: False}), with_all, name)

    def test_mss_of_the_version(self) -> None:
        key = flow_key(CLIENTS[1], 51515, ADDRESSES["a"][1], PORT)
        (syn_ack,) = self.script.take(SYN_OF_CLIENT.but(key=key))
        self.assertEqual(syn_ack.options, SynOptions(mss=1440).pack())

    def test_ack_is_reset(self) -> None:
        """
        RFC 9293, 3.10.7.1: with the number it acknowledges.
        """
        stray = Tcp(key=IN, seq=5, ack=77, flags=ACK, payload=b"data")
        self.assertEqual(self.script.take(stray), [Tcp(key=OUT, seq=77, flags=RST)])

    def test_fin_without_ack_is_reset(self) -> None:
        stray = Tcp(key=IN, seq=5, flags=FIN, payload=b"data")
        expected = Tcp(key=OUT, seq=0, ack=10, flags=RST | ACK)
        self.assertEqual(self.script.take(stray), [expected])

    def test_rst_is_not_answered(self) -> None:
        self.assertEqual(self.script.take(Tcp(key=IN, seq=5, flags=RST)), [])
        self.assertTrue(self.script.empty)

    def test_syn_with_fin_is_none(self) -> None:
        (answer,) = self.script.take(SYN_OF_CLIENT.but(flags=SYN | FIN))
        self.assertEqual(answer.flags, RST | ACK)
        self.assertTrue(self.script.empty)

    def test_wrong_checksum(self) -> None:
        self.assertEqual(self.script.take(SYN_OF_CLIENT.but(intact=False)), [])
        self.assertEqual(self.script.counted("dropped.bad-checksum"), 1)
        self.assertTrue(self.script.empty)

    def test_options_that_cannot_be_read(self) -> None:
        self.assertEqual(self.script.take(SYN_OF_CLIENT.but(options=b"\2\0\0\0")), [])
        self.assertEqual(self.script.counted("dropped.bad-tcp-options"), 1)
        self.assertTrue(self.script.empty)

    def test_full_table(self) -> None:
        """
        A flow that lives is not sent away for another.
        """
        self.begin(max_flows=2)
        for port in range(5):
            key = IN[:-4] + port.to_bytes(2, "big") + IN[-2:]
            self.script.take(SYN_OF_CLIENT.but(key=key))
        self.assertEqual(len(self.script.core.acceptor.flows), 2)
        self.assertEqual(self.script.counted("dropped.flow-table-full"), 3)

    def test_too_many_half_open(self) -> None:
        self.begin(max_half_open=1)
        self.open()
        other = SYN_OF_CLIENT.but(key=IN[:-4] + b"\0\1" + IN[-2:])
        self.assertEqual(self.script.take(other), [])
        self.assertEqual(self.script.counted("dropped.half-open-table-full"), 1)
        self.script.take(self.client)
        self.assertEqual(len(self.script.take(other)), 1)


class SynReceivedTests(FrontCase):
    """
    The SYN/ACK is on its way.
    """

    def setUp(self) -> None:
        super().setUp()
        self.open()

    def test_the_same_syn(self) -> None:
        """
        The same SYN/ACK, later too.
        """
        self.script.wait(1)
        self.assertEqual(self.script.take(SYN_OF_CLIENT), [self.syn_ack])
        self.assertEqual(len(self.script.core.acceptor.flows), 1)

    def test_another_syn(self) -> None:
        """
        The client has begun anew: so do we.
        """
        (again,) = self.script.take(SYN_OF_CLIENT.but(seq=IRS + 5))
        self.assertEqual(again.ack, IRS + 6)
        self.assertIs(self.state(), Accept.SYN_RECEIVED)
        self.assertEqual(self.script.core.acceptor.flows.half_open, 1)

    def test_ack(self) -> None:
        self.assertEqual(self.script.take(self.client), [])
        self.assertIs(self.state(), Accept.ESTABLISHED)
        self.assertEqual(self.script.core.acceptor.flows.half_open, 0)

    def test_request_with_the_ack(self) -> None:
        self.script.take(self.client.but(payload=REQUEST))
        self.assertEqual(self.asked(), ["b"])

    def test_wrong_ack_is_reset(self) -> None:
        """
        With the number it acknowledges (RFC 9293, 3.10.7.4); the flow goes on.
        """
        for wrong in (self.iss, self.iss + 2, self.iss + 2**31):
            answer = self.script.take(self.client.but(ack=wrong))
            self.assertEqual(answer, [Tcp(key=OUT, seq=wrong % 2**32, flags=RST)])
            self.assertIs(self.state(), Accept.SYN_RECEIVED)

    def test_wrong_ack_of_a_rst_is_not_answered(self) -> None:
        self.assertEqual(self.script.take(self.client.but(ack=1, flags=RST | ACK)), [])
        self.assertIs(self.state(), Accept.SYN_RECEIVED)

    def test_without_ack_nothing_is_established(self) -> None:
        """
        Who cannot have seen our SYN/ACK does not leave the half-open ones.
        """
        for flags in (0, PSH, FIN):
            blind = self.client.but(flags=flags, ack=0, payload=REQUEST)
            self.assertEqual(self.script.take(blind), [])
            self.assertIs(self.state(), Accept.SYN_RECEIVED)
            self.assertEqual(self.script.said, [])

    def test_rst(self) -> None:
        self.assertEqual(self.script.take(self.client.but(flags=RST, ack=0)), [])
        self.assertTrue(self.script.empty)
        self.assertEqual(self.script.core.acceptor.flows.half_open, 0)

    def test_rst_elsewhere_in_the_window(self) -> None:
        """
        Does nothing, with or without an ACK.
        """
        for rst in (
            self.client.but(flags=RST, ack=0, seq=IRS + 2),
            self.client.but(flags=RST | ACK, seq=IRS + 2),
        ):
            self.script.take(rst)
            self.assertIs(self.state(), Accept.SYN_RECEIVED)

    def test_silence(self) -> None:
        self.assertEqual(self.script.wait(Periods().handshake), [])
        self.assertTrue(self.script.empty)
        self.assertEqual(self.script.counted("accept.handshake-timeout"), 1)


class EstablishedTests(FrontCase):
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


class HandingOffTests(FrontCase):
    """
    A back-end was asked.
    """

    def setUp(self) -> None:
        super().setUp()
        self.request(REQUEST.replace(b"/b/", b"/r/"))
        self.assertEqual(self.asked(), ["b"])

    def test_request_again(self) -> None:
        """
        It was not acknowledged, so the client sends it again.
        """
        again = self.client.but(payload=REQUEST)
        self.assertEqual(self.script.take(again), [])
        self.assertEqual(self.script.counted("accept.repeated-request"), 1)
        self.assertEqual(self.adopted(), [])

    def test_data_is_queued_and_flushed_in_order(self) -> None:
        pieces = [self.after.but(seq=self.after.seq + n, payload=b"%d" % n) for n in range(9)]
        for piece in pieces:
            self.assertEqual(self.script.take(piece), [])
        flushed = self.adopted()
        self.assertEqual([each.payload for each in flushed], [b"%d" % n for n in range(9)])
        for each in flushed:
            self.assertEqual((each.key, each.ack), (TO_B, ISN + 1))

    def test_queue_is_bounded(self) -> None:
        for n in range(100):
            self.script.take(self.after.but(seq=self.after.seq + n, payload=b"x"))
        self.assertEqual(len(self.adopted()), 64)
        self.assertEqual(self.script.counted("dropped.handoff-queue-full"), 36)

    def test_octets_in_the_queue_are_bounded(self) -> None:
        """
        Whatever a device makes of them on their way in.
        """
        for n in range(20):
            self.script.take(self.after.but(seq=self.after.seq + n, payload=bytes(30_000)))
        self.assertEqual(len(self.adopted()), 5)

    def test_options_that_cannot_be_walked_are_not_queued(self) -> None:
        """
        Nothing that could fail is left for the moment when the answer comes.
        """
        self.script.take(self.after.but(payload=b"1", options=b"\x08\x00\x00\x00"))
        self.assertEqual(self.script.counted("dropped.bad-tcp-options"), 1)
        self.script.take(self.after.but(payload=b"2"))
        self.assertEqual([each.payload for each in self.adopted()], [b"2"])
        self.assertIs(self.state(), Accept.FORWARDING)

    def test_far_away_is_not_queued(self) -> None:
        """
        No client sends so far beyond any window.
        """
        for offset in (2**20 + 1, -(2**20) - 1, 2**31):
            self.script.take(self.after.but(seq=(self.after.seq + offset) % 2**32, payload=b"x"))
        self.assertEqual(self.script.counted("dropped.outside-window"), 3)
        self.assertEqual(self.adopted(), [])

    def test_ack_of_what_nobody_sent_is_no_response_seen(self) -> None:
        """
        It would keep us from asking anybody else.
        """
        self.script.take(self.after.but(ack=(self.iss + 1 + 2**30) % 2**32))
        self.script.hear("b", Refused(id=self.number(), reason=Reason.NO_LISTENER))
        self.script.wait(Periods().handoff)
        self.assertEqual(self.script.counted("answered.503"), 1)

    def test_wrong_checksum_is_not_queued(self) -> None:
        self.script.take(self.after.but(payload=b"x", intact=False))
        self.assertEqual(self.adopted(), [])

    def test_adopted(self) -> None:
        self.adopted()
        self.assertIs(self.state(), Accept.FORWARDING)
        self.assertEqual(set(self.script.datapath.routes), {IN})

    def test_adopted_by_another(self) -> None:
        """
        Who was not asked is told to forget it.
        """
        self.adopted("c")
        self.assertEqual(self.abandoned(), [("c", Reason.ABANDONED)])
        self.assertIs(self.state(), Accept.HANDING_OFF)

    def test_adopted_at_an_address_of_the_other_version(self) -> None:
        """
        It cannot be forwarded there: as good as a refusal.
        """
        self.adopted(address=ADDRESSES["b"][1])
        self.assertEqual(self.abandoned(), [("b", Reason.ABANDONED)])
        self.assertEqual(self.asked(), ["c"])

    def test_refused(self) -> None:
        """
        The next one is asked, with the same ISN of ours.
        """
        first = self.script.core.acceptor.flows.by_number[self.number()].handoff()
        self.script.hear("b", Refused(id=self.number(), reason=Reason.OVERLOAD))
        self.assertEqual(self.script.said, [("c", first)])

    def test_refused_by_all(self) -> None:
        for node in ("b", "c"):
            self.script.hear(node, Refused(id=self.number(), reason=Reason.OVERLOAD))
        (answer,) = self.script.sent
        self.assertTrue(answer.payload.startswith(b"HTTP/1.1 503 "))
        self.assertEqual(answer.seq, self.iss + 1)

    def test_refused_by_another(self) -> None:
        self.script.hear("c", Refused(id=self.number(), reason=Reason.OVERLOAD))
        self.assertEqual(self.script.said, [])
        self.assertEqual(self.script.counted("handoff.late-refusal"), 1)

    def test_silence(self) -> None:
        """
        The silent one is told to forget it, the next one asked; who comes late is
        told again.
        """
        self.script.wait(Periods().handoff)
        self.assertEqual(self.abandoned(), [("b", Reason.ABANDONED)])
        self.assertEqual(self.asked(), ["c"])
        self.adopted("b")
        self.assertEqual(self.abandoned(), [("b", Reason.ABANDONED)])
        self.assertIs(self.state(), Accept.HANDING_OFF)
        self.adopted("c")
        self.assertIs(self.state(), Accept.FORWARDING)

    def test_silence_after_a_response(self) -> None:
        """
        The client acknowledges what only the silent one can have sent: nobody else
        may answer, so it may take its time to say that it has the connection.
        """
        self.script.take(self.after.but(ack=self.iss + 1001))
        for _ in range(10):
            self.assertEqual(self.script.wait(Periods().handoff), [])
        (reset,) = self.script.wait(Periods().handoff)
        self.assertEqual(reset, Tcp(key=OUT, seq=self.iss + 1001, flags=RST))
        self.assertEqual(self.abandoned(), [("b", Reason.ABANDONED)])
        self.assertTrue(self.script.empty)

    def test_node_lost(self) -> None:
        self.script.do(self.script.core.peer_lost("b", self.script.now))
        self.assertEqual(self.asked(), ["c"])

    def test_another_node_lost(self) -> None:
        self.script.do(self.script.core.peer_lost("c", self.script.now))
        self.assertEqual(self.asked(), [])

    def test_syn_is_challenged(self) -> None:
        for seq in (IRS, IRS + 1000):
            (ack,) = self.script.take(SYN_OF_CLIENT.but(seq=seq))
            self.assertEqual(ack.flags, ACK)
        self.assertIs(self.state(), Accept.HANDING_OFF)

    def test_rst(self) -> None:
        self.assertEqual(self.script.take(self.after.but(flags=RST, ack=0)), [])
        self.assertEqual(self.abandoned(), [("b", Reason.ABANDONED)])
        self.assertTrue(self.script.empty)

    def test_rst_elsewhere_is_challenged(self) -> None:
        rst = self.after.but(seq=self.after.seq + 1, flags=RST, ack=0)
        (ack,) = self.script.take(rst)
        self.assertEqual(ack.flags, ACK)
        self.assertEqual(self.adopted(), [])

    def test_terminated_before_adopted(self) -> None:
        """
        Not what a back-end says; a counter moves.
        """
        self.terminate()
        self.assertEqual(self.script.counted("accept.unexpected.Terminate"), 1)
        self.assertIs(self.state(), Accept.HANDING_OFF)

    def test_timestamps_go_on(self) -> None:
        """
        The second one begins where the first one may have got to in the meantime.
        """
        self.begin()
        self.open(SYN_OF_CLIENT.but(options=SynOptions(mss=1460, tsval=100).pack()))
        first = self.script.core.context.timestamp(OUT)
        stamps = pack_timestamps(101, first)
        request = REQUEST.replace(b"/b/", b"/r/")
        self.script.take(self.client.but(payload=request, options=stamps))
        self.adopted("b")
        self.script.now += 20
        self.script.do(self.script.core.peer_lost("b", self.script.now))
        _, (node, message) = self.script.said
        assert isinstance(message, Handoff)
        self.assertEqual((node, message.front_tsval), ("c", (first + 20_000) % 2**32))


class ForwardingTests(FrontCase):
    """
    A back-end has it.
    """

    def setUp(self) -> None:
        super().setUp()
        self.forward()

    def test_ack(self) -> None:
        """
        Claim 18: its destination, its numbers, its checksum.
        """
        sent = self.script.take(self.after.but(ack=self.iss + 501))
        self.assertEqual(sent, [self.back.but(ack=ISN + 501)])

    def test_sack(self) -> None:
        edges = [self.iss + 1000, self.iss + 2000]
        option = b"\1\1\5\n" + b"".join((edge % 2**32).to_bytes(4, "big") for edge in edges)
        (sent,) = self.script.take(self.after.but(options=option))
        edges = [ISN + 1000, ISN + 2000]
        expected = b"\1\1\5\n" + b"".join(edge.to_bytes(4, "big") for edge in edges)
        self.assertEqual(sent.options, expected)

    def test_half_close_is_passed_on(self) -> None:
        (sent,) = self.script.take(self.after.but(flags=FIN | ACK))
        self.assertEqual(sent, self.back.but(flags=FIN | ACK))
        self.assertIs(self.state(), Accept.FORWARDING)

    def test_rst_is_passed_on(self) -> None:
        """
        The back-end's TCP decides whether to believe it.
        """
        for seq in (self.after.seq, self.after.seq + 5):
            rst = self.after.but(flags=RST, ack=0, seq=seq)
            expected = self.back.but(flags=RST, ack=0, seq=seq % 2**32)
            self.assertEqual(self.script.take(rst), [expected])
        self.assertIs(self.state(), Accept.FORWARDING)

    def test_the_same_syn_is_passed_on(self) -> None:
        (sent,) = self.script.take(SYN_OF_CLIENT)
        self.assertEqual((sent.key, sent.flags, sent.seq), (TO_B, SYN, IRS))

    def test_another_syn_waits_for_the_end(self) -> None:
        """
        The back-end's TCP answers it; and when the end is told, it begins anew.
        """
        fresh = SYN_OF_CLIENT.but(seq=IRS + 100_000)
        (sent,) = self.script.take(fresh)
        self.assertEqual((sent.key, sent.flags, sent.ack), (TO_B, SYN, 0))
        self.assertIs(self.state(), Accept.FORWARDING)
        (syn_ack,) = self.terminate()
        self.assertEqual((syn_ack.flags, syn_ack.ack), (SYN | ACK, (IRS + 100_001) % 2**32))
        self.assertIs(self.state(), Accept.SYN_RECEIVED)

    def test_another_syn_and_a_reset(self) -> None:
        self.script.take(SYN_OF_CLIENT.but(seq=IRS + 100_000))
        (syn_ack,) = self.terminate(Reason.RESET_BY_CLIENT)
        self.assertEqual((syn_ack.flags, syn_ack.ack), (SYN | ACK, (IRS + 100_001) % 2**32))

    def test_a_syn_that_cannot_be_read_is_not_kept(self) -> None:
        fresh = SYN_OF_CLIENT.but(seq=IRS + 100_000, options=b"\2\0\0\0")
        self.assertEqual(self.script.take(fresh), [])
        self.assertEqual(self.terminate(), [])
        self.assertIs(self.state(), Accept.CLOSED)

    def test_a_syn_with_a_wrong_checksum_is_not_kept(self) -> None:
        self.script.take(SYN_OF_CLIENT.but(seq=IRS + 100_000, intact=False))
        self.assertEqual(self.terminate(), [])

    def test_options_that_cannot_be_walked(self) -> None:
        broken = self.after.but(options=b"\5\0\0\0")
        self.assertEqual(self.script.take(broken), [])
        self.assertEqual(self.script.counted("dropped.bad-tcp-options"), 1)

    def test_terminated(self) -> None:
        """
        Late packets still have a way; a while later there is nothing.
        """
        self.assertEqual(self.terminate(), [])
        self.assertIs(self.state(), Accept.CLOSED)
        self.assertEqual(self.script.take(self.after), [self.back])
        self.script.wait(Periods().linger)
        self.assertTrue(self.script.empty)

    def test_terminated_by_a_reset(self) -> None:
        for reason in (Reason.RESET_BY_CLIENT, Reason.RESET_BY_ORIGIN, Reason.IDLE):
            self.assertEqual(self.terminate(reason), [])
            self.assertTrue(self.script.empty)
            self.begin()
            self.forward()

    def test_terminated_by_who_does_not_have_it(self) -> None:
        message = Terminate(
            front="a", id=self.number(), reason=Reason.CLOSED, client_next=0, server_next=0
        )
        self.script.hear("c", message)
        self.assertEqual(self.script.counted("terminate.unknown"), 1)
        self.assertIs(self.state(), Accept.FORWARDING)

    def test_terminated_twice(self) -> None:
        message = Terminate(
            front="a", id=self.number(), reason=Reason.CLOSED, client_next=0, server_next=0
        )
        self.script.hear("b", message)
        self.script.hear("b", message)
        self.assertIs(self.state(), Accept.CLOSED)
        self.script.wait(Periods().linger)
        self.script.hear("b", message)
        self.assertEqual(self.script.counted("terminate.unknown"), 1)

    def test_adopted_twice(self) -> None:
        self.assertEqual(self.adopted(), [])
        self.assertEqual(self.script.said, [])
        self.assertIs(self.state(), Accept.FORWARDING)

    def test_refused_too_late(self) -> None:
        self.script.hear("b", Refused(id=self.number(), reason=Reason.OVERLOAD))
        self.assertIs(self.state(), Accept.FORWARDING)

    def lose(self) -> list[Tcp]:
        """
        The back-end is lost.
        """
        return self.script.do(self.script.core.peer_lost("b", self.script.now))

    def replicated(self) -> None:
        """
        As before, but c could answer as well.
        """
        self.begin()
        self.request(REQUEST.replace(b"/b/", b"/r/"))
        self.adopted()

    def test_node_lost_before_it_answered(self) -> None:
        """
        Another one is asked, with the same ISN; and gets all that comes.
        """
        self.replicated()
        first = self.script.core.acceptor.flows.by_number[self.number()].handoff()
        self.script.take(self.after)
        self.assertEqual(self.lose(), [])
        # b is told as well, should it be out of sight only.
        self.assertEqual(self.script.said[1:], [("c", first)])
        self.assertEqual(self.abandoned(), [("b", Reason.ABANDONED)])
        self.assertEqual(self.script.datapath.routes, {})
        self.adopted("c", isn=5)
        (sent,) = self.script.take(self.after)
        self.assertEqual((sent.key[4:8], sent.ack), (ADDRESSES["c"][0], 6))

    def test_node_lost_before_it_answered_and_no_other(self) -> None:
        (answer,) = self.lose()
        self.assertTrue(answer.payload.startswith(b"HTTP/1.1 503 "))

    def test_node_lost_after_it_answered(self) -> None:
        """
        A reset with the very number that the client expects.
        """
        self.replicated()
        self.script.take(self.after.but(ack=self.iss + 1001))
        self.assertEqual(self.lose(), [Tcp(key=OUT, seq=self.iss + 1001, flags=RST)])
        self.assertEqual(self.asked(), [])
        self.assertTrue(self.script.empty)

    def test_node_lost_after_a_part_of_its_answer_came(self) -> None:
        """
        The first octets are lost, but later ones are there.
        """
        self.replicated()
        edges = (self.iss + 1000).to_bytes(4, "big") + (self.iss + 2000).to_bytes(4, "big")
        self.script.take(self.after.but(options=b"\1\1\5\n" + edges))
        self.assertEqual(self.lose(), [Tcp(key=OUT, seq=self.iss + 1, flags=RST)])
        self.assertEqual(self.asked(), [])

    def test_node_lost_after_more_than_the_request(self) -> None:
        """
        What followed the request is known to nobody else.
        """
        self.replicated()
        self.script.take(self.after.but(payload=b"body"))
        self.assertEqual(self.lose(), [Tcp(key=OUT, seq=self.iss + 1, flags=RST)])

    def test_node_stops_before_it_answered(self) -> None:
        self.replicated()
        self.terminate(Reason.STOPPING, server_next=(self.iss + 1) % 2**32)
        self.assertEqual(self.asked(), ["c"])

    def test_node_stops_after_it_answered(self) -> None:
        """
        Even if no acknowledgment has come by yet.
        """
        self.replicated()
        reset = self.terminate(Reason.STOPPING, server_next=(self.iss + 500) % 2**32)
        self.assertEqual(reset, [Tcp(key=OUT, seq=self.iss + 1, flags=RST)])
        self.assertEqual(self.asked(), [])

    def test_too_big_for_the_path(self) -> None:
        """
        A router's word about a packet of the response goes to who sent it.
        """
        quoted = sent("192.0.2.11", "198.51.100.7", PORT, (self.iss + 501) % 2**32)
        self.script.receive(told(bytes(quoted)))
        ((local, packet),) = self.script.passed
        self.assertFalse(local)
        inner = bytes(sent("192.0.2.12", "198.51.100.7", ORIGIN, ISN + 501))
        self.assertEqual(packet[16:20], ADDRESSES["b"][0])
        self.assertEqual(packet[28:56], inner[:28])

    def test_idle(self) -> None:
        """
        Both are told.
        """
        self.script.wait(Periods().established - 1)
        self.script.take(self.after.but(ack=self.iss + 7))
        self.assertEqual(self.script.wait(Periods().established - 1), [])
        self.assertIs(self.state(), Accept.FORWARDING)
        reset = self.script.wait(1)
        self.assertEqual(reset, [Tcp(key=OUT, seq=self.iss + 7, flags=RST)])
        self.assertEqual(self.abandoned(), [("b", Reason.IDLE)])
        self.assertTrue(self.script.empty)

    def test_this_node_stops(self) -> None:
        self.script.take(self.after.but(ack=self.iss + 7))
        reset = self.script.do(self.script.core.stop(self.script.now))
        self.assertEqual(reset, [Tcp(key=OUT, seq=self.iss + 7, flags=RST)])
        self.assertEqual(self.abandoned(), [("b", Reason.ABANDONED)])
        self.assertTrue(self.script.empty)
        (answer,) = self.script.take(SYN_OF_CLIENT)
        self.assertEqual(answer.flags, RST | ACK)


class ClosedTests(FrontCase):
    """
    It is over, but some packets may be late.
    """

    def setUp(self) -> None:
        super().setUp()
        self.forward()
        self.terminate()

    def test_port_again(self) -> None:
        (syn_ack,) = self.script.take(SYN_OF_CLIENT.but(seq=IRS + 100_000))
        self.assertEqual(syn_ack.flags, SYN | ACK)
        self.assertIs(self.state(), Accept.SYN_RECEIVED)
        self.assertEqual(self.script.datapath.routes, {})

    def test_late_ack_and_late_rst(self) -> None:
        for flags in (ACK, RST):
            late = self.after.but(flags=flags)
            (sent,) = self.script.take(late)
            self.assertEqual((sent.key, sent.flags), (TO_B, flags))

    def test_node_lost(self) -> None:
        """
        Nobody is told: everybody knows.
        """
        self.assertEqual(self.script.do(self.script.core.peer_lost("b", self.script.now)), [])
        self.assertTrue(self.script.empty)


class AnsweredTests(FrontCase):
    """
    The front-end has answered by itself.
    """

    def setUp(self) -> None:
        super().setUp()
        self.establish()
        (self.answer,) = self.script.take(self.client.but(payload=b"GET /x/ HTTP/1.0\r\n\r\n"))
        self.after = self.client.but(seq=IRS + 1 + 20)
        self.taken = self.after.but(ack=self.iss + 2 + len(self.answer.payload))

    def test_answer(self) -> None:
        """
        With it the request is acknowledged and our side closed.
        """
        self.assertEqual(self.answer.flags, FIN | PSH | ACK)
        self.assertEqual(self.answer.seq, self.iss + 1)
        self.assertEqual(self.answer.ack, (IRS + 21) % 2**32)
        self.assertLess(len(self.answer.payload), 536)

    def test_answer_is_repeated(self) -> None:
        """
        Ever more seldom, and then not any more.
        """
        times = []
        for _ in range(200):
            for each in self.script.wait(0.1):
                times.append((round(self.script.now - 1000, 1), each.flags))
                if each.payload:
                    self.assertEqual(each, self.answer.but(window=each.window))
        repeated = [(at, FIN | PSH | ACK) for at in (0.3, 0.9, 2.1, 4.5, 9.3)]
        self.assertEqual(times, [*repeated, (18.9, RST)])
        self.assertTrue(self.script.empty)

    def test_request_again(self) -> None:
        """
        It is acknowledged, and not taken for news.
        """
        again = self.client.but(payload=b"GET /x/ HTTP/1.0\r\n\r\n")
        (ack,) = self.script.take(again)
        self.assertEqual((ack.flags, ack.ack), (ACK, (IRS + 21) % 2**32))

    def test_closed_by_both(self) -> None:
        self.assertEqual(self.script.take(self.taken), [])
        (ack,) = self.script.take(self.taken.but(flags=FIN | ACK))
        self.assertEqual(ack.ack, (IRS + 22) % 2**32)
        self.assertIs(self.state(), Accept.CLOSED)
        (again,) = self.script.take(self.taken.but(flags=FIN | ACK))
        self.assertEqual(again.ack, (IRS + 22) % 2**32)
        self.script.wait(Periods().linger)
        self.assertTrue(self.script.empty)

    def test_what_follows_is_thrown_away(self) -> None:
        """
        It is acknowledged, with a window for more, or the client would never get to
        our answer.
        """
        edge = 0
        for count in range(1, 50):
            (ack,) = self.script.take(self.after.but(payload=bytes(1000)))
            self.after = self.after.but(seq=self.after.seq + 1000)
            self.assertEqual(ack.ack, self.after.seq % 2**32)
            self.assertGreater(count * 1000 + ack.window, edge)
            edge = count * 1000 + ack.window
        self.assertGreater(edge, WINDOW)

    def test_what_follows_a_gap_is_not_acknowledged(self) -> None:
        (ack,) = self.script.take(self.after.but(seq=self.after.seq + 1, payload=b"x"))
        self.assertEqual(ack.ack, self.after.seq % 2**32)

    def test_client_keeps_its_side_open(self) -> None:
        """
        Not for long.
        """
        self.script.take(self.taken)
        self.script.wait(4.9)
        self.assertIs(self.state(), Accept.ANSWERED)
        self.script.wait(0.2)
        self.assertTrue(self.script.empty)

    def test_rst(self) -> None:
        self.assertEqual(self.script.take(self.after.but(flags=RST, ack=0)), [])
        self.assertTrue(self.script.empty)

    def test_rst_after_fin(self) -> None:
        """
        The next number counts the FIN.
        """
        self.script.take(self.after.but(flags=FIN | ACK))
        rst = self.after.but(seq=self.after.seq + 1, flags=RST, ack=0)
        self.assertEqual(self.script.take(rst), [])
        self.assertTrue(self.script.empty)

    def test_syn_is_challenged(self) -> None:
        (ack,) = self.script.take(SYN_OF_CLIENT.but(seq=IRS + 100_000))
        self.assertEqual((ack.flags, ack.seq), (ACK, self.taken.ack % 2**32))

    def test_late_adoption_is_undone(self) -> None:
        message = Adopted(
            id=self.number(), isn=1, ts_delta=0, address=ADDRESSES["b"][0], port=ORIGIN
        )
        self.script.hear("b", message)
        self.assertEqual(self.abandoned(), [("b", Reason.ABANDONED)])


class UnknownFlowTests(FrontCase):
    """
    Words about flows that are not there.
    """

    def test_adopted(self) -> None:
        message = Adopted(id=9, isn=1, ts_delta=0, address=ADDRESSES["b"][0], port=ORIGIN)
        self.script.hear("b", message)
        self.assertEqual(self.abandoned(), [("b", Reason.ABANDONED)])

    def test_refused(self) -> None:
        self.script.hear("b", Refused(id=9, reason=Reason.OVERLOAD))
        self.assertEqual(self.script.counted("handoff.late-refusal"), 1)
        self.assertEqual(self.script.said, [])

    def test_terminated(self) -> None:
        for front in ("a", "b", "c"):
            message = Terminate(
                front=front, id=9, reason=Reason.CLOSED, client_next=0, server_next=0
            )
            unknown, actions = self.script.core.terminate("b", [message], self.script.now)
            self.assertEqual((unknown, actions), (1, []))
