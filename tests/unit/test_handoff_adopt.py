# SPDX-License-Identifier: MIT
"""
The back-end's half, by the state that the connection is in.
"""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from btcp.handoff.context import Periods
from btcp.handoff.messages import Adopted, Endpoint, Handoff, Reason, Refused, Terminate
from btcp.handoff.states import Adopt
from btcp.wire.options import SynOptions, pack_timestamps
from btcp.wire.segment import ACK, FIN, PSH, RST, SYN, Segment, flow_key, reversed_key
from tests.simulation.cluster import CAPABILITIES, ORIGIN, PORT
from tests.simulation.script import ADDRESSES, CLIENTS, Script, Tcp

INBOUND = flow_key(CLIENTS[0], 51515, ADDRESSES["a"][0], ORIGIN)
OUTBOUND = reversed_key(INBOUND)
TO_CLIENT = flow_key(ADDRESSES["b"][0], PORT, CLIENTS[0], 51515)

IRS = 2**32 - 10
ISS = 2**32 - 100
"""Of the front-end."""
ISN = 777_000
"""Of the local TCP."""
REQUEST = b"GET /a/ HTTP/1.1\r\nHost: h.example\r\n\r\n"
END = (IRS + 1 + len(REQUEST)) % 2**32

ORDER = Handoff(
    id=5,
    listener="web",
    client=Endpoint(CLIENTS[0], 51515),
    front=Endpoint(ADDRESSES["b"][0], PORT),
    irs=IRS,
    iss=ISS,
    window=64_240,
    mss=1460,
    client_scale=-1,
    front_scale=-1,
    sack=False,
    tsval=-1,
    front_tsval=-1,
    acked=0,
    request=REQUEST,
)
"""The template of a handoff: no options but an MSS."""

FULL = evolve(
    ORDER, client_scale=2, front_scale=7, sack=True, tsval=2**32 - 5, front_tsval=2**32 - 50
)
"""With all options."""

SYN_OF_CLIENT = Tcp(key=INBOUND, seq=IRS, flags=SYN, window=64_240, options=b"\2\4\5\xb4")
SYN_ACK = Tcp(
    key=OUTBOUND,
    seq=ISN,
    ack=(IRS + 1) % 2**32,
    flags=SYN | ACK,
    window=65_535,
    options=b"\2\4\5\xb4",
)
SERVER = Tcp(key=OUTBOUND, seq=ISN + 1, ack=END, flags=ACK, window=502)
"""What the local TCP sends: the template."""
RESPONSE = Tcp(key=TO_CLIENT, seq=(ISS + 1) % 2**32, ack=END, flags=ACK, window=502)
"""What the client gets from us: the template."""
CLIENT = Tcp(key=INBOUND, seq=END, ack=ISN + 1, flags=ACK, window=500)
"""What the front-end forwards: the template."""
RST_OF_CLIENT = Tcp(key=INBOUND, seq=END, flags=RST)


class BackCase(SynchronousTestCase):
    """
    A script, and the templates above.
    """

    def setUp(self) -> None:
        self.begin()

    def begin(self, **changes: Any) -> None:
        """
        Start a node; C{changes} are of its settings.
        """
        self.script = Script(**changes)

    def order(self, order: Handoff = ORDER) -> None:
        """
        To REPLAYING.
        """
        self.assertEqual(self.script.hear("b", order), [])

    def deliver(self, order: Handoff = ORDER) -> None:
        """
        To REQUEST-DELIVERED.
        """
        self.order(order)
        self.assertEqual(self.script.take(SYN_ACK), [])

    def splice(self) -> None:
        """
        To SPLICED.
        """
        self.deliver()
        self.assertEqual(self.script.take(SERVER), [RESPONSE])

    def state(self) -> Adopt:
        """
        Of the only flow.
        """
        (flow,) = self.script.core.adopter.flows.outbound.values()
        return flow.state

    def refused(self, reason: Reason, order: Handoff = ORDER) -> None:
        """
        In the last step we refused, and nothing remains.
        """
        self.assertEqual(self.script.said, [("b", Refused(id=order.id, reason=reason))])
        self.assertEqual(self.script.sent, [])
        self.assertTrue(self.script.empty)

    def reported(self, reason: Reason, client_next: int, server_next: int) -> None:
        """
        In the last step we said that it is over.
        """
        message = Terminate(
            front="b",
            id=5,
            reason=reason,
            client_next=client_next % 2**32,
            server_next=server_next % 2**32,
        )
        self.assertEqual(self.script.said, [("b", message)])

    def give_up(self, reason: Reason = Reason.ABANDONED) -> list[Tcp]:
        """
        The front-end gives the flow up.
        """
        message = Terminate(front="b", id=5, reason=reason, client_next=0, server_next=0)
        return self.script.hear("b", message)


class HandoffTests(BackCase):
    """
    A front-end asks.
    """

    def test_syn_is_replayed(self) -> None:
        """
        Claim 16: the client's own, but for the destination.
        """
        self.order()
        self.assertEqual(self.script.delivered, [SYN_OF_CLIENT])
        self.assertIs(self.state(), Adopt.REPLAYING)

    def test_syn_offers_what_was_agreed(self) -> None:
        self.order(FULL)
        options = SynOptions(mss=1460, scale=2, sack=True, tsval=2**32 - 5).pack()
        self.assertEqual(self.script.delivered, [SYN_OF_CLIENT.but(options=options)])

    def test_no_such_listener(self) -> None:
        self.order(evolve(ORDER, listener="other"))
        self.refused(Reason.NO_LISTENER)

    def test_again(self) -> None:
        """
        Nothing is done twice.
        """
        self.order()
        self.order()
        self.assertEqual((self.script.delivered, self.script.said), ([], []))
        self.script.take(SYN_ACK)
        self.order()
        self.assertEqual((self.script.delivered, self.script.said), ([], []))
        self.script.take(SERVER)
        answer = self.script.said
        self.order()
        self.assertEqual(self.script.said, answer)
        self.assertEqual(self.script.delivered, [])

    def test_tuple_in_use(self) -> None:
        """
        The same client's port, by way of another front-end's address: at the origin
        it would be the same connection.
        """
        self.order()
        other = evolve(ORDER, id=9, front=Endpoint(ADDRESSES["c"][0], PORT))
        self.script.hear("c", other)
        self.assertEqual(
            self.script.said, [("c", Refused(id=9, reason=Reason.TUPLE_IN_USE))]
        )
        self.assertEqual(len(self.script.core.adopter.flows), 1)

    def test_tuple_in_use_by_a_client_of_our_own(self) -> None:
        """
        Who connected to this node itself, where the origin has the listener's port.
        """
        own = ADDRESSES["a"]
        self.begin(origins={("web", 4): (own[0], PORT), ("web", 6): (own[1], PORT)})
        key = flow_key(CLIENTS[0], 51515, own[0], PORT)
        self.script.take(SYN_OF_CLIENT.but(key=key))
        self.order()
        self.assertEqual(
            self.script.said, [("b", Refused(id=5, reason=Reason.TUPLE_IN_USE))]
        )

    def test_full_table(self) -> None:
        self.begin(max_flows=1)
        self.order()
        self.script.hear("b", evolve(ORDER, id=6, client=Endpoint(CLIENTS[0], 7)))
        self.assertEqual(self.script.said, [("b", Refused(id=6, reason=Reason.OVERLOAD))])

    def test_ipv6(self) -> None:
        order = evolve(
            ORDER, client=Endpoint(CLIENTS[1], 7), front=Endpoint(ADDRESSES["b"][1], PORT)
        )
        self.order(order)
        (syn,) = self.script.delivered
        self.assertEqual(syn.key, flow_key(CLIENTS[1], 7, ADDRESSES["a"][1], ORIGIN))


class ReplayingTests(BackCase):
    """
    The local TCP has a SYN.
    """

    def setUp(self) -> None:
        super().setUp()
        self.order()

    def test_syn_ack(self) -> None:
        """
        Claim 16: the ACK with its ISN, then the request.
        """
        self.assertEqual(self.script.take(SYN_ACK), [])
        ack = CLIENT.but(seq=(IRS + 1) % 2**32, window=64_240)
        request = ack.but(flags=ACK | PSH, payload=REQUEST)
        self.assertEqual(self.script.delivered, [ack, request])
        self.assertIs(self.state(), Adopt.REQUEST_DELIVERED)

    def test_request_in_segments_that_fit(self) -> None:
        self.begin()
        long = REQUEST[:-4] + b"\r\nX: " + b"x" * 4000 + b"\r\n\r\n"
        self.order(evolve(FULL, request=long))
        stamped = SynOptions(mss=1000, scale=7, sack=True, tsval=70, tsecr=0).pack()
        self.script.take(SYN_ACK.but(options=stamped))
        ack, *pieces = self.script.delivered
        self.assertEqual(b"".join(piece.payload for piece in pieces), long)
        self.assertTrue(all(len(piece.payload) <= 1000 - 12 for piece in pieces))
        self.assertEqual([piece.flags for piece in pieces[:-1]], [ACK] * (len(pieces) - 1))
        self.assertEqual(pieces[-1].flags, ACK | PSH)
        for each in (ack, *pieces):
            self.assertEqual(each.options, pack_timestamps(2**32 - 5, 70))
            self.assertEqual(each.window, 64_240 >> 2)

    def test_mss_of_next_to_nothing(self) -> None:
        """
        Whatever it says, octets are sent.
        """
        for mss in (0, 1, 12):
            self.begin()
            self.order(FULL)
            options = SynOptions(mss=mss, scale=7, sack=True, tsval=70).pack()
            self.script.take(SYN_ACK.but(options=options))
            whole = b"".join(piece.payload for piece in self.script.delivered)
            self.assertEqual(whole, REQUEST)

    def test_no_listener(self) -> None:
        """
        The local TCP resets, which the client never sees.
        """
        self.script.take(Tcp(key=OUTBOUND, ack=(IRS + 1) % 2**32, flags=RST | ACK))
        self.refused(Reason.NO_LISTENER)
        self.assertEqual(self.script.delivered, [])

    def test_silence(self) -> None:
        """
        The SYN is repeated, and then we refuse; before the front-end gives us up.
        """
        self.script.wait(0.75)
        self.assertGreaterEqual(len(self.script.delivered), 1)
        self.assertEqual(set(self.script.delivered), {SYN_OF_CLIENT})
        self.script.wait(Periods().handoff * 0.1)
        self.refused(Reason.ACCEPT_QUEUE_FULL)
        reset = RST_OF_CLIENT.but(seq=(IRS + 1) % 2**32)
        self.assertEqual(self.script.delivered, [reset])

    def test_older_connection(self) -> None:
        """
        The local TCP acknowledges something else: reset that, and again.
        """
        for answer in (
            Tcp(key=OUTBOUND, seq=5, ack=123, flags=ACK),
            SYN_ACK.but(ack=123),
        ):
            self.assertEqual(self.script.take(answer), [])
            reset = Tcp(key=INBOUND, seq=123, flags=RST)
            self.assertEqual(self.script.delivered, [reset, SYN_OF_CLIENT])
        self.script.take(SYN_ACK)
        self.assertIs(self.state(), Adopt.REQUEST_DELIVERED)

    def test_older_connection_that_stays(self) -> None:
        """
        Not for ever.
        """
        stale = Tcp(key=OUTBOUND, seq=5, ack=123, flags=ACK)
        delivered = 0
        for _ in range(20):
            self.script.take(stale)
            delivered += len(self.script.delivered)
        self.assertLess(delivered, 20)

    def test_options_not_kept(self) -> None:
        """
        One by one: what the front-end promised, and the local TCP does not answer.
        """
        full = SynOptions(mss=1460, scale=7, sack=True, tsval=70)
        for poor in (
            evolve(full, scale=-1),
            evolve(full, sack=False),
            evolve(full, tsval=-1),
        ):
            self.begin()
            self.order(FULL)
            self.script.take(SYN_ACK.but(options=poor.pack()))
            self.refused(Reason.OPTIONS)
            (reset,) = self.script.delivered
            self.assertEqual((reset.seq, reset.flags), ((IRS + 1) % 2**32, RST))

    def test_syn_ack_that_cannot_be_read(self) -> None:
        """
        Is as good as none.
        """
        self.script.take(SYN_ACK.but(options=b"\2\0\0\0"))
        self.assertEqual(self.script.counted("dropped.bad-tcp-options"), 1)
        self.script.wait(1)
        self.assertTrue(self.script.empty)

    def test_packets_of_the_client(self) -> None:
        """
        Nobody forwards any yet; whoever sends them.
        """
        for flags in (ACK, RST, FIN | ACK, SYN):
            self.script.take(CLIENT.but(flags=flags))
            self.assertEqual(self.script.delivered, [])
        self.assertIs(self.state(), Adopt.REPLAYING)
        self.script.wait(0.85)
        self.refused(Reason.ACCEPT_QUEUE_FULL)

    def test_given_up(self) -> None:
        """
        The local TCP is told, and so is the front-end, which has asked.
        """
        self.give_up()
        resets = [RST_OF_CLIENT.but(seq=seq) for seq in ((IRS + 1) % 2**32, END)]
        self.assertEqual(self.script.delivered, resets)
        self.refused(Reason.ABANDONED)

    def test_front_end_lost(self) -> None:
        for do in ("peer_lost", "peer_down"):
            self.begin()
            self.order()
            self.script.do(getattr(self.script.core, do)("b", self.script.now))
            self.assertEqual(len(self.script.delivered), 2)
            self.assertTrue(self.script.empty)

    def test_this_node_stops(self) -> None:
        self.script.do(self.script.core.stop(self.script.now))
        self.refused(Reason.STOPPING)


class RequestDeliveredTests(BackCase):
    """
    The local TCP has the request.
    """

    def setUp(self) -> None:
        super().setUp()
        self.deliver()

    def test_acknowledged(self) -> None:
        """
        Claims 16, 17: now it is ours, and the front-end learns our ISN.
        """
        self.assertEqual(self.script.take(SERVER), [RESPONSE])
        adopted = Adopted(
            id=5, isn=ISN, ts_delta=0, address=ADDRESSES["a"][0], port=ORIGIN
        )
        self.assertEqual(self.script.said, [("b", adopted)])
        self.assertEqual(set(self.script.datapath.routes), {INBOUND, OUTBOUND})
        self.assertIs(self.state(), Adopt.SPLICED)

    def test_acknowledged_with_the_response(self) -> None:
        sent = self.script.take(SERVER.but(flags=ACK | PSH, payload=b"HTTP/1.1 200 OK"))
        self.assertEqual(sent, [RESPONSE.but(flags=ACK | PSH, payload=b"HTTP/1.1 200 OK")])

    def test_acknowledged_in_part(self) -> None:
        """
        The client hears of it with the rest.
        """
        for ack in ((IRS + 1) % 2**32, END - 1):
            self.assertEqual(self.script.take(SERVER.but(ack=ack)), [])
            self.assertEqual(self.script.said, [])
        self.assertIs(self.state(), Adopt.REQUEST_DELIVERED)

    def test_syn_ack_again(self) -> None:
        """
        Our ACK was not taken, since the queue is full: once more, with the request.
        """
        self.script.take(SYN_ACK)
        self.assertEqual(len(self.script.delivered), 2)
        self.assertIs(self.state(), Adopt.REQUEST_DELIVERED)

    def test_silence(self) -> None:
        self.script.wait(0.75)
        payloads = {each.payload for each in self.script.delivered}
        self.assertEqual(payloads, {b"", REQUEST})
        self.script.wait(0.1)
        self.refused(Reason.ACCEPT_QUEUE_FULL)

    def test_reset(self) -> None:
        """
        It never leaves this host.
        """
        self.script.take(SERVER.but(flags=RST, ack=0))
        self.refused(Reason.RESET_BY_ORIGIN)

    def test_timestamps_go_on(self) -> None:
        """
        From the largest that the client has seen of the front-end.
        """
        self.begin()
        self.order(FULL)
        options = SynOptions(mss=1460, scale=7, sack=True, tsval=70).pack()
        self.script.take(SYN_ACK.but(options=options))
        (sent,) = self.script.take(SERVER.but(options=pack_timestamps(170, 99)))
        self.assertEqual(sent.options, pack_timestamps((2**32 - 50 + 100) % 2**32, 99))
        ((_, adopted),) = self.script.said
        assert isinstance(adopted, Adopted)
        self.assertEqual(adopted.ts_delta, (2**32 - 50 - 70) % 2**32)

    def test_window_means_what_was_promised(self) -> None:
        """
        The local TCP counts in units of its own.
        """
        for scale, window, expected in (
            (7, 502, 502),
            (9, 502, 2008),
            (2, 502, 15),
            (9, 65_000, 65_535),
        ):
            self.begin()
            self.order(FULL)
            options = SynOptions(mss=1460, scale=scale, sack=True, tsval=70).pack()
            self.script.take(SYN_ACK.but(options=options))
            (sent,) = self.script.take(SERVER.but(window=window))
            self.assertEqual(sent.window, expected)

    def test_given_up(self) -> None:
        self.give_up()
        self.assertEqual([each.flags for each in self.script.delivered], [RST, RST])
        self.refused(Reason.ABANDONED)

    def test_this_node_stops(self) -> None:
        self.script.do(self.script.core.stop(self.script.now))
        self.refused(Reason.STOPPING)


class SplicedTests(BackCase):
    """
    Answers go straight to the client.
    """

    def setUp(self) -> None:
        super().setUp()
        self.splice()

    def answer(self, count: int = 100) -> None:
        """
        The local TCP sends so many octets, of which the client's ACK comes.
        """
        self.script.take(SERVER.but(payload=bytes(count)))
        self.script.take(CLIENT.but(ack=ISN + 1 + count))

    def test_response(self) -> None:
        """
        Claim 19: from the address that the client knows, in its numbers.
        """
        sent = self.script.take(SERVER.but(seq=ISN + 1 + 500, payload=b"x" * 99))
        expected = RESPONSE.but(seq=(ISS + 1 + 500) % 2**32, payload=b"x" * 99)
        self.assertEqual(sent, [expected])
        self.assertEqual((self.script.delivered, self.script.said), ([], []))

    def test_client(self) -> None:
        """
        What the front-end has rewritten is the local TCP's as it is.
        """
        packet = CLIENT.but(ack=ISN + 501, payload=b"more")
        self.assertEqual(self.script.take(packet), [])
        self.assertEqual(self.script.delivered, [packet])

    def test_reset_of_the_server(self) -> None:
        """
        The client gets it, the front-end hears of it.
        """
        self.answer()
        reset = SERVER.but(seq=ISN + 101, ack=0, flags=RST)
        sent = self.script.take(reset)
        expected = RESPONSE.but(seq=(ISS + 101) % 2**32, ack=0, flags=RST)
        self.assertEqual(sent, [expected])
        self.reported(Reason.RESET_BY_ORIGIN, END, ISS + 101)
        self.assertTrue(self.script.empty)

    def test_reset_of_the_client(self) -> None:
        self.answer()
        self.assertEqual(self.script.take(RST_OF_CLIENT), [])
        self.assertEqual(self.script.delivered, [RST_OF_CLIENT])
        self.reported(Reason.RESET_BY_CLIENT, END, ISS + 101)
        self.assertTrue(self.script.empty)

    def test_reset_with_a_wrong_checksum(self) -> None:
        """
        The local TCP will not believe it either.
        """
        self.script.take(RST_OF_CLIENT.but(intact=False))
        self.assertIs(self.state(), Adopt.SPLICED)
        self.assertEqual(self.script.said, [])

    def test_doubtful_reset_of_the_client(self) -> None:
        """
        The local TCP judges; if nothing more is heard, it is asked; and if it stays
        silent, it has believed it.
        """
        doubtful = RST_OF_CLIENT.but(seq=END + 1)
        self.script.take(doubtful)
        self.assertEqual(self.script.delivered, [doubtful])
        self.assertIs(self.state(), Adopt.SPLICED)
        self.script.wait(1.5)
        probe = CLIENT.but(seq=END - 1, window=0)
        self.assertEqual(self.script.delivered, [probe])
        self.script.wait(1)
        self.reported(Reason.RESET_BY_CLIENT, END, ISS + 1)
        self.assertTrue(self.script.empty)

    def test_doubtful_reset_that_was_not_believed(self) -> None:
        """
        The local TCP answers, so it lives.
        """
        self.script.take(RST_OF_CLIENT.but(seq=END + 1))
        self.script.wait(1.5)
        self.script.take(SERVER)
        self.script.wait(Periods().established - 10)
        self.assertIs(self.state(), Adopt.SPLICED)

    def test_fin_of_the_client(self) -> None:
        """
        Half-close is not the end.
        """
        fin = CLIENT.but(flags=FIN | ACK)
        self.script.take(fin)
        self.assertEqual(self.script.delivered, [fin])
        self.assertIs(self.state(), Adopt.CLOSING)
        sent = self.script.take(SERVER.but(ack=END + 1, payload=b"answer"))
        self.assertEqual(sent, [RESPONSE.but(ack=END + 1, payload=b"answer")])
        self.assertEqual(self.script.said, [])

    def test_fin_from_nowhere(self) -> None:
        """
        Passes, but is not believed: the local TCP will not take it either.
        """
        for changes in ({"seq": (END + 2**30) % 2**32}, {"seq": END - 100}):
            self.script.take(CLIENT.but(flags=FIN | ACK, **changes))
            self.assertIs(self.state(), Adopt.SPLICED)
        self.script.take(CLIENT.but(flags=FIN | ACK, intact=False))
        self.assertIs(self.state(), Adopt.SPLICED)

    def test_given_up(self) -> None:
        """
        The local TCP is reset with the number it expects, the client is not told.
        """
        self.assertEqual(self.give_up(), [])
        self.assertEqual(self.script.delivered, [RST_OF_CLIENT])
        self.assertEqual(self.script.said, [])
        self.assertTrue(self.script.empty)

    def test_given_up_twice(self) -> None:
        self.give_up()
        self.assertEqual(self.give_up(), [])
        self.assertEqual(self.script.counted("terminate.unknown"), 1)

    def test_given_up_by_who_does_not_have_it(self) -> None:
        message = Terminate(
            front="b", id=5, reason=Reason.ABANDONED, client_next=0, server_next=0
        )
        self.script.hear("c", message)
        self.assertEqual(self.script.counted("terminate.unknown"), 1)
        self.assertIs(self.state(), Adopt.SPLICED)

    def test_idle(self) -> None:
        """
        As long as either side says something, it is not.
        """
        for packet in (SERVER, CLIENT, SERVER):
            self.script.wait(Periods().established - 1)
            self.script.take(packet)
        self.script.wait(Periods().established - 1)
        self.assertIs(self.state(), Adopt.SPLICED)
        sent = self.script.wait(1)
        self.assertEqual({each.flags for each in sent}, {RST})
        self.assertIn(RESPONSE.but(ack=0, flags=RST, window=0), sent)
        self.assertEqual(self.script.delivered, [RST_OF_CLIENT])
        self.reported(Reason.IDLE, END, ISS + 1)
        self.assertTrue(self.script.empty)

    def test_front_end_lost_before_the_response(self) -> None:
        """
        It may have asked another node: we say nothing to the client.
        """
        sent = self.script.do(self.script.core.peer_lost("b", self.script.now))
        self.assertEqual(sent, [])
        self.assertEqual(self.script.delivered, [RST_OF_CLIENT])
        self.assertTrue(self.script.empty)

    def test_front_end_restarted_before_the_response(self) -> None:
        """
        It has forgotten: then nobody else tells the client.
        """
        sent = self.script.do(self.script.core.peer_lost("b", self.script.now, True))
        self.assertEqual(sent, [RESPONSE.but(ack=0, flags=RST, window=0)])

    def test_front_end_lost_after_the_response_began(self) -> None:
        """
        A reset with the number that the client expects: of what it acknowledged, or
        of all that was sent.
        """
        self.script.take(SERVER.but(payload=bytes(1000)))
        self.script.take(CLIENT.but(ack=ISN + 401))
        sent = self.script.do(self.script.core.peer_lost("b", self.script.now))
        reset = RESPONSE.but(ack=0, flags=RST, window=0)
        seqs = [(ISS + 401) % 2**32, (ISS + 1001) % 2**32]
        self.assertEqual(sent, [reset.but(seq=seq) for seq in seqs])
        self.assertEqual(self.script.delivered, [RST_OF_CLIENT])
        self.assertTrue(self.script.empty)

    def test_another_front_end_lost(self) -> None:
        self.script.do(self.script.core.peer_lost("c", self.script.now))
        self.assertIs(self.state(), Adopt.SPLICED)

    def test_this_node_stops_before_the_response(self) -> None:
        """
        The front-end asks another node.
        """
        sent = self.script.do(self.script.core.stop(self.script.now))
        self.assertEqual(sent, [])
        self.reported(Reason.STOPPING, END, ISS + 1)

    def test_this_node_stops_after_the_response_began(self) -> None:
        self.answer()
        sent = self.script.do(self.script.core.stop(self.script.now))
        reset = RESPONSE.but(seq=(ISS + 101) % 2**32, ack=0, flags=RST, window=0)
        self.assertEqual(sent, [reset])
        self.reported(Reason.STOPPING, END, ISS + 101)


class LinkDownTests(BackCase):
    """
    The link to the front-end is down for a moment.
    """

    def setUp(self) -> None:
        super().setUp()
        self.splice()

    def down(self) -> None:
        """
        The link goes down.
        """
        self.assertEqual(self.script.do(self.script.core.peer_down("b", self.script.now)), [])

    def up(self) -> list[Tcp]:
        """
        The link is there again.
        """
        return self.script.do(self.script.core.peer_up("b", CAPABILITIES, self.script.now))

    def test_a_response_not_begun_waits(self) -> None:
        """
        The local TCP sends it again, once it may.
        """
        self.down()
        response = SERVER.but(payload=b"HTTP/1.1 200 OK")
        self.assertEqual(self.script.take(response), [])
        self.assertEqual(self.up(), [])
        self.assertEqual(
            self.script.take(response), [RESPONSE.but(payload=b"HTTP/1.1 200 OK")]
        )

    def test_a_response_begun_goes_on(self) -> None:
        self.script.take(SERVER.but(payload=b"1"))
        self.down()
        sent = self.script.take(SERVER.but(seq=ISN + 2, payload=b"2"))
        self.assertEqual([each.payload for each in sent], [b"2"])

    def test_acks_of_the_local_tcp_wait_too(self) -> None:
        self.down()
        self.assertEqual(self.script.take(SERVER), [])

    def test_client_goes_on(self) -> None:
        self.down()
        self.script.take(CLIENT.but(payload=b"more"))
        self.assertEqual(len(self.script.delivered), 1)

    def test_half_close_meanwhile(self) -> None:
        """
        Does not keep the response for ever.
        """
        self.down()
        self.script.take(CLIENT.but(flags=FIN | ACK))
        self.assertEqual(self.script.take(SERVER.but(ack=END + 1, payload=b"1")), [])
        self.up()
        (sent,) = self.script.take(SERVER.but(ack=END + 1, payload=b"1"))
        self.assertEqual(sent.payload, b"1")
        self.assertIs(self.state(), Adopt.CLOSING)

    def test_server_resets_meanwhile(self) -> None:
        """
        The front-end hears that nothing came of it, and sees to the client.
        """
        self.down()
        self.assertEqual(self.script.take(SERVER.but(flags=RST, ack=0)), [])
        self.reported(Reason.LINK_LOST, END, ISS + 1)
        self.assertTrue(self.script.empty)

    def test_front_end_comes_back_and_then_goes_for_good(self) -> None:
        """
        What was kept for a front-end that forgets is forgotten if it does not.
        """
        self.down()
        self.script.do(self.script.core.peer_lost("b", self.script.now))
        self.up()
        sent = self.script.do(self.script.core.peer_lost("b", self.script.now, True))
        self.assertEqual(sent, [])


class ClosingTests(BackCase):
    """
    One FIN was seen.
    """

    def setUp(self) -> None:
        super().setUp()
        self.splice()
        self.client_fin = CLIENT.but(flags=FIN | ACK)
        self.server_fin = SERVER.but(flags=FIN | ACK)

    def over(self) -> None:
        """
        In the last step it was said to be over, with both FINs counted.
        """
        self.reported(Reason.CLOSED, END + 1, ISS + 2)
        self.assertIs(self.state(), Adopt.CLOSED)

    def test_client_first(self) -> None:
        """
        Claim 20.
        """
        self.script.take(self.client_fin)
        self.script.take(self.server_fin.but(ack=END + 1))
        self.assertEqual(self.script.said, [])
        self.script.take(CLIENT.but(seq=END + 1, ack=ISN + 2))
        self.over()

    def test_server_first(self) -> None:
        self.script.take(self.server_fin)
        self.script.take(self.client_fin.but(ack=ISN + 2))
        self.assertEqual(self.script.said, [])
        self.script.take(SERVER.but(seq=ISN + 2, ack=END + 1))
        self.over()

    def test_both_at_once(self) -> None:
        self.script.take(self.client_fin)
        self.script.take(self.server_fin)
        self.script.take(CLIENT.but(seq=END + 1, ack=ISN + 2))
        self.assertEqual(self.script.said, [])
        self.script.take(SERVER.but(seq=ISN + 2, ack=END + 1))
        self.over()

    def test_fin_again(self) -> None:
        for _ in range(3):
            self.script.take(self.client_fin)
            self.assertEqual(self.script.delivered, [self.client_fin])
        self.script.take(self.server_fin.but(ack=END + 1))
        self.script.take(CLIENT.but(seq=END + 1, ack=ISN + 2))
        self.over()

    def test_another_fin(self) -> None:
        """
        The first one is the one that counts.
        """
        self.script.take(self.client_fin)
        self.script.take(self.client_fin.but(seq=END + 100))
        self.script.take(self.server_fin.but(ack=END + 1))
        self.script.take(CLIENT.but(seq=END + 1, ack=ISN + 2))
        self.over()

    def test_ack_of_more_than_there_is(self) -> None:
        """
        Does not end it.
        """
        self.script.take(self.client_fin)
        self.script.take(self.server_fin.but(ack=END + 1))
        self.script.take(CLIENT.but(seq=END + 1, ack=ISN + 1000))
        self.assertIs(self.state(), Adopt.CLOSING)

    def test_resets(self) -> None:
        self.script.take(self.client_fin)
        self.script.take(SERVER.but(ack=END + 1))
        self.script.take(RST_OF_CLIENT.but(seq=END + 1))
        self.reported(Reason.RESET_BY_CLIENT, END + 1, ISS + 1)
        self.assertTrue(self.script.empty)

    def test_half_closed_idle(self) -> None:
        """
        Sooner than one that is whole.
        """
        self.script.take(self.client_fin)
        self.script.wait(Periods().half_closed - 1)
        self.script.take(SERVER.but(ack=END + 1))
        self.script.wait(Periods().half_closed - 1)
        self.assertIs(self.state(), Adopt.CLOSING)
        sent = self.script.wait(1)
        self.assertEqual({each.flags for each in sent}, {RST})
        self.assertEqual(self.script.delivered, [RST_OF_CLIENT.but(seq=END + 1)])
        self.reported(Reason.IDLE, END + 1, ISS + 1)

    def test_front_end_lost(self) -> None:
        self.script.take(self.client_fin)
        self.script.do(self.script.core.peer_lost("b", self.script.now))
        self.assertTrue(self.script.empty)


class ClosedTests(BackCase):
    """
    Both FINs are acknowledged; late packets have a way for a while.
    """

    def setUp(self) -> None:
        super().setUp()
        self.splice()
        self.script.take(CLIENT.but(flags=FIN | ACK))
        self.script.take(SERVER.but(flags=FIN | ACK, ack=END + 1))
        self.last = CLIENT.but(seq=END + 1, ack=ISN + 2)
        self.script.take(self.last)

    def test_late_packets(self) -> None:
        self.script.take(self.last)
        self.assertEqual(self.script.delivered, [self.last])
        sent = self.script.take(SERVER.but(flags=FIN | ACK, ack=END + 1))
        self.assertEqual(sent, [RESPONSE.but(flags=FIN | ACK, ack=END + 1)])

    def test_late_reset_of_the_local_tcp_stays_here(self) -> None:
        sent = self.script.take(SERVER.but(flags=RST, seq=ISN + 2, ack=0))
        self.assertEqual((sent, self.script.said), ([], []))

    def test_syn_is_not_for_the_old_one(self) -> None:
        self.script.take(SYN_OF_CLIENT.but(seq=IRS + 100_000))
        self.assertEqual(self.script.delivered, [])

    def test_client_again(self) -> None:
        """
        The same port: the old flow makes room.
        """
        order = evolve(ORDER, id=6, irs=IRS + 9)
        self.order(order)
        (syn,) = self.script.delivered
        self.assertEqual((syn.flags, syn.seq), (SYN, IRS + 9))
        self.assertIs(self.state(), Adopt.REPLAYING)

    def test_client_connects_to_this_node(self) -> None:
        """
        Where the origin has the listener's port, it looks like a late packet.
        """
        own = ADDRESSES["a"]
        self.begin(origins={("web", 4): (own[0], PORT), ("web", 6): (own[1], PORT)})
        to = flow_key(CLIENTS[0], 51515, own[0], PORT)
        back = reversed_key(to)
        self.order()
        self.script.take(SYN_ACK.but(key=back))
        self.script.take(SERVER.but(key=back))
        self.script.take(CLIENT.but(key=to, flags=FIN | ACK))
        self.script.take(SERVER.but(key=back, flags=FIN | ACK, ack=END + 1))
        self.script.take(self.last.but(key=to))
        self.assertIs(self.state(), Adopt.CLOSED)
        (syn_ack,) = self.script.take(SYN_OF_CLIENT.but(key=to, seq=IRS + 100_000))
        self.assertEqual((syn_ack.key, syn_ack.flags), (back, SYN | ACK))
        self.assertEqual(len(self.script.core.adopter.flows), 0)
        self.assertEqual(self.script.datapath.routes, {})

    def test_a_while_later(self) -> None:
        self.script.wait(Periods().linger)
        self.assertTrue(self.script.empty)
        self.assertEqual(self.script.said, [])

    def test_handoff_again(self) -> None:
        """
        Who asks again, hears that it is over: not nothing.
        """
        self.order()
        self.assertEqual(len(self.script.said), 1)


class AdmittingTests(BackCase):
    """
    The datapath can have the local TCP take a request without a handshake.
    """

    def setUp(self) -> None:
        self.begin(admits=True)
        self.order()

    def test_request_at_once(self) -> None:
        """
        With the front-end's own numbers.
        """
        request = CLIENT.but(
            seq=(IRS + 1) % 2**32,
            ack=(ISS + 1) % 2**32,
            window=64_240,
            flags=ACK | PSH,
            payload=REQUEST,
        )
        self.assertEqual(self.script.delivered, [request])
        self.assertIs(self.state(), Adopt.ADMITTING)
        sent = self.script.take(SERVER.but(seq=(ISS + 1) % 2**32))
        self.assertEqual(sent, [RESPONSE])
        ((_, adopted),) = self.script.said
        assert isinstance(adopted, Adopted)
        self.assertEqual((adopted.isn, adopted.ts_delta), (ISS, 0))

    def bounce(self) -> None:
        """
        The request comes back.
        """
        segment = self.script.delivered[0]
        packet = bytearray(segment.pack())
        actions = self.script.core.bounced(
            Segment(packet, 0, len(packet)), self.script.now
        )
        self.script.do(actions)

    def test_not_admitted(self) -> None:
        """
        A replay finds out why not.
        """
        self.bounce()
        self.assertEqual(self.script.delivered, [SYN_OF_CLIENT])
        self.assertIs(self.state(), Adopt.REPLAYING)
        self.script.take(SYN_ACK)
        self.assertEqual(self.script.take(SERVER), [RESPONSE])

    def test_bounced_of_no_flow(self) -> None:
        self.script.delivered = [CLIENT.but(key=reversed_key(TO_CLIENT))]
        self.bounce()
        self.assertIs(self.state(), Adopt.ADMITTING)

    def test_silence(self) -> None:
        self.script.wait(0.3)
        self.assertIs(self.state(), Adopt.REPLAYING)
        self.script.wait(0.6)
        self.refused(Reason.ACCEPT_QUEUE_FULL)

    def test_reset(self) -> None:
        self.script.take(SERVER.but(flags=RST, ack=0))
        self.refused(Reason.RESET_BY_ORIGIN)

    def test_given_up(self) -> None:
        self.give_up()
        self.refused(Reason.ABANDONED)

    def test_mss_that_no_kernel_takes(self) -> None:
        """
        Is replayed at once.
        """
        self.begin(admits=True)
        self.order(evolve(ORDER, mss=500))
        self.assertIs(self.state(), Adopt.REPLAYING)
