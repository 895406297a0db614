# SPDX-License-Identifier: MIT
"""
The back-end's half from the first FIN on: CLOSING, CLOSED.
"""

from __future__ import annotations

from attrs import evolve

from btcp.handoff.carry import TRAIL
from btcp.handoff.context import Periods
from btcp.handoff.messages import Reason
from btcp.handoff.states import Adopt
from btcp.wire.segment import ACK, FIN, RST, SYN, flow_key, reversed_key
from tests.simulation.cluster import PORT
from tests.simulation.script import ADDRESSES, CLIENTS
from tests.unit import back_case as case
from tests.unit.back_case import (
    CLIENT,
    END,
    IRS,
    ISN,
    ISS,
    ORDER,
    RESPONSE,
    RST_OF_CLIENT,
    SERVER,
    SYN_ACK,
    SYN_OF_CLIENT,
)


class ClosingTests(case.BackCase):
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

    def test_client_opens_anew(self) -> None:
        """
        The local TCP was in TIME-WAIT, of which we did not know, and takes a SYN for itself:
        the client does not hear of that, for the front-end has to see the request first.
        """
        self.script.take(self.server_fin)
        self.script.take(self.client_fin)
        syn = SYN_OF_CLIENT.but(seq=END + 5000)
        self.script.take(syn)
        sent = self.script.take(SYN_ACK.but(seq=ISN + 70_000, ack=END + 5001))
        self.assertEqual(sent, [])
        self.assertEqual(self.script.delivered, [RST_OF_CLIENT.but(seq=END + 5001)])
        self.reported(Reason.CLOSED, END, ISS + 2)
        self.assertIs(self.state(), Adopt.CLOSED)

    def test_syn_ack_comes_late(self) -> None:
        """
        Of the handshake that the local TCP had: nothing is over.
        """
        self.script.take(SYN_ACK)
        self.assertEqual((self.script.said, self.script.delivered), ([], []))
        self.assertIs(self.state(), Adopt.SPLICED)

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


class ClosedTests(case.BackCase):
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
        """
        Later than at the front-end, so that what that still forwards finds the flow.
        """
        self.script.wait(Periods().linger)
        self.assertFalse(self.script.empty)
        self.script.wait(TRAIL)
        self.assertTrue(self.script.empty)
        self.assertEqual(self.script.said, [])

    def test_handoff_again(self) -> None:
        """
        Who asks again, hears that it is over: not nothing.
        """
        self.order()
        self.assertEqual(len(self.script.said), 1)
