# SPDX-License-Identifier: MIT
"""
Claims 18 and 30: the front-end forwards the client's packets, readdressed and renumbered.
"""

from __future__ import annotations

from tests.claims.case import ClaimTestCase
from tests.claims.evidence import Evidence, data
from tests.claims.packets import MODULUS, Change, Seen, between
from tests.modes import in_all_modes


@in_all_modes
class ForwardTests(ClaimTestCase):
    def test_claim_18(self) -> None:
        self.show(self.handed_off(0), self.check)

    def test_claim_30(self) -> None:
        self.show(self.handed_off(1), self.check)

    def check(self, evidence: Evidence) -> str:
        self.assert_translated(evidence)
        self.assert_intact(evidence.forwarded)
        # The very same packets arrive at the back-end, and go to its TCP.
        it = evidence.connection
        passed = between(self.scene.tape.at(it.back), it.client, it.at_back)
        self.assert_moved(evidence.forwarded, passed, Change())
        self.assertEqual(len(passed), len(evidence.forwarded))
        self.assert_moved(passed, evidence.injected, Change())
        losing = self.losing(evidence)
        edges, lost = self.check_sack(losing)
        moved = self.check_mover(losing, losing.later, it.front)
        return (
            f"{len(evidence.forwarded)} packets with {data(evidence.forwarded)} octets of "
            f"{it.client[0]} sent on by {it.front} to {it.at_back[0]}:{it.at_back[1]}, "
            f"ack - {evidence.delta}, TSecr - {evidence.stamps}, all checksums right; "
            f"of another connection with {lost} packets lost, {edges} SACK edges too; {moved}"
        )

    def assert_translated(self, evidence: Evidence) -> None:
        """
        Each packet after the request was forwarded with just the right changes, once; only
        repetitions of the request, which the back-end acknowledges, were not.
        """
        self.assert_come(evidence.forwarded, evidence.later, evidence.inward)
        self.assert_moved(evidence.fresh, evidence.forwarded, evidence.inward)

    def check_sack(self, evidence: Evidence) -> tuple[int, int]:
        """
        @return: how many edges there were, and how many packets were lost.
        """
        self.assert_translated(evidence)
        edges = [edge for each in evidence.forwarded for edge in each.edges]
        self.assertGreater(len(edges), 0)
        top = max((_end(each) - evidence.isn) % MODULUS for each in evidence.caught)
        for edge in edges:
            self.assertTrue(0 < (edge - evidence.isn) % MODULUS <= top, edge)
        return len(edges), len(evidence.answered) - len(evidence.received)


def _end(packet: Seen) -> int:
    return packet.seq + len(packet.payload)
