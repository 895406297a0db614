# SPDX-License-Identifier: MIT
"""
The front-end's half when it has asked a back-end: HANDING-OFF.
"""

from __future__ import annotations

from btcp.handoff.context import Periods
from btcp.handoff.messages import Adopted, Handoff, Reason, Refused, Terminate
from btcp.handoff.states import Accept
from btcp.wire.options import SynOptions, pack_timestamps
from btcp.wire.segment import ACK, FIN, RST
from tests.properties.packets import sack
from tests.simulation.cluster import ORIGIN
from tests.simulation.script import ADDRESSES, Tcp
from tests.unit import front_case as case
from tests.unit.front_case import IN, IRS, ISN, OUT, REQUEST, SYN_OF_CLIENT, TO_B


class HandingOffTests(case.FrontCase):
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

    def test_acknowledgment_that_the_next_one_repeats(self) -> None:
        """
        With short responses: of an ACK and a FIN, the FIN says it all.
        """
        self.script.take(self.after.but(flags=ACK, ack=self.after.ack + 9, payload=b""))
        fin = self.after.but(flags=FIN | ACK, ack=self.after.ack + 10, payload=b"")
        self.script.take(fin)
        self.assertEqual([each.flags for each in self.adopted()], [FIN | ACK])

    def test_acknowledgments_that_say_more(self) -> None:
        """
        What has holes, data, or what an older one does not repeat.
        """
        blocks = b"\1\1" + sack([self.after.ack + 50, self.after.ack + 60])
        said = [
            self.after.but(flags=ACK, ack=self.after.ack + 9, payload=b"", options=blocks),
            self.after.but(flags=ACK, ack=self.after.ack + 9, payload=b"more"),
            self.after.but(flags=ACK, ack=self.after.ack + 20, payload=b""),
            self.after.but(flags=ACK, ack=self.after.ack + 10, payload=b"again"),
        ]
        for each in said:
            self.script.take(each)
        self.assertEqual([each.payload for each in self.adopted()], [each.payload for each in said])

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
        self.script.wait(Periods().request + Periods().handoff)
        self.assertEqual(self.script.counted("answered.503"), 1)

    def test_only_holder_is_silent_for_a_while(self) -> None:
        """
        It is asked again, with the number that it may know, and not given up before the time for
        the request is over.
        """
        self.script.hear("b", Refused(id=self.number(), reason=Reason.NO_LISTENER))
        asked = self.script.counted("handoff.asked-again")
        for _ in range(3):
            self.script.wait(Periods().handoff)
        self.assertEqual(self.script.counted("handoff.asked-again"), asked + 3)
        self.assertEqual(self.script.counted("answered.503"), 0)
        self.assertIs(self.state(), Accept.HANDING_OFF)

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


class UnknownFlowTests(case.FrontCase):
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


class DeliveredRequestTests(case.FrontCase):
    """
    The origin of the node that was asked may have received the request.
    """

    def _ask(self, method: bytes, **settings: object) -> None:
        self.begin(**settings)
        self.request(REQUEST.replace(b"GET /b/", method + b" /r/"))
        self.assertEqual(self.asked(), ["b"])

    def _lost(self) -> None:
        self.script.do(self.script.core.peer_lost("b", self.script.now))

    def _reset_by_origin(self) -> None:
        self.script.hear("b", Refused(id=self.number(), reason=Reason.RESET_BY_ORIGIN))

    def _unreachable(self) -> None:
        self.adopted(address=ADDRESSES["b"][1])

    def test_safe_request_moves_on(self) -> None:
        for method in (b"GET", b"HEAD", b"OPTIONS", b"TRACE"):
            for fails in (self._lost, self._reset_by_origin, self._unreachable):
                self._ask(method)
                fails()
                self.assertEqual(self.asked()[-1:], ["c"], (method, fails))

    def test_other_request_is_reset(self) -> None:
        """
        No other node gets it, and the client learns at once that it has failed.
        """
        for method in (b"POST", b"PATCH", b"PUT", b"DELETE", b"get"):
            for fails in (self._lost, self._reset_by_origin, self._unreachable):
                self._ask(method)
                fails()
                self.assertNotIn("c", self.asked(), (method, fails))
                self.assertTrue(self.script.sent[-1].flags & RST)

    def test_listener_names_methods_to_retry(self) -> None:
        self._ask(b"PUT", retries={"web": ("PUT",)})
        self._lost()
        self.assertEqual(self.asked()[-1:], ["c"])

    def test_refused_before_delivery_moves_on(self) -> None:
        """
        An origin that does not listen has received nothing, whatever the method.
        """
        for reason in (Reason.NO_LISTENER, Reason.ACCEPT_QUEUE_FULL, Reason.OVERLOAD):
            self._ask(b"POST")
            self.script.hear("b", Refused(id=self.number(), reason=reason))
            self.assertEqual(self.asked()[-1:], ["c"], reason)

    def test_silent_node_keeps_other_request(self) -> None:
        """
        The node that was asked may answer late; no other is asked meanwhile.
        """
        self._ask(b"POST")
        self.script.wait(2 * Periods().handoff)
        self.assertNotIn("c", self.asked())
        self.assertIs(self.state(), Accept.HANDING_OFF)
        self.adopted("b")
        self.assertIs(self.state(), Accept.FORWARDING)
