# SPDX-License-Identifier: MIT
"""
The back-end's half when it has the connection: SPLICED, and its link down.
"""

from __future__ import annotations

from attrs import evolve

from btcp.handoff.carry import GRAVE
from btcp.handoff.context import Periods
from btcp.handoff.messages import Reason, Terminate
from btcp.handoff.states import Adopt
from btcp.wire.segment import ACK, FIN, RST
from tests.simulation.cluster import CAPABILITIES
from tests.simulation.script import Tcp
from tests.unit import back_case as case
from tests.unit.back_case import CLIENT, END, ISN, ISS, ORDER, RESPONSE, RST_OF_CLIENT, SERVER


class SplicedTests(case.BackCase):
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

    def test_what_the_local_tcp_still_says(self) -> None:
        """
        Of a connection that was taken from it, goes nowhere; for a while.
        """
        self.script.take(RST_OF_CLIENT)
        self.assertTrue(self.script.empty)
        self.assertEqual(self.script.take(SERVER.but(payload=b"late")), [])
        self.assertEqual(self.script.core.counters["adopt.swallowed"], 1)
        self.script.wait(GRAVE)
        self.assertTrue(self.script.empty)
        self.assertEqual(self.script.datapath.routes, {})

    def test_adopted_again_meanwhile(self) -> None:
        """
        The same client at the same port.
        """
        self.script.take(RST_OF_CLIENT)
        self.order(evolve(ORDER, id=ORDER.id + 1))
        self.script.wait(GRAVE / 2)
        self.assertEqual(self.script.core.adopter.flows.graves, {})
        self.assertEqual(len(self.script.core.adopter.flows), 1)

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
        message = Terminate(front="b", id=5, reason=Reason.ABANDONED, client_next=0, server_next=0)
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


class LinkDownTests(case.BackCase):
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
        self.assertEqual(self.script.take(response), [RESPONSE.but(payload=b"HTTP/1.1 200 OK")])

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
