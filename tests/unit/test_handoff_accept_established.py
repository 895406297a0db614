# SPDX-License-Identifier: MIT
"""
The front-end's half, of connections that the datapath established.
"""

from __future__ import annotations

from btcp.handoff.context import Periods
from btcp.handoff.messages import UNMEASURED, Handoff
from btcp.handoff.states import Accept
from btcp.wire.options import pack_timestamps
from btcp.wire.segment import ACK, FIN, PSH, RST, Segment
from tests.simulation.script import Tcp
from tests.unit import front_case as case
from tests.unit.front_case import IN, IRS, OUT, REQUEST

NO_SCALE = 15
PLAIN = 6 << 28 | NO_SCALE << 24 | 1234
"""The number of a handshake in which nothing was agreed but an MSS of 1460."""

FULL = 7 << 28 | 2 << 24 | 1 << 23 | 99
"""MSS of 8940, a scale of 2, SACK."""


def first(iss: int = PLAIN, payload: bytes = REQUEST) -> Tcp:
    """
    @return: the first segment of a connection that has data.
    """
    return Tcp(key=IN, seq=IRS + 1, ack=iss + 1, flags=ACK | PSH, window=500, payload=payload)


class EstablishedCase(case.FrontCase):
    def comes(self, packet: Tcp, beginning: bool = True, rtt: int = UNMEASURED) -> list[Tcp]:
        """
        A packet comes for which the datapath vouches.
        """
        octets = bytearray(packet.pack())
        segment, core = Segment(octets, 0, len(octets)), self.script.core
        return self.script.do(core.established(segment, beginning, self.script.now, rtt))

    def handoff(self) -> Handoff:
        """
        What was said in the last step.
        """
        ((node, message),) = self.script.said
        assert isinstance(message, Handoff)
        self.assertEqual(node, "b")
        return message

    def nothing(self) -> None:
        """
        Nothing came of it.
        """
        self.assertEqual((self.script.sent, self.script.said), ([], []))


class BeginningTests(EstablishedCase):
    def test_request(self) -> None:
        """
        What was agreed goes with it.
        """
        self.assertEqual(self.comes(first()), [])
        message = self.handoff()
        self.assertEqual((message.irs, message.iss), (IRS, PLAIN))
        self.assertEqual((message.mss, message.window, message.acked), (1460, 500, 0))
        self.assertEqual((message.client_scale, message.front_scale), (-1, -1))
        self.assertEqual((message.sack, message.tsval, message.front_tsval), (False, -1, -1))
        self.assertEqual(message.request, REQUEST)

    def test_round_trip_time(self) -> None:
        self.comes(first(), rtt=70)
        self.assertEqual(self.handoff().rtt, 70)

    def test_round_trip_time_is_not_known(self) -> None:
        self.comes(first())
        self.assertEqual(self.handoff().rtt, UNMEASURED)

    def test_all_options(self) -> None:
        self.comes(first(FULL).but(options=pack_timestamps(7, 2**32 - 3)))
        message = self.handoff()
        self.assertEqual((message.mss, message.window), (8940, 2000))
        self.assertEqual((message.client_scale, message.front_scale), (2, 7))
        self.assertEqual((message.sack, message.tsval), (True, 7))
        self.assertEqual(message.front_tsval, 2**32 - 3)

    def test_window_is_no_larger_than_a_syn_can_say(self) -> None:
        self.comes(first(FULL).but(window=65_535))
        self.assertEqual(self.handoff().window, 65_535)

    def test_part_of_a_request(self) -> None:
        """
        Is acknowledged, in the numbers of the handshake; the rest comes as any packet does.
        """
        (sent,) = self.comes(first(payload=REQUEST[:5]))
        self.assertEqual((sent.key, sent.seq, sent.ack), (OUT, PLAIN + 1, (IRS + 6) % 2**32))
        self.assertEqual((sent.flags, self.state()), (ACK, Accept.ESTABLISHED))
        rest = first().but(seq=IRS + 6, payload=REQUEST[5:])
        self.script.take(rest)
        self.assertEqual(self.handoff().request, REQUEST)

    def test_timestamps_go_on(self) -> None:
        """
        From that of the SYN/ACK, which the client echoes.
        """
        options = pack_timestamps(7, 2**32 - 3)
        (sent,) = self.comes(first(FULL, REQUEST[:5]).but(options=options))
        self.assertEqual(sent.options, options[:4] + pack_timestamps(2**32 - 3, 7)[4:])
        self.script.now += 0.01
        (sent,) = self.comes(first(FULL, REQUEST[:5]).but(options=pack_timestamps(9, 5)))
        self.assertEqual(sent.options, pack_timestamps(7, 9))

    def test_again(self) -> None:
        """
        The datapath cannot know that we have it.
        """
        for payload in (REQUEST[:5], REQUEST):
            self.begin()
            self.comes(first(payload=payload))
            self.comes(first(payload=payload))
            self.assertEqual(self.script.said, [])
            self.assertEqual(len(self.script.core.acceptor.flows), 1)

    def test_overtaken(self) -> None:
        """
        What came too early is sent again; what comes after the beginning is kept.
        """
        early = first().but(seq=IRS + 1 + 10, payload=REQUEST[10:])
        self.assertEqual(self.comes(early, beginning=False), [])
        self.nothing()
        self.assertTrue(self.script.empty)
        self.assertEqual(self.script.counted("dropped.overtook-beginning"), 1)
        self.comes(first(payload=REQUEST[:5]))
        self.comes(early, beginning=False)
        self.assertEqual(self.script.said, [])
        self.comes(first().but(seq=IRS + 6, payload=REQUEST[5:10]), beginning=False)
        self.assertEqual(self.handoff().request, REQUEST)

    def test_beginning_never_comes(self) -> None:
        """
        It is of a connection that was here before, and whose number happens to look like one
        of ours: to keep silent would let its client wait for minutes.
        """
        stray = first().but(seq=IRS + 1 + 10, payload=REQUEST[10:])
        for _ in range(3):
            self.assertEqual(self.comes(stray, beginning=False), [])
            self.script.now += 2.0
        (reset,) = self.comes(stray, beginning=False)
        self.assertEqual((reset.key, reset.seq, reset.flags), (OUT, stray.ack, RST))
        self.assertEqual(self.comes(stray, beginning=False), [])

    def test_what_waits_is_bounded(self) -> None:
        for port in range(3000):
            key = IN[:-4] + port.to_bytes(2, "big") + IN[-2:]
            self.comes(first().but(key=key, payload=REQUEST[10:]), beginning=False)
        self.assertLess(len(self.script.core.acceptor._waiting), 1100)

    def test_damaged(self) -> None:
        """
        The datapath does not look.
        """
        self.comes(first().but(intact=False))
        self.nothing()
        self.assertTrue(self.script.empty)
        self.assertEqual(self.script.counted("dropped.bad-checksum"), 1)

    def test_options_that_cannot_be_walked(self) -> None:
        self.comes(first().but(options=b"\1\1\x08\1"))
        self.nothing()
        self.assertTrue(self.script.empty)
        self.assertEqual(self.script.counted("dropped.bad-tcp-options"), 1)

    def test_fin(self) -> None:
        """
        A client that has nothing to ask for.
        """
        (sent,) = self.comes(first(payload=b"").but(flags=FIN | ACK))
        self.assertEqual(sent.flags, FIN | PSH | ACK)
        self.assertEqual((sent.seq, sent.ack), (PLAIN + 1, (IRS + 2) % 2**32))
        self.assertIs(self.state(), Accept.ANSWERED)

    def test_silence_thereafter(self) -> None:
        self.comes(first(payload=REQUEST[:5]))
        (sent,) = self.script.wait(Periods().request)
        self.assertIn(b" 408 ", sent.payload)

    def test_takes_no_place_of_handshakes(self) -> None:
        """
        That table may be full of what has nothing to do with it.
        """
        self.begin(max_half_open=0)
        self.comes(first())
        self.handoff()


class RefusedTests(EstablishedCase):
    def refused(self, sent: list[Tcp]) -> None:
        """
        With a reset that the client believes.
        """
        self.assertEqual(sent, [Tcp(key=OUT, seq=PLAIN + 1, flags=RST)])
        self.assertEqual(self.script.counted("dropped.flow-table-full"), 1)

    def test_full_table(self) -> None:
        self.begin(max_flows=0)
        self.refused(self.comes(first()))
        self.assertTrue(self.script.empty)

    def test_this_node_stops(self) -> None:
        self.script.do(self.script.core.stop(self.script.now))
        self.refused(self.comes(first()))
        self.assertTrue(self.script.empty)

    def test_nobody_waits_for_the_beginning_when_this_node_stops(self) -> None:
        """
        One in 256 ACKs of flows that were ended looks as if it had overtaken something.
        """
        self.script.do(self.script.core.stop(self.script.now))
        self.refused(self.comes(first().but(seq=IRS + 6), beginning=False))
        self.assertTrue(self.script.empty)


class OlderTests(EstablishedCase):
    """
    There is a flow of the client's already.
    """

    def again(self) -> None:
        """
        A new connection by the same port begins.
        """
        self.comes(first(PLAIN + 7).but(seq=IRS + 50_001))
        message = self.handoff()
        self.assertEqual((message.irs, message.iss), ((IRS + 50_000) % 2**32, PLAIN + 7))
        self.assertIs(self.state(), Accept.HANDING_OFF)

    def answered(self) -> None:
        """
        An older connection is over, which we answered ourselves.
        """
        self.comes(first(payload=REQUEST.replace(b"/b/", b"/x/")))
        (answer,) = self.script.sent
        end = self.script.core.acceptor.flows.by_key[IN].received
        ack = answer.seq + len(answer.payload) + 1
        self.script.take(first().but(seq=end, ack=ack, payload=b"", flags=ACK | FIN))
        self.assertIs(self.state(), Accept.CLOSED)

    def test_answered(self) -> None:
        self.answered()
        self.again()

    def test_spliced(self) -> None:
        """
        Its route goes, for it is the new one's now.
        """
        self.forward()
        self.terminate()
        self.assertIs(self.state(), Accept.CLOSED)
        self.again()
        self.assertNotIn(IN, self.script.datapath.routes)

    def test_late_duplicate(self) -> None:
        """
        The very beginning of the older connection begins nothing.
        """
        self.answered()
        self.comes(first())
        self.assertEqual(self.script.said, [])
        self.assertIs(self.state(), Accept.CLOSED)

    def test_overtaking_of_the_new_one(self) -> None:
        """
        Changes nothing of the older one.
        """
        self.answered()
        self.comes(first(PLAIN + 7).but(seq=IRS + 50_101), beginning=False)
        self.assertEqual(self.script.said, [])
        self.again()

    def test_alive(self) -> None:
        """
        One that is not over is not given up.
        """
        for payload in (REQUEST[:5], REQUEST):
            self.begin()
            self.comes(first(payload=payload))
            state = self.state()
            self.comes(first(PLAIN + (1 << 21)).but(seq=IRS + 50_001))
            self.assertEqual((self.state(), self.script.said), (state, []))

    def test_handshake_of_our_own(self) -> None:
        """
        Though the datapath believes that it knows the number.
        """
        self.open()
        self.comes(self.client.but(payload=REQUEST))
        self.assertEqual(self.handoff().iss, self.iss)

    def test_half_open(self) -> None:
        """
        A SYN that anybody can have sent, or the client itself before the datapath answered it,
        is in nobody's way.
        """
        for seq in (IRS, IRS + 50_000):
            self.open()
            self.comes(first(PLAIN + 7).but(seq=seq + 1))
            self.assertEqual(self.handoff().iss, PLAIN + 7)
            self.assertEqual(self.script.sent, [])
            self.setUp()


class AnywhereTests(EstablishedCase):
    def test_no_such_content(self) -> None:
        (sent,) = self.comes(first(payload=REQUEST.replace(b"/b/", b"/x/")))
        self.assertIn(b" 404 ", sent.payload)
        self.assertEqual((sent.seq, sent.ack), (PLAIN + 1, (IRS + 1 + len(REQUEST)) % 2**32))

    def test_here(self) -> None:
        """
        This node is the back-end: the local TCP gets the client's SYN after all.
        """
        self.comes(first(payload=REQUEST.replace(b"/b/", b"/a/")), rtt=0)
        (syn,) = self.script.delivered
        self.assertEqual(syn.seq, IRS)
        self.assertEqual(syn.options, b"\2\4\5\xb4")

    def test_refused_by_the_first_node(self) -> None:
        """
        The next one is asked with the same numbers.
        """
        self.comes(first(payload=REQUEST.replace(b"/b/", b"/r/")))
        before = self.handoff()
        self.script.do(self.script.core.peer_lost("b", self.script.now))
        said = [message for node, message in self.script.said if node == "c"]
        self.assertEqual(said, [before])
