# SPDX-License-Identifier: MIT
"""
The front-end's half when a back-end has the connection: FORWARDING, CLOSED.
"""

from __future__ import annotations

from btcp.handoff.context import Periods
from btcp.handoff.messages import Reason, Refused, Terminate
from btcp.handoff.route import Route
from btcp.handoff.states import Accept
from btcp.wire.segment import ACK, FIN, RST, SYN
from tests.simulation.cluster import ORIGIN, PORT
from tests.simulation.script import ADDRESSES, Tcp
from tests.unit import front_case as case
from tests.unit.front_case import IRS, ISN, OUT, REQUEST, SYN_OF_CLIENT, TO_B
from tests.unit.test_wire_icmp import sent, told


class _Passing:
    """
    Moves the client's acknowledgments until it is told to stop; see
    L{btcp.handoff.route.Keeper}.
    """

    def __init__(self, route: Route, ack: int) -> None:
        self._route = route
        self._ack = ack

    def read(self) -> None:
        pass

    def halt(self) -> None:
        self._route.ack = self._ack


class ForwardingTests(case.FrontCase):
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

    def test_acknowledged_unseen(self) -> None:
        """
        A datapath that moves packets by itself has to stop before its account is read.
        """
        route = self.script.datapath.routes[SYN_OF_CLIENT.key]
        route.kept_elsewhere = _Passing(route, (self.iss + 700) % 2**32)
        (reset,) = self.script.do(self.script.core.stop(self.script.now))
        self.assertEqual((reset.seq, reset.flags), ((self.iss + 700) % 2**32, RST))


class ClosedTests(case.FrontCase):
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
