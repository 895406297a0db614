# SPDX-License-Identifier: MIT
"""
Claims 21 and 34: the chosen node is the front-end itself, whose own TCP gets the connection.
"""

from __future__ import annotations

from btcp.control import commands
from tests.claims.case import ClaimTestCase
from tests.claims.channel import handoff
from tests.claims.evidence import Evidence, data
from tests.claims.packets import ARRIVAL, of
from tests.modes import in_all_modes


@in_all_modes
class LocalTests(ClaimTestCase):
    def test_claim_21(self) -> None:
        self.show(self.local(0), self.check)

    def test_claim_34(self) -> None:
        self.show(self.local(1), self.check)

    def check(self, evidence: Evidence) -> str:
        it = evidence.connection
        self.assertEqual(it.front, it.back)
        self.check_adoption(evidence, evidence.stream[: evidence.size])
        self.check_translation(evidence)
        self.check_nobody_else(evidence)
        adopted = (
            f"{it.front} gave its own TCP the request, which made a connection with the client's "
            f"own ISN {evidence.iss}"
            if self.mode.by_cookie
            else f"{it.front} replayed into its own TCP, which chose ISN {evidence.isn} where the "
            f"client has {evidence.iss}"
        )
        return (
            f"{adopted}; {len(evidence.spoken)} packets with "
            f"{data(evidence.spoken)} octets out with seq + {evidence.delta}, "
            f"{len(evidence.fresh)} packets with {data(evidence.fresh)} octets in with "
            f"ack - {evidence.delta}, all checksums right"
        )

    def check_translation(self, evidence: Evidence) -> None:
        """
        In both directions, each packet, once.
        """
        own = [each for each in evidence.replied if evidence.taken(each) < evidence.size]
        answers = [each for each in evidence.replied if each not in own]
        self.assert_moved(evidence.spoken, answers, evidence.outward)
        self.assertEqual(len(answers), len(evidence.spoken))
        self.assertEqual(data(own), 0)
        self.assert_intact(evidence.replied)
        self.assert_moved(evidence.replied, evidence.received, ARRIVAL)
        self.assert_moved(evidence.fresh, evidence.injected, evidence.inward)
        self.assert_intact(evidence.injected)
        replay = {each.octets for each in evidence.replayed}
        others = [each for each in evidence.injected if each.octets not in replay]
        self.assert_come(others, evidence.later, evidence.inward)

    def check_nobody_else(self, evidence: Evidence) -> None:
        it = evidence.connection
        for node in self.scene.lab.nodes:
            if node != it.front:
                passed = of(self.scene.tape.at(node), it.client)
                self.assertEqual([each for each in passed if it.at_front in each.ends], [])
        asked = evidence.channel.asked(commands.Handoff)
        self.assertNotIn(it.client[1], [handoff(said).client.port for said in asked])
