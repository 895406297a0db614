# SPDX-License-Identifier: MIT
"""
Claims 19 and 31: the back-end's answers, in the front-end's name, go straight to the client.
"""

from __future__ import annotations

from btcp.lab.topology import ROUTER
from tests.claims.case import ClaimTestCase
from tests.claims.evidence import Evidence, data
from tests.claims.packets import ARRIVAL, MODULUS
from tests.modes import in_all_modes


@in_all_modes
class AnswerTests(ClaimTestCase):
    def test_claim_19(self) -> None:
        self.show(self.handed_off(0), self.check)

    def test_claim_31(self) -> None:
        self.show(self.handed_off(1), self.check)

    def check(self, evidence: Evidence) -> str:
        it = evidence.connection
        self.check_translated(evidence)
        self.check_straight(evidence)
        self.check_client(evidence)
        losing = self.losing(evidence)
        moved = self.check_mover(losing, losing.caught, it.back)
        return (
            f"{len(evidence.answered)} packets with {data(evidence.answered)} octets of "
            f"{it.at_back[0]}:{it.at_back[1]} left {it.back} as from "
            f"{it.at_front[0]}:{it.at_front[1]}, seq + {evidence.delta}, all checksums right, "
            f"and reached {it.client[0]} by the router; {data(evidence.replied)} octets of the "
            f"response crossed {it.front}; {moved}"
        )

    def check_translated(self, evidence: Evidence) -> None:
        self.assert_moved(evidence.spoken, evidence.answered, evidence.outward)
        self.assertEqual(len(evidence.answered), len(evidence.spoken))
        self.assert_intact(evidence.answered)

    def check_straight(self, evidence: Evidence) -> None:
        it, addresses = evidence.connection, self.scene.addresses
        own, router = addresses[it.back, "eth0"], addresses[ROUTER, "br0"]
        hops = {(each.frame.src, each.frame.dst) for each in evidence.answered}
        self.assertEqual(hops, {(own, router)})
        self.assertEqual(data(evidence.replied), 0)
        # All that the client received was sent by these two, and all arrived.
        sent = [*evidence.replied, *evidence.answered]
        self.assert_moved(sent, evidence.received, ARRIVAL)
        self.assertEqual(len(evidence.received), len(sent))

    def check_client(self, evidence: Evidence) -> None:
        """
        To the client it is one connection: no reset, one clock, one number space.
        """
        received = evidence.received
        self.assertFalse([each for each in received + evidence.sent if "R" in each.flags])
        said = [each.timestamps[0] for each in (*evidence.replied, *evidence.answered)]
        clock = [(stamp - said[0]) % MODULUS for stamp in said]
        self.assertEqual(clock, sorted(clock))
        echoed = {each.timestamps[1] for each in received}
        self.assertLessEqual(echoed, {each.timestamps[0] for each in evidence.sent})
        # And the back-end's TCP hears of no clock but its own; without a handshake of its own
        # that is the front-end's, which it goes on with.
        back = {each.timestamps[0] for each in evidence.caught}
        if self.mode.by_cookie:
            back |= {each.timestamps[0] for each in evidence.replied}
        heard = {each.timestamps[1] for each in evidence.injected if each.flags != "S"}
        self.assertLessEqual(heard, back)
