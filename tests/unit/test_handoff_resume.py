# SPDX-License-Identifier: MIT
"""
What a daemon leaves, what the next one makes of it, and how it agrees with its peers.
"""

from __future__ import annotations

from typing import Any

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from btcp.handoff import memo
from btcp.handoff.carry import TRAIL
from btcp.handoff.context import Periods
from btcp.handoff.memo import BadMemo, Memo, Past, Role
from btcp.handoff.messages import Adopted, Handoff, Reason, Refused
from btcp.handoff.reconcile import Owned
from btcp.handoff.states import Accept, Adopt
from btcp.wire.segment import ACK, FIN, RST
from tests.simulation.script import ADDRESSES
from tests.unit import back_case, front_case, test_handoff_local
from tests.unit.back_case import CLIENT, END, ISS, ORDER, RESPONSE, RST_OF_CLIENT, SERVER
from tests.unit.back_case import ISN as BACK_ISN
from tests.unit.front_case import ISN, OUT, SYN_OF_CLIENT


class MemoTests(SynchronousTestCase):
    @given(st.binary(max_size=2 * memo.LAYOUT.size))
    def test_any_octets(self, octets: bytes) -> None:
        """
        Are a memo or are not, and nothing else.
        """
        try:
            Memo.unpack(octets)
        except BadMemo:
            return
        self.assertEqual(len(octets), memo.LAYOUT.size)

    def test_digests(self) -> None:
        names = [f"node-{number}" for number in range(1000)]
        self.assertEqual(len(set(map(memo.digest, names))), 1000)


class FrontTests(front_case.FrontCase):
    """
    A flow of which this node was the front-end.
    """

    def begin(self, **changes: Any) -> None:
        super().begin(remembers=True, **changes)

    def setUp(self) -> None:
        super().setUp()
        self.forward()
        self.flow_number = self.number()

    def test_memo(self) -> None:
        ((key, octets),) = self.script.datapath.memos.items()
        left = Memo.unpack(octets)
        self.assertEqual(key, self.client.key)
        self.assertEqual((left.role, left.past), (Role.FRONT, Past(0)))
        self.assertEqual((left.number, left.request), (1, self.length))
        self.assertEqual((left.irs, left.iss), (front_case.IRS, self.iss))
        self.assertEqual(left.peer, memo.digest("b"))

    def test_forwards(self) -> None:
        """
        As if nothing had been; and the end is understood.
        """
        self.assertEqual(self.script.take_over(), [])
        self.assertIs(self.state(), Accept.FORWARDING)
        sent = self.script.take(self.after.but(ack=self.iss + 501))
        self.assertEqual(sent, [self.back.but(ack=ISN + 501)])
        self.script.up("b")
        self.assertEqual(self.terminate(), [])
        self.assertIs(self.state(), Accept.CLOSED)
        self.script.wait(Periods().linger)
        self.assertTrue(self.script.empty)

    def test_lingers(self) -> None:
        self.terminate()
        self.script.take_over()
        self.assertIs(self.state(), Accept.CLOSED)
        self.assertEqual(self.script.core.shared_with("b"), [])
        self.script.wait(Periods().linger)
        self.assertTrue(self.script.empty)

    def test_not_a_stranger(self) -> None:
        """
        The SYN, were it to come again, is not another's.
        """
        self.script.take_over()
        (sent,) = self.script.take(SYN_OF_CLIENT)
        self.assertEqual((sent.key, sent.seq), (self.back.key, front_case.IRS))

    def test_node_lost(self) -> None:
        """
        Without the request nobody else can be asked.
        """
        self.script.take_over()
        (reset,) = self.script.do(self.script.core.peer_lost("b", self.script.now))
        self.assertEqual((reset.key, reset.flags), (OUT, RST))
        self.assertEqual(reset.seq, (self.iss + 1) % 2**32)
        self.assertTrue(self.script.empty)

    def test_idle(self) -> None:
        self.script.take_over()
        self.script.wait(Periods().established + 1)
        self.assertTrue(self.script.empty)

    def test_new_numbers(self) -> None:
        """
        No number is used twice, not even one that nobody remembers.
        """
        self.script.take_over()
        self.script.take(SYN_OF_CLIENT.but(key=SYN_OF_CLIENT.key[:-4] + b"\1\1" + OUT[8:10]))
        self.assertEqual(sorted(self.script.core.acceptor.flows.by_number), [1, 1 << 40])

    def test_another_node(self) -> None:
        """
        Its back-end is no longer one of the cluster: it is forgotten.
        """
        self.script.take_over("a", "c")
        self.assertTrue(self.script.empty)
        self.assertEqual(self.script.counted("resumed.removed"), 1)

    def test_bad_memo(self) -> None:
        for octets in (b"", bytes(memo.LAYOUT.size)):
            self.script.datapath.memos[self.client.key] = octets
            self.script.take_over()
            self.assertTrue(self.script.empty)
            self.begin()
            self.forward()

    def test_before_the_splice(self) -> None:
        """
        Is nothing that could be gone on with.
        """
        for reach in (self.open, self.establish, self.request):
            self.begin()
            reach()
            self.script.take_over()
            self.assertTrue(self.script.empty)

    # -- agreeing -------------------------------------------------------------

    def test_shared(self) -> None:
        self.assertEqual(self.script.core.shared_with("b"), [1])
        self.assertEqual(self.script.core.shared_with("c"), [])

    def test_closed(self) -> None:
        """
        The back-end's word of the end was lost.
        """
        self.script.take_over()
        self.assertEqual(self.script.owned("b", closed=[1]), [])
        self.assertIs(self.state(), Accept.CLOSED)

    def test_unknown(self) -> None:
        self.script.take_over()
        (reset,) = self.script.owned("b", unknown=[1])
        self.assertEqual((reset.key, reset.flags), (OUT, RST))
        self.assertTrue(self.script.empty)

    def test_unknown_and_asked_elsewhere(self) -> None:
        """
        It is the same daemon that has the request still.
        """
        self.script.core.shared_with("b")
        (answer,) = self.script.owned("b", unknown=[1])
        self.assertIs(self.state(), Accept.ANSWERED)
        self.assertIn(b" 503 ", answer.payload)  # nobody else has it

    def test_of_others(self) -> None:
        """
        Nobody speaks for another node, or of what is not there.
        """
        self.assertEqual(self.script.owned("c", closed=[1], unknown=[1]), [])
        self.assertEqual(self.script.owned("b", closed=[2], unknown=[2]), [])
        self.assertIs(self.state(), Accept.FORWARDING)

    def test_under_way(self) -> None:
        """
        What a node is being asked to take, it is asked for again when the link is back, not
        because of what it lacks.
        """
        self.begin()
        self.request()
        self.assertEqual(self.script.core.shared_with("b"), [1])
        self.assertEqual(self.script.owned("b", closed=[1], unknown=[1]), [])
        self.assertIs(self.state(), Accept.HANDING_OFF)
        self.script.up("b")
        self.assertEqual(self.asked(), ["b"])


class BackTests(back_case.BackCase):
    """
    A flow of which this node was the back-end.
    """

    def begin(self, **changes: Any) -> None:
        super().begin(remembers=True, **changes)

    def setUp(self) -> None:
        super().setUp()
        self.splice()

    def begun(self) -> None:
        self.script.take(SERVER.but(payload=bytes(100)))
        self.script.take(CLIENT.but(ack=BACK_ISN + 101))

    def test_goes_on(self) -> None:
        self.begun()
        self.assertEqual(self.script.take_over(), [])
        self.assertIs(self.state(), Adopt.SPLICED)
        sent = self.script.take(SERVER.but(seq=BACK_ISN + 101, payload=b"x"))
        self.assertEqual(sent, [RESPONSE.but(seq=(ISS + 101) % 2**32, payload=b"x")])
        packet = CLIENT.but(ack=BACK_ISN + 102, payload=b"more")
        self.assertEqual(self.script.take(packet), [])
        self.assertEqual(self.script.delivered, [packet])

    def test_not_begun(self) -> None:
        """
        As long as the front-end is not there, no response may begin.
        """
        self.script.take_over()
        self.assertEqual(self.script.take(SERVER.but(payload=b"x")), [])
        self.script.up("b")
        self.assertEqual(self.script.named("b", 5), Owned([], []))
        self.assertEqual(len(self.script.take(SERVER.but(payload=b"x"))), 1)

    def test_closing(self) -> None:
        """
        A FIN that was seen need not come again.
        """
        self.begun()
        fin = CLIENT.but(ack=BACK_ISN + 101, flags=FIN | ACK)
        self.script.take(fin)
        self.script.take_over()
        self.assertIs(self.state(), Adopt.CLOSING)
        self.script.take(SERVER.but(seq=BACK_ISN + 101, ack=(END + 1) % 2**32, flags=FIN | ACK))
        self.script.take_over()
        self.script.take(SERVER.but(seq=BACK_ISN + 102, ack=(END + 1) % 2**32))
        self.script.take(CLIENT.but(seq=(END + 1) % 2**32, ack=BACK_ISN + 102))
        self.assertIs(self.state(), Adopt.CLOSED)

    def closed(self) -> None:
        self.begun()
        self.script.take(CLIENT.but(ack=BACK_ISN + 101, flags=FIN | ACK))
        self.script.take(SERVER.but(seq=BACK_ISN + 101, ack=(END + 1) % 2**32, flags=FIN | ACK))
        self.script.take(CLIENT.but(seq=(END + 1) % 2**32, ack=BACK_ISN + 102))

    def test_closed(self) -> None:
        """
        The front-end may not have heard of it.
        """
        self.closed()
        self.script.take_over()
        self.assertIs(self.state(), Adopt.CLOSED)
        self.assertEqual(self.script.named("b", 5), Owned([5], []))
        self.script.wait(Periods().linger + TRAIL)
        self.assertTrue(self.script.empty)
        self.assertEqual(self.script.named("b", 5), Owned([], [5]))

    def test_before_the_splice(self) -> None:
        for reach in (self.order, self.deliver):
            self.begin()
            reach()
            self.script.take_over()
            self.assertTrue(self.script.empty)

    # -- agreeing -------------------------------------------------------------

    def test_forgotten(self) -> None:
        """
        A front-end that has lost the flow is the client's last hope no more.
        """
        self.begun()
        self.script.take_over()
        self.script.up("b")
        self.assertEqual(self.script.named("b"), Owned([], []))
        self.assertIn(RESPONSE.key, {sent.key for sent in self.script.sent})
        self.assertTrue(all(sent.flags == RST for sent in self.script.sent))
        self.assertEqual(self.script.delivered, [RST_OF_CLIENT])
        self.assertTrue(self.script.empty)

    def test_forgotten_before_it_began(self) -> None:
        self.script.up("b")
        self.script.named("b")
        self.assertEqual([sent.flags for sent in self.script.sent], [RST])
        self.assertTrue(self.script.empty)

    def test_in_parts(self) -> None:
        """
        Nothing is forgotten until all is said; what is begun meanwhile is not meant.
        """
        self.begun()
        self.assertEqual(self.script.named("b", 6, more=True), Owned([], [6]))
        later = evolve(ORDER, id=9, client=evolve(ORDER.client, port=51516))
        self.script.hear("b", later)
        self.assertEqual(self.script.named("b", 5), Owned([], []))
        self.assertEqual(len(self.script.core.adopter.flows), 2)

    def test_interrupted(self) -> None:
        """
        What was said before the link was lost does not count.
        """
        self.begun()
        self.script.named("b", 5, more=True)
        self.script.do(self.script.core.peer_down("b", self.script.now))
        self.script.up("b")
        self.script.named("b")
        self.assertTrue(self.script.empty)

    def test_others(self) -> None:
        """
        What another front-end does not name is not meant.
        """
        self.begun()
        self.assertEqual(self.script.named("c", 5), Owned([], [5]))
        self.assertIs(self.state(), Adopt.SPLICED)

    # -- the same connection, by another number -------------------------------

    def test_asked_for_again(self) -> None:
        self.begun()
        again = evolve(ORDER, id=77)
        self.assertEqual(self.script.hear("b", again), [])
        ((node, message),) = self.script.said
        self.assertEqual(node, "b")
        assert isinstance(message, Adopted)
        self.assertEqual((message.id, message.isn), (77, BACK_ISN))
        self.assertEqual(self.script.named("b", 5, 77), Owned([], [5]))
        ((_, octets),) = self.script.datapath.memos.items()
        self.assertEqual(Memo.unpack(octets).number, 77)

    def test_asked_for_again_before_the_splice(self) -> None:
        self.begin()
        self.deliver()
        self.script.hear("b", evolve(ORDER, id=77))
        self.assertEqual(self.script.said, [])
        self.script.take(SERVER)
        ((_, message),) = self.script.said
        assert isinstance(message, Adopted)
        self.assertEqual(message.id, 77)

    def test_another_connection(self) -> None:
        """
        Of the same ends, but not the same.
        """
        front = evolve(ORDER.front, address=ADDRESSES["c"][0])
        for changes in ({"irs": 1}, {"iss": 1}, {"front": front}, {"request": b"GET /"}):
            other: Handoff = evolve(ORDER, id=77, **changes)
            self.script.hear("b", other)
            refused = Refused(id=77, reason=Reason.TUPLE_IN_USE)
            self.assertEqual(self.script.said, [("b", refused)])
        self.script.hear("c", evolve(ORDER, id=77))
        self.assertEqual(self.script.said, [("c", Refused(id=77, reason=Reason.TUPLE_IN_USE))])


class LocalTests(test_handoff_local.LocalCase):
    """
    A flow of which this node was both.
    """

    def settings(self) -> dict[str, Any]:
        return {"remembers": True}

    def setUp(self) -> None:
        super().setUp()
        self.adopt()

    def test_goes_on(self) -> None:
        """
        To the end.
        """
        self.assertEqual(self.script.take_over(), [])
        core = self.script.core
        self.assertEqual((len(core.acceptor.flows), len(core.adopter.flows)), (1, 1))
        self.script.take(self.client.but(ack=self.iss + 1, payload=b"more"))
        self.assertEqual(
            self.script.delivered, [self.inner.but(ack=test_handoff_local.ISN + 1, payload=b"more")]
        )

    def test_half_is_lost(self) -> None:
        """
        Then there is no flow; the client hears of it at once, or when it speaks.
        """
        for key in list(self.script.datapath.memos):
            LocalTests.setUp(self)
            del self.script.datapath.memos[key]
            sent = self.script.take_over() or self.script.take(self.client)
            self.assertEqual({each.flags for each in sent}, {RST})
            self.assertEqual({each.key for each in sent}, {OUT})
            self.assertTrue(self.script.empty, key)
