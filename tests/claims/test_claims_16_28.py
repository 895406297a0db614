# SPDX-License-Identifier: MIT
"""
Claims 16 and 28: the back-end replays the connection into its own TCP.
"""

from __future__ import annotations

from tests.claims.case import ClaimTestCase
from tests.claims.channel import Said
from tests.claims.evidence import Evidence
from tests.claims.packets import Seen
from tests.modes import in_all_modes


@in_all_modes
class ReplayTests(ClaimTestCase):
    def test_claim_16(self) -> None:
        self.show(self.handed_off(0), self.check)

    def test_claim_28(self) -> None:
        self.show(self.handed_off(1), self.check)

    def check(self, evidence: Evidence) -> str:
        it = evidence.connection
        self.check_adoption(evidence, evidence.handoff.request)
        # No SYN came in from the network, and no SYN/ACK of the back-end's TCP left the host.
        wire = self.scene.tape.at(it.back)
        shaken = [each for each in wire if "S" in each.flags and it.client in each.ends]
        self.assertEqual(shaken, [])
        return self.admitted(evidence) if self.mode.by_cookie else self.replayed(evidence)

    def replayed(self, evidence: Evidence) -> str:
        it, syn, ack = evidence.connection, evidence.syn, evidence.ack
        syn_ack = evidence.caught[0]
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

    def admitted(self, evidence: Evidence) -> str:
        it, first, said = evidence.connection, evidence.injected[0], evidence.caught[0]
        # Acknowledged after all of that, with the one number that both have.
        self.assertEqual(evidence.adopted.isn, evidence.iss)
        events: list[Seen | Said] = [evidence.request, first, said, evidence.reply]
        times = [each.time for each in events]
        self.assertEqual(times, sorted(times))
        return (
            f"no SYN and no SYN/ACK at {it.back}: it gave its TCP {len(evidence.handoff.request)} "
            f"octets of request as seq {first.seq}, ack {first.ack}, which made a connection "
            f"whose first packet has seq {said.seq}, one more than the ISN {evidence.iss} of "
            f"{it.front}; and acknowledged the handoff"
        )
