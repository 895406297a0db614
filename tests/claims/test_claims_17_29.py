# SPDX-License-Identifier: MIT
"""
Claims 17 and 29: the ISNs travel in request and acknowledgment; each computes the other's state.
"""

from __future__ import annotations

from tests.claims.case import ClaimTestCase
from tests.claims.evidence import Evidence
from tests.claims.packets import MODULUS
from tests.modes import in_all_modes


@in_all_modes
class StateTests(ClaimTestCase):
    def test_claim_17(self) -> None:
        self.show(self.handed_off(0), self.check)

    def test_claim_29(self) -> None:
        self.show(self.handed_off(1), self.check)

    def check(self, evidence: Evidence) -> str:
        front_isn, back_isn = evidence.handoff.iss, evidence.adopted.isn
        # What was said is what the client got, and what the back-end's TCP chose.
        self.assertEqual(front_isn, evidence.received[0].seq)
        self.assertEqual(back_isn, evidence.isn)
        difference = (front_isn - back_isn) % MODULUS
        # The back-end's numbers, in the front-end's: the first octet of the response comes
        # right after the SYN/ACK that the client had from the front-end.
        first = next(each for each in evidence.caught if each.payload)
        seen = next(each for each in evidence.received if each.payload)
        self.assertEqual(first.seq, (back_isn + 1) % MODULUS)
        self.assertEqual(seen.seq, (front_isn + 1) % MODULUS)
        self.assertEqual(seen.seq, (first.seq + difference) % MODULUS)
        # The front-end's numbers, in the back-end's.
        last, passed = evidence.later[-1], evidence.forwarded[-1]
        self.assertEqual(passed.ack, (last.ack - difference) % MODULUS)
        if self.mode.by_cookie:
            # Who knows one ISN knows the other.
            self.assertEqual(difference, 0)
            return (
                f"{evidence.connection.front}'s ISN {front_isn} in the request, the same in the "
                f"acknowledgment, and the TCP of {evidence.connection.back} has it: seq "
                f"{first.seq} left as it was, ack {last.ack} was forwarded as it was"
            )
        self.assertNotEqual(difference, 0)
        return (
            f"{evidence.connection.front}'s ISN {front_isn} in the request, "
            f"{evidence.connection.back}'s ISN {back_isn} in the acknowledgment; both add or "
            f"subtract {difference}: seq {first.seq} left as {seen.seq}, ack {last.ack} was "
            f"forwarded as {passed.ack}"
        )
