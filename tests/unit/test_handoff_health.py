# SPDX-License-Identifier: MIT
"""
What the core has to do with drained nodes and with checks: refusals, blame, and connections
that only ask whether the origin is well.
"""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from btcp.handoff.actions import Blame, Witness
from btcp.handoff.messages import PROBER, Adopted, Reason, Refused, Terminate
from btcp.handoff.route import EVERYTHING
from btcp.handoff.states import Accept, Adopt
from btcp.wire.segment import ACK, FIN, PSH
from tests.unit.back_case import END, ISN, ORDER, RST_OF_CLIENT, SERVER, SYN_ACK, BackCase
from tests.unit.front_case import FrontCase


class DrainingTests(BackCase):
    """
    A back-end that shall get nothing new.
    """

    def setUp(self) -> None:
        self.draining = False
        self.begin(draining=lambda: self.draining)

    def test_refused(self) -> None:
        self.draining = True
        self.script.hear("b", ORDER)
        self.refused(Reason.DRAINING)

    def test_what_is_there_goes_on(self) -> None:
        self.splice()
        self.draining = True
        segment = SERVER.but(flags=ACK | PSH, payload=b"HTTP/1.1 200 OK\r\n\r\n")
        self.assertEqual(len(self.script.take(segment)), 1)

    def test_asked_again(self) -> None:
        """
        By a front-end that was not heard: it has been adopted.
        """
        self.splice()
        self.draining = True
        self.script.hear("b", ORDER)
        self.assertEqual([type(message) for _, message in self.script.said], [Adopted])

    def test_checks(self) -> None:
        """
        A drained node's origin is checked as ever.
        """
        self.draining = True
        self.script.hear(PROBER, ORDER)
        self.assertIs(self.state(), Adopt.REPLAYING)


class OwnDrainingTests(FrontCase):
    """
    A front-end that shall get nothing new as a back-end.
    """

    def test_asks_the_next(self) -> None:
        self.begin(draining=lambda: True, place=lambda key: ["a", "b"])
        self.request()
        self.assertEqual(self.asked(), ["b"])
        self.assertEqual(self.script.told, [Blame("a", "web", Reason.DRAINING)])


class BlameTests(FrontCase):
    """
    The shell hears of each refusal, whose fault it is it judges itself.
    """

    def test_refused(self) -> None:
        self.request()
        refused = Refused(id=self.number(), reason=Reason.NO_LISTENER)
        self.script.hear("b", refused)
        self.assertEqual(self.script.told, [Blame("b", "web", Reason.NO_LISTENER)])
        self.assertIs(self.state(), Accept.ANSWERED)

    def test_too_late(self) -> None:
        """
        Of a node that is not asked any more, it says nothing.
        """
        self.forward()
        self.script.hear("b", Refused(id=self.number(), reason=Reason.NO_LISTENER))
        self.assertEqual(self.script.told, [])


class ProbeTests(BackCase):
    """
    A connection of L{PROBER}: the shell sees what the origin says, and nobody else does.
    """

    def splice(self) -> None:
        self.script.hear(PROBER, ORDER)
        self.script.take(SYN_ACK)
        self.script.take(SERVER)

    def test_acknowledgment(self) -> None:
        self.splice()
        self.assertEqual(self.script.sent, [])
        self.assertEqual(self.script.told, [Witness(ORDER.id, b"")])
        [(peer, adopted)] = self.script.said
        assert isinstance(adopted, Adopted)
        self.assertEqual((peer, adopted.id, adopted.isn), (PROBER, ORDER.id, ISN))

    def test_answer(self) -> None:
        """
        However often it is repeated, and its end too.
        """
        self.splice()
        answer = SERVER.but(flags=ACK | PSH, payload=b"HTTP/1.1 200 OK\r\n\r\n")
        for segment in (answer, answer, answer.but(flags=ACK | PSH | FIN)):
            self.assertEqual(self.script.take(segment), [])
            self.assertEqual(self.script.told[-1], Witness(ORDER.id, answer.payload))

    def test_no_datapath_moves_it(self) -> None:
        """
        Whatever it can: what it sends by itself nobody would see.
        """
        self.begin(reports=True, admits=True)
        self.script.hear(PROBER, ORDER)
        self.script.take(SERVER.but(seq=ORDER.iss + 1))
        (flow,) = self.script.core.adopter.flows.outbound.values()
        assert flow.to_client is not None
        self.assertIs(flow.state, Adopt.SPLICED)
        self.assertEqual((flow.follows, flow.to_client.punt), (False, EVERYTHING))

    def test_end(self) -> None:
        """
        The local TCP is told, and nothing is left.
        """
        self.splice()
        over = Terminate(
            front=PROBER, id=ORDER.id, reason=Reason.ABANDONED, client_next=0, server_next=0
        )
        self.script.hear(PROBER, over)
        self.assertEqual(self.script.sent, [])
        self.assertEqual(self.script.delivered, [RST_OF_CLIENT.but(seq=END)])
        self.assertTrue(self.script.empty)

    def test_no_listener(self) -> None:
        self.script.hear(PROBER, evolve(ORDER, listener="other"))
        refused = Refused(id=ORDER.id, reason=Reason.NO_LISTENER)
        self.assertEqual(self.script.said, [(PROBER, refused)])


class NameTests(SynchronousTestCase):
    def test_prober_is_no_node(self) -> None:
        """
        No node can have this name.
        """
        self.assertNotRegex(PROBER, "^[a-z0-9-]")
