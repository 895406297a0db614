# SPDX-License-Identifier: MIT
"""
Claims 15 and 27: the front-end examines the content and asks the best node for a handoff.
"""

from __future__ import annotations

from ipaddress import ip_address

from twisted.protocols import amp

from btcp.control import commands
from tests.claims.case import ClaimTestCase
from tests.claims.channel import handoff
from tests.claims.evidence import Evidence
from tests.modes import in_all_modes


@in_all_modes
class DecisionTests(ClaimTestCase):
    def test_claim_15(self) -> None:
        self.show(self.handed_off(0), self.check)

    def test_claim_27(self) -> None:
        self.show(self.handed_off(1), self.check)

    def check(self, evidence: Evidence) -> str:
        it = evidence.connection
        self.check_content_decides(it.front)
        self.check_messages(evidence)
        took = evidence.reply.time - evidence.request.time
        return (
            f"{it.front} read {evidence.handoff.request.splitlines()[0].decode()!r} and asked "
            f"{it.back} with its ISN {evidence.iss}; acknowledged after {took * 1000:.1f} ms"
        )

    def check_content_decides(self, front: str) -> None:
        """
        The same front-end asks the very node that holds what each request is for.
        """
        asked = {
            (handoff(said).request.split()[1].decode(), said.receiver)
            for said in self.scene.channel(front).asked(commands.Handoff)
            if said.sender == front and handoff(said).request.startswith(b"GET")
        }
        others = [node for node in self.scene.lab.nodes if node != front]
        self.assertEqual(asked, {(f"/{node}/1k", node) for node in others})

    def check_messages(self, evidence: Evidence) -> None:
        it, order = evidence.connection, evidence.handoff
        question, answer = evidence.request, evidence.reply
        self.assertEqual((question.sender, question.receiver), (it.front, it.back))
        self.assertEqual((answer.sender, answer.receiver), (it.back, it.front))
        self.assertNotIn(amp.ERROR, answer.box)
        # The parameters of the connection, and the front-end's own state.
        ends = [(str(ip_address(end.address)), end.port) for end in (order.client, order.front)]
        self.assertEqual(ends, [it.client, it.at_front])
        self.assertEqual(order.iss, evidence.iss)
        # First the whole request, then the question, then the answer, then the rest.
        first = min(each.time for each in evidence.forwarded)
        order_of_events = [evidence.completing.time, question.time, answer.time, first]
        self.assertEqual(order_of_events, sorted(order_of_events))
