# SPDX-License-Identifier: MIT
"""
The back-end's half until the splice: REPLAYING, REQUEST-DELIVERED, ADMITTING.
"""

from __future__ import annotations

from attrs import evolve

from btcp.handoff.context import Periods
from btcp.handoff.messages import UNMEASURED, Adopted, Endpoint, Reason, Refused
from btcp.handoff.states import Adopt
from btcp.wire.options import SynOptions, pack_timestamps
from btcp.wire.segment import ACK, FIN, PSH, RST, SYN, Segment, flow_key, reversed_key
from tests.simulation.cluster import ORIGIN, PORT
from tests.simulation.script import ADDRESSES, CLIENTS, Tcp
from tests.unit import back_case as case
from tests.unit.back_case import (
    CLIENT,
    END,
    FULL,
    INBOUND,
    IRS,
    ISN,
    ISS,
    ORDER,
    OUTBOUND,
    REQUEST,
    RESPONSE,
    RST_OF_CLIENT,
    SERVER,
    SYN_ACK,
    SYN_OF_CLIENT,
    TO_CLIENT,
)


class HandoffTests(case.BackCase):
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

    def test_client_that_is_far_away(self) -> None:
        """
        The local TCP gets its SYN twice and no echo in the ACK, so that it takes no sample of the
        replay's time; its second SYN/ACK has no effect.
        """
        for rtt in (1, 300, UNMEASURED):
            self.begin()
            self.order(evolve(FULL, rtt=rtt))
            syn, again = self.script.delivered
            self.assertEqual(syn, again)
            options = SynOptions(mss=1460, scale=7, sack=True, tsval=70, tsecr=2**32 - 5).pack()
            syn_ack = SYN_ACK.but(options=options)
            self.script.take(syn_ack)
            ack, request = self.script.delivered
            self.assertEqual(ack.options, pack_timestamps(2**32 - 5, 0))
            self.assertEqual(request.options, pack_timestamps(2**32 - 5, 70))
            self.script.take(syn_ack)
            self.assertEqual(self.script.delivered, [])
            self.script.take(syn_ack)
            self.assertEqual(len(self.script.delivered), 2)

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
        self.assertEqual(self.script.said, [("c", Refused(id=9, reason=Reason.TUPLE_IN_USE))])
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
        self.assertEqual(self.script.said, [("b", Refused(id=5, reason=Reason.TUPLE_IN_USE))])

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


class ReplayingTests(case.BackCase):
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


class RequestDeliveredTests(case.BackCase):
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
        adopted = Adopted(id=5, isn=ISN, ts_delta=0, address=ADDRESSES["a"][0], port=ORIGIN)
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


class AdmittingTests(case.BackCase):
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

    def test_round_trip_time(self) -> None:
        """
        The kernel takes what the request's echo is behind the front-end's TSval for the first
        sample.
        """
        self.begin(admits=True)
        self.order(evolve(FULL, front_tsval=20, rtt=70))
        (request,) = self.script.delivered
        self.assertEqual(request.options, pack_timestamps(2**32 - 5, 2**32 - 50))

    def bounce(self) -> None:
        """
        The request comes back.
        """
        segment = self.script.delivered[0]
        packet = bytearray(segment.pack())
        actions = self.script.core.bounced(Segment(packet, 0, len(packet)), self.script.now)
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
