# SPDX-License-Identifier: MIT
"""
Claims 16 and 28: the back-end replays the connection into its own TCP.
"""

from __future__ import annotations

from tests.claims.case import ClaimTestCase
from tests.claims.channel import Said
from tests.claims.evidence import Evidence
from tests.claims.packets import Seen
from tests.claims.scene import scene


class ReplayTests(ClaimTestCase):
    def test_claim_16(self) -> None:
        self.show(self.handed_off(0), self.check)

    def test_claim_28(self) -> None:
        self.show(self.handed_off(1), self.check)

    def check(self, evidence: Evidence) -> str:
        it, syn, ack = evidence.connection, evidence.syn, evidence.ack
        syn_ack = evidence.caught[0]
        self.check_replay(evidence, evidence.handoff.request)
        # The SYN/ACK of the back-end's TCP never left the host, and no SYN came in.
        wire = scene().tape.at(it.back)
        shaken = [each for each in wire if "S" in each.flags and it.client in each.ends]
        self.assertEqual(shaken, [])
        # Acknowledged after all of that, with the number that was read.
        self.assertEqual(evidence.adopted.isn, syn_ack.seq)
        events: list[Seen | Said] = [evidence.request, syn, syn_ack, ack, evidence.reply]
        times = [each.time for each in events]
        self.assertEqual(times, sorted(times))
        return (
            f"{it.back} gave its TCP the SYN (seq {syn.seq}) as one to {it.at_back[0]}, caught "
            f"the SYN/ACK with ISN {syn_ack.seq}, gave it the ACK {ack.ack} and "
            f"{len(evidence.handoff.request)} octets of request, and acknowledged the handoff"
        )
