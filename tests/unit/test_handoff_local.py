# SPDX-License-Identifier: MIT
"""
A front-end that is the back-end as well; and packets that are nobody's flow.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from btcp.handoff.carry import TRAIL
from btcp.handoff.context import Periods
from btcp.handoff.states import Accept, Adopt
from btcp.wire.icmp import PacketTooBig
from btcp.wire.segment import ACK, FIN, PSH, RST, SYN, flow_key, reversed_key
from tests.simulation.cluster import ORIGIN, PORT
from tests.simulation.script import ADDRESSES, CLIENTS, Script, Tcp
from tests.unit.test_wire_icmp import CLIENT as ICMP_CLIENT
from tests.unit.test_wire_icmp import FRONT as ICMP_FRONT
from tests.unit.test_wire_icmp import sent, told

OWN = ADDRESSES["a"]
IN = flow_key(CLIENTS[0], 51515, OWN[0], PORT)
OUT = reversed_key(IN)
IRS = 2**32 - 10
ISN = 777_000
REQUEST = b"GET /a/ HTTP/1.1\r\nHost: h.example\r\n\r\n"
END = (IRS + 1 + len(REQUEST)) % 2**32
SAME_PORT = {"origins": {("web", 4): (OWN[0], PORT), ("web", 6): (OWN[1], PORT)}}


class LocalCase(SynchronousTestCase):
    """
    A script whose client has sent a request for content of this very node.

    @ivar port: of the origin.
    """

    port = ORIGIN

    def settings(self) -> dict[str, Any]:
        """
        What differs from the usual.
        """
        return {}

    def setUp(self) -> None:
        self.script = Script(**self.settings())
        self.inbound = flow_key(CLIENTS[0], 51515, OWN[0], self.port)
        syn = Tcp(key=IN, seq=IRS, flags=SYN, window=64_240, options=b"\2\4\5\xb4")
        (syn_ack,) = self.script.take(syn)
        self.iss = syn_ack.seq
        self.client = Tcp(key=IN, seq=IRS + 1, ack=self.iss + 1, flags=ACK, window=500)
        self.script.take(self.client)
        self.script.take(self.client.but(flags=ACK | PSH, payload=REQUEST))
        self.syn = self.script.delivered
        self.client = self.client.but(seq=END)
        self.inner = Tcp(key=self.inbound, seq=END, ack=ISN + 1, flags=ACK, window=500)
        """What the local TCP gets."""
        self.server = Tcp(
            key=reversed_key(self.inbound), seq=ISN + 1, ack=END, flags=ACK, window=502
        )
        self.response = Tcp(key=OUT, seq=(self.iss + 1) % 2**32, ack=END, flags=ACK, window=502)

    def adopt(self) -> None:
        """
        To the splice.
        """
        syn_ack = Tcp(
            key=reversed_key(self.inbound),
            seq=ISN,
            ack=(IRS + 1) % 2**32,
            flags=SYN | ACK,
            window=65_535,
        )
        self.assertEqual(self.script.take(syn_ack), [])
        self.assertEqual(self.script.delivered[-1].payload, REQUEST)
        self.assertEqual(self.script.take(self.server), [self.response])

    def states(self) -> tuple[Accept, Adopt]:
        """
        Of both halves.
        """
        (front,) = self.script.core.acceptor.flows.by_key.values()
        (back,) = self.script.core.adopter.flows.outbound.values()
        return front.state, back.state


class LocalTests(LocalCase):
    """
    Claims 21, 34: the same replay, into the front-end's own TCP; with translation in
    both directions.
    """

    def test_replayed(self) -> None:
        (syn,) = self.syn
        self.assertEqual((syn.key, syn.seq, syn.flags), (self.inbound, IRS, SYN))
        self.assertEqual(self.script.said, [])

    def test_translated_in_both_directions(self) -> None:
        self.adopt()
        self.assertEqual(self.states(), (Accept.FORWARDING, Adopt.SPLICED))
        sent = self.script.take(self.server.but(seq=ISN + 501, payload=b"data"))
        seq = (self.iss + 501) % 2**32
        self.assertEqual(sent, [self.response.but(seq=seq, payload=b"data")])
        self.assertEqual(self.script.take(self.client.but(ack=self.iss + 505)), [])
        self.assertEqual(self.script.delivered, [self.inner.but(ack=ISN + 505)])

    def test_data_during_the_handoff(self) -> None:
        """
        Is flushed in order to the local TCP.
        """
        for n in range(3):
            piece = self.client.but(seq=END + n, payload=b"%d" % n)
            self.assertEqual(self.script.take(piece), [])
            self.assertEqual(self.script.delivered, [])
        self.adopt()
        self.assertEqual([each.payload for each in self.script.delivered], [b"0", b"1", b"2"])

    def test_closed(self) -> None:
        """
        Both halves forget, and nothing is said to anybody.
        """
        self.adopt()
        self.script.take(self.client.but(flags=FIN | ACK))
        self.assertEqual(self.script.delivered, [self.inner.but(flags=FIN | ACK)])
        self.assertEqual(self.states(), (Accept.FORWARDING, Adopt.CLOSING))
        self.script.take(self.server.but(flags=FIN | ACK, ack=END + 1))
        self.script.take(self.client.but(seq=END + 1, ack=self.iss + 2))
        self.assertEqual(self.states(), (Accept.CLOSED, Adopt.CLOSED))
        self.assertEqual(self.script.said, [])
        self.script.wait(Periods().linger + TRAIL)
        self.assertTrue(self.script.empty)

    def test_server_closes_at_once(self) -> None:
        """
        With the acknowledgment of the request already.
        """
        syn_ack = self.server.but(seq=ISN, ack=(IRS + 1) % 2**32, flags=SYN | ACK)
        self.script.take(syn_ack)
        sent = self.script.take(self.server.but(flags=FIN | ACK))
        self.assertEqual(sent, [self.response.but(flags=FIN | ACK)])
        self.script.take(self.client.but(flags=FIN | ACK, ack=self.iss + 2))
        self.assertEqual(self.script.delivered, [self.inner.but(flags=FIN | ACK, ack=ISN + 2)])
        self.script.take(self.server.but(seq=ISN + 2, ack=END + 1))
        self.assertEqual(self.states(), (Accept.CLOSED, Adopt.CLOSED))
        self.script.wait(Periods().linger + TRAIL)
        self.assertTrue(self.script.empty)

    def test_reset_by_client(self) -> None:
        self.adopt()
        self.script.take(self.client.but(flags=RST, ack=0))
        self.assertEqual(self.script.delivered, [self.inner.but(flags=RST, ack=0)])
        self.assertTrue(self.script.empty)

    def test_reset_by_server(self) -> None:
        self.adopt()
        (reset,) = self.script.take(self.server.but(flags=RST, ack=0))
        self.assertEqual(reset, self.response.but(flags=RST, ack=0))
        self.assertTrue(self.script.empty)

    def test_reset_in_replay_never_leaves(self) -> None:
        """
        The client gets an answer instead.
        """
        (answer,) = self.script.take(self.server.but(seq=0, flags=RST | ACK))
        self.assertTrue(answer.payload.startswith(b"HTTP/1.1 503 "))
        self.assertEqual(answer.flags & RST, 0)

    def test_client_resets_during_the_handoff(self) -> None:
        self.script.take(self.client.but(flags=RST, ack=0))
        self.assertEqual({each.flags for each in self.script.delivered}, {RST})
        self.assertTrue(self.script.empty)

    def test_silence(self) -> None:
        (answer, *_) = self.script.wait(1)
        self.assertTrue(answer.payload.startswith(b"HTTP/1.1 503 "))
        self.assertEqual(self.script.counted("adopt.refused.accept-queue-full"), 1)

    def test_idle(self) -> None:
        self.adopt()
        sent = self.script.wait(Periods().established + 1)
        self.assertIn(self.response.but(flags=RST, ack=0, window=0), sent)
        self.assertIn(self.inner.but(flags=RST, ack=0, window=0), self.script.delivered)
        self.assertTrue(self.script.empty)

    def test_port_again(self) -> None:
        """
        A new connection while both halves still remember the old one.
        """
        self.test_closed()
        self.setUp()
        self.adopt()
        self.script.take(self.client.but(flags=FIN | ACK))
        self.script.take(self.server.but(flags=FIN | ACK, ack=END + 1))
        self.script.take(self.client.but(seq=END + 1, ack=self.iss + 2))
        syn = Tcp(key=IN, seq=IRS + 100_000, flags=SYN, window=64_240)
        (syn_ack,) = self.script.take(syn)
        self.assertEqual((syn_ack.flags, syn_ack.ack), (SYN | ACK, (IRS + 100_001) % 2**32))

    def test_this_node_stops(self) -> None:
        self.adopt()
        sent = self.script.do(self.script.core.stop(self.script.now))
        self.assertIn(self.response.but(flags=RST, ack=0, window=0), sent)
        self.assertIn(self.inner.but(flags=RST, ack=0, window=0), self.script.delivered)
        self.assertTrue(self.script.empty)


class LocalAtTheListenersPortTests(LocalTests):
    """
    The origin has the listener's port: packets before and behind us look alike.
    """

    port = PORT

    def settings(self) -> dict[str, Any]:
        """
        See L{LocalTests.settings}.
        """
        return SAME_PORT


class NobodysTests(SynchronousTestCase):
    """
    Packets that belong to no flow.
    """

    def setUp(self) -> None:
        self.script = Script()

    def test_straight_to_the_origin(self) -> None:
        """
        Somebody may use it without us.
        """
        packet = Tcp(key=flow_key(CLIENTS[0], 7, OWN[0], ORIGIN), seq=1, flags=SYN)
        self.assertEqual(self.script.take(packet), [])
        self.assertEqual(self.script.delivered, [packet])
        answer = Tcp(key=reversed_key(packet.key), seq=1, ack=2, flags=SYN | ACK)
        self.assertEqual(self.script.take(answer), [answer])
        self.assertTrue(self.script.empty)

    def test_kernel_speaks_for_a_listener(self) -> None:
        """
        It never does: of those connections it knows nothing.
        """
        packet = Tcp(key=OUT, seq=1, flags=RST)
        self.assertEqual(self.script.take(packet), [])
        self.assertEqual(self.script.counted("dropped.guarded"), 1)

    def test_elsewhere(self) -> None:
        packet = Tcp(key=flow_key(CLIENTS[0], 7, CLIENTS[0], 8), seq=1)
        self.assertEqual(self.script.take(packet), [])
        self.assertEqual(self.script.counted("dropped.stray"), 1)

    def test_octets_that_are_no_packet(self) -> None:
        for octets, counter in (
            (b"", "truncated"),
            (b"E", "truncated"),
            (bytes(60), "bad-ip-header"),
            (bytes((0x45, *[0] * 8, 17, *[0] * 30)), "not-too-big"),
        ):
            before = self.script.counted(f"dropped.{counter}")
            self.assertEqual(self.script.receive(octets), [])
            self.assertEqual(self.script.counted(f"dropped.{counter}"), before + 1)


class TooBigTests(LocalCase):
    """
    ICMP "too big", about a packet of a flow of our own, and about others.
    """

    def test_local(self) -> None:
        """
        The local TCP hears of the packet that it sent.
        """
        self.adopt()
        quoted = bytes(sent(ICMP_FRONT, ICMP_CLIENT, 80, (self.iss + 501) % 2**32))
        self.script.receive(told(quoted))
        ((local, packet),) = self.script.passed
        self.assertTrue(local)
        inner = bytes(sent(ICMP_FRONT, ICMP_CLIENT, ORIGIN, ISN + 501))
        self.assertEqual(packet[28:56], inner[:28])
        self.assertEqual(PacketTooBig(packet).client_key, self.inbound)

    def test_unknown_flow(self) -> None:
        """
        The host may know it.
        """
        message = told(bytes(sent(ICMP_FRONT, ICMP_CLIENT, 999)))
        self.script.receive(message)
        self.assertEqual(self.script.passed, [(True, message)])

    def test_not_spliced(self) -> None:
        message = told(bytes(sent(ICMP_FRONT, ICMP_CLIENT)))
        self.script.receive(message)
        self.assertEqual(self.script.passed, [(True, message)])
