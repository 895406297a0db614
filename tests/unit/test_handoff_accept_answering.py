# SPDX-License-Identifier: MIT
"""
The front-end's half when it answers by itself: ANSWERED.
"""

from __future__ import annotations

from btcp.content.tls import TlsReader
from btcp.handoff.context import Periods
from btcp.handoff.messages import Adopted, Reason
from btcp.handoff.reassembly import WINDOW
from btcp.handoff.states import Accept
from btcp.wire.segment import ACK, FIN, PSH, RST
from tests.hellos import hello, server_name
from tests.simulation.cluster import ORIGIN
from tests.simulation.script import ADDRESSES
from tests.unit import front_case as case
from tests.unit.front_case import IRS, SYN_OF_CLIENT


class AnsweredTests(case.FrontCase):
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

    def test_answer_of_tls(self) -> None:
        """
        The listener's content decides how a front-end answers, and which request it waits for.
        """
        self.begin(readers={"web": TlsReader})
        for sent, alert in ((b"GET / HTTP/1.1\r\n", 50), (hello(server_name(b"x.example")), 112)):
            self.establish()
            (answer,) = self.script.take(self.client.but(payload=sent))
            self.assertEqual(answer.flags, FIN | PSH | ACK)
            self.assertEqual(answer.payload, bytes((21, 3, 3, 0, 2, 2, alert)))
            self.script.wait(30)

    def test_silent_client_of_tls(self) -> None:
        """
        Is told nothing but the end.
        """
        self.begin(readers={"web": TlsReader})
        self.establish()
        (answer, *_) = self.script.wait(Periods().request + 0.1)
        self.assertEqual((answer.flags, answer.payload), (FIN | PSH | ACK, b""))

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
