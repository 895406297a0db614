# SPDX-License-Identifier: MIT
"""
What every datapath does that moves packets by itself: the same tests for the one of a
host and for the one that stands for it in tests.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from attrs import define, field
from twisted.trial.unittest import SynchronousTestCase

from btcp.datapath.interface import Datapath
from btcp.handoff.actions import Action, Deliver, Install, PassPacket, Remove, Transmit
from btcp.handoff.messages import UNMEASURED
from btcp.handoff.route import ENDING, EVERYTHING, Reported, Route
from btcp.handoff.splice import Rewriter, Splice
from btcp.wire.build import compose
from btcp.wire.icmp import PacketTooBig
from btcp.wire.segment import ACK, FIN, Segment, flow_key, reversed_key
from tests.simulation.script import ADDRESSES, CLIENTS, Tcp
from tests.unit.test_wire_icmp import CLIENT, FRONT, sent, told

IN = flow_key(CLIENTS[0], 51515, ADDRESSES["a"][0], 80)
TO_B = flow_key(CLIENTS[0], 51515, ADDRESSES["b"][0], 8080)
FROM_ORIGIN = flow_key(ADDRESSES["a"][0], 8080, CLIENTS[0], 51515)
TO_CLIENT = reversed_key(IN)

PACKET = Tcp(key=IN, seq=1, ack=2, window=3, payload=b"data")
NOW = 5.0


@define
class FakeCore:
    """
    Sees, and wants done what it was told to want.

    @ivar seen: packets, or what else there was.
    """

    counters: Counter[str] = field(factory=Counter)
    seen: list[object] = field(factory=list)
    actions: list[Action] = field(factory=list)
    problem: Exception | None = None

    def receive(self, segment: Segment, now: float) -> list[Action]:
        """
        See L{btcp.datapath.interface.Core}.
        """
        if self.problem is not None:
            raise self.problem
        packet = segment.buffer[segment.ip : segment.end]
        self.seen.append((Tcp.read(bytes(packet)), now))
        return self.actions

    def bounced(self, segment: Segment, now: float) -> list[Action]:
        """
        See L{btcp.datapath.interface.Core}.
        """
        self.seen.append(("bounced", segment.key, now))
        return []

    def established(
        self, segment: Segment, beginning: bool, now: float, rtt: int = UNMEASURED
    ) -> list[Action]:
        """
        See L{btcp.datapath.interface.Core}.
        """
        self.seen.append(("established", segment.key, beginning, now))
        return []

    def reported(self, reports: Iterable[Reported], now: float) -> list[Action]:
        """
        See L{btcp.datapath.interface.Core}.
        """
        self.seen.append(("reported", list(reports), now))
        return []

    def too_big(self, message: PacketTooBig, now: float) -> list[Action]:
        """
        See L{btcp.datapath.interface.Core}.
        """
        self.seen.append(("too big", message.client_key, now))
        return []


class DatapathCase(SynchronousTestCase):
    """
    To be made whole with a datapath, and what is around it.
    """

    core: FakeCore
    datapath: Datapath

    def come(self, packet: bytes, *, partial: bool = False, gso_size: int = 0) -> None:
        """
        A packet is intercepted.
        """
        raise NotImplementedError

    def transmitted(self) -> list[bytes]:
        """
        @return: what went to the network since the last time.
        """
        raise NotImplementedError

    def delivered(self) -> list[bytes]:
        """
        @return: what the local TCP got since the last time.
        """
        raise NotImplementedError

    def perform(self, actions: list[Action]) -> None:
        """
        See L{btcp.datapath.interface.Shell}.
        """
        for action in actions:
            assert isinstance(action, Transmit | Deliver | PassPacket | Install | Remove)
            self.datapath.perform(action)

    def install(self, old: bytes, new: bytes, *, local: bool) -> Route:
        """
        A route that adds 100 to the sequence number.
        """
        rewriter = Rewriter(Splice(old=old, new=new, seq=100))
        route = Route(old, rewriter, local=local, punt=ENDING, now=0.0)
        self.datapath.perform(Install(route))
        return route


class DatapathContract(DatapathCase):
    """
    The tests.
    """

    def reads(self, transmitted: list[Tcp], delivered: list[Tcp]) -> None:
        """
        So much went where, and no more.
        """
        self.assertEqual([Tcp.read(each) for each in self.transmitted()], transmitted)
        self.assertEqual([Tcp.read(each) for each in self.delivered()], delivered)

    def test_to_the_core(self) -> None:
        self.come(PACKET.pack())
        self.assertEqual(self.core.seen, [(PACKET, NOW)])
        self.reads([], [])

    def test_made_packets(self) -> None:
        self.core.actions = [
            Transmit(compose(TO_CLIENT, 1, 2, ACK, 3)),
            Deliver(compose(IN, 4, 5, ACK, 6)),
        ]
        self.come(PACKET.pack())
        self.reads(
            [Tcp(key=TO_CLIENT, seq=1, ack=2, window=3)], [Tcp(key=IN, seq=4, ack=5, window=6)]
        )

    def test_kept_packets_with_a_partial_checksum(self) -> None:
        """
        Have left their frame, and what it said of the checksum.
        """
        for action in (Deliver, Transmit):
            segment = compose(IN, 4, 5, ACK, 6, payload=b"x")
            segment.partial = True
            segment.buffer[36:38] = b"\0\0"
            self.datapath.perform(action(segment))
        expected = Tcp(key=IN, seq=4, ack=5, window=6, payload=b"x")
        self.reads([expected], [expected])

    def test_route_to_the_network(self) -> None:
        route = self.install(IN, TO_B, local=False)
        self.come(PACKET.pack())
        self.reads([PACKET.but(key=TO_B, seq=101)], [])
        self.assertEqual((route.packets, route.octets, route.used), (1, 4, NOW))
        self.assertEqual(self.core.seen, [])

    def test_route_to_the_local_tcp(self) -> None:
        self.install(IN, FROM_ORIGIN, local=True)
        self.come(PACKET.pack())
        self.reads([], [PACKET.but(key=FROM_ORIGIN, seq=101)])

    def test_route_that_rewrites_nothing(self) -> None:
        self.datapath.perform(Install(Route(IN, None, local=True, punt=ENDING, now=0.0)))
        self.come(PACKET.pack())
        self.reads([], [PACKET])

    def test_flags_that_the_core_wants_to_see(self) -> None:
        self.install(IN, TO_B, local=False)
        fin = PACKET.but(flags=FIN | ACK)
        self.come(fin.pack())
        self.assertEqual(self.core.seen, [(fin, NOW)])
        self.reads([], [])

    def test_route_that_changed(self) -> None:
        route = self.install(IN, TO_B, local=False)
        route.punt = EVERYTHING
        self.datapath.perform(Install(route))
        self.come(PACKET.pack())
        self.assertEqual(self.core.seen, [(PACKET, NOW)])

    def test_removed(self) -> None:
        """
        Twice does no harm.
        """
        self.install(IN, TO_B, local=False)
        for _ in range(2):
            self.datapath.perform(Remove(IN))
        self.come(PACKET.pack())
        self.assertEqual(self.core.seen, [(PACKET, NOW)])

    def test_super_packet(self) -> None:
        """
        Not the local TCP's own frame: it is cut here.
        """
        self.install(IN, TO_B, local=False)
        self.come(PACKET.but(payload=bytes(3000)).pack(), partial=True, gso_size=1448)
        sent = [Tcp.read(each) for each in self.transmitted()]
        self.assertEqual([len(each.payload) for each in sent], [1448, 1448, 104])
        self.assertTrue(all(each.intact for each in sent))

    def test_options_that_cannot_be_walked(self) -> None:
        rewriter = Rewriter(Splice(old=IN, new=TO_B, ack=1))
        route = Route(IN, rewriter, local=False, punt=ENDING, now=0.0)
        self.datapath.perform(Install(route))
        self.come(PACKET.but(options=b"\5\0\0\0").pack())
        self.assertEqual(self.core.counters["dropped.bad-tcp-options"], 1)
        self.reads([], [])

    def test_what_is_no_packet(self) -> None:
        self.come(PACKET.pack()[:30])
        self.assertEqual(self.core.counters, Counter({"dropped.truncated": 1}))
        self.assertEqual(self.core.seen, [])

    def test_too_big(self) -> None:
        self.come(told(bytes(sent(FRONT, CLIENT))))
        self.assertEqual(self.core.seen, [("too big", IN, NOW)])

    def test_too_big_for_another_protocol(self) -> None:
        """
        It is the host's.
        """
        quoted = bytearray(bytes(sent(FRONT, CLIENT)))
        quoted[9] = 17
        message = told(bytes(quoted))
        self.come(message)
        self.assertEqual((self.transmitted(), self.delivered()), ([], [message]))
        self.assertEqual(self.core.seen, [])
        self.assertEqual(self.core.counters, Counter({"icmp.passed-up": 1}))

    def test_other_packets(self) -> None:
        message = told(bytes(sent(FRONT, CLIENT)))
        self.datapath.perform(PassPacket(message, local=True))
        self.assertEqual((self.transmitted(), self.delivered()), ([], [message]))
        self.datapath.perform(PassPacket(message, local=False))
        self.assertEqual((self.transmitted(), self.delivered()), ([message], []))
