# SPDX-License-Identifier: MIT
"""
Claims 21 and 34: the chosen node is the front-end itself, whose own TCP gets the connection.
"""

from __future__ import annotations

from btcp.control import commands
from tests.claims.case import ClaimTestCase
from tests.claims.channel import handoff
from tests.claims.evidence import Evidence, data, expected, octets
from tests.claims.packets import ARRIVAL, Seen, of
from tests.claims.scene import scene


class LocalTests(ClaimTestCase):
    def test_claim_21(self) -> None:
        self.show(self.local(0), self.check)

    def test_claim_34(self) -> None:
        self.show(self.local(1), self.check)

    def check(self, evidence: Evidence) -> str:
        it = evidence.connection
        self.assertEqual(it.front, it.back)
        self.check_replay(evidence, evidence.stream[: evidence.size])
        self.check_translation(evidence)
        self.check_nobody_else(evidence)
        return (
            f"{it.front} replayed into its own TCP, which chose ISN {evidence.isn} where the "
            f"client has {evidence.iss}; {len(evidence.spoken)} packets with "
            f"{data(evidence.spoken)} octets out with seq + {evidence.delta}, "
            f"{len(evidence.later)} packets with {data(evidence.later)} octets in with "
            f"ack - {evidence.delta}, all checksums right"
        )

    def check_translation(self, evidence: Evidence) -> None:
        """
        In both directions, each packet, once.
        """
        outward = expected(evidence.spoken, evidence.outward)
        own = [each for each in evidence.replied if evidence.taken(each) < evidence.size]
        self.assertEqual(octets(evidence.replied) - octets(own), outward)
        self.assertTrue(all(each.intact() for each in evidence.replied))
        self.assertEqual(data(own), 0)
        self.assertEqual(expected(evidence.replied, ARRIVAL), octets(evidence.received))
        inward, given = expected(evidence.later, evidence.inward), octets(evidence.injected)
        self.assert_moved(evidence.fresh, evidence.inward, given)
        self.assertTrue(all(each.intact() for each in evidence.injected))
        # The replay itself: SYN, ACK, request.
        replayed = given - inward
        self.assertEqual(replayed.total(), evidence.injected.index(self.first(evidence)))

    def first(self, evidence: Evidence) -> Seen:
        """
        The first packet that was the client's own, not a replayed one.
        """
        inward = expected(evidence.later, evidence.inward)
        return next(each for each in evidence.injected if each.octets in inward)

    def check_nobody_else(self, evidence: Evidence) -> None:
        it = evidence.connection
        for node in scene().lab.nodes:
            if node != it.front:
                passed = of(scene().tape.at(node), it.client)
                self.assertEqual([each for each in passed if it.at_front in each.ends], [])
        asked = evidence.channel.asked(commands.Handoff)
        self.assertNotIn(it.client[1], [handoff(said).client.port for said in asked])
