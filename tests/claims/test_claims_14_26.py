# SPDX-License-Identifier: MIT
"""
Claims 14 and 26: the front-end accepts a connection below its TCP and stores the request.
"""

from __future__ import annotations

from btcp.control import commands
from tests.claims.case import ClaimTestCase
from tests.claims.evidence import Evidence
from tests.claims.packets import MODULUS
from tests.claims.scene import PIECE
from tests.modes import in_all_modes


@in_all_modes
class AcceptTests(ClaimTestCase):
    def test_claim_14(self) -> None:
        self.show(self.handed_off(0), self.check)

    def test_claim_26(self) -> None:
        self.show(self.handed_off(1), self.check)

    def check(self, evidence: Evidence) -> str:
        self.check_handshake(evidence)
        self.check_order(evidence)
        self.check_request(evidence)
        return (
            f"SYN seq {evidence.arrived[0].seq} answered by {evidence.connection.front} with "
            f"an ISN of its own, {evidence.iss}; the first {PIECE} octets of the request "
            f"acknowledged and held, all {len(evidence.handoff.request)} stored"
        )

    def check_handshake(self, evidence: Evidence) -> None:
        syn, syn_ack = evidence.arrived[0], evidence.replied[0]
        ack = next(each for each in evidence.arrived if each.flags == "A" and not each.payload)
        self.assertEqual((syn.flags, syn_ack.flags, ack.flags), ("S", "SA", "A"))
        self.assertEqual((syn_ack.seq, syn_ack.ack), (evidence.iss, (syn.seq + 1) % MODULUS))
        self.assertEqual((ack.seq, ack.ack), (syn_ack.ack, (evidence.iss + 1) % MODULUS))
        self.assertTrue(syn.time <= syn_ack.time <= ack.time)
        # Nobody else's number, and another one for each connection.
        self.assertNotEqual(evidence.iss, syn.seq)
        if not self.mode.by_cookie:  # else the back-end's TCP takes it over
            self.assertNotEqual(evidence.iss, evidence.isn)
        others = {Evidence(self.scene, each).iss for each in self.scene.glances}
        self.assertEqual(len(others | {evidence.iss}), len(self.scene.glances) + 1)
        # It was not the front-end's TCP that answered: that has no such connection.
        it = evidence.talk
        self.assertNotIn(it.client[0], it.sockets[it.front])

    def check_order(self, evidence: Evidence) -> None:
        syn, syn_ack, order = evidence.arrived[0], evidence.replied[0], evidence.handoff
        offered, promised = syn.options, syn_ack.options
        self.assertEqual((order.irs, order.iss), (syn.seq, syn_ack.seq))
        self.check_parameters(evidence, order.window, order.mss)
        self.assertEqual(order.client_scale, offered["WScale"])
        self.assertEqual(order.front_scale, promised["WScale"])
        self.assertEqual(order.sack, "SAckOK" in offered and "SAckOK" in promised)
        latest = max(each.timestamps[0] for each in evidence.earlier)
        self.assertEqual(order.tsval, latest)
        said = [each for each in evidence.replied if each.time < evidence.request.time]
        self.assertEqual(order.front_tsval, max(each.timestamps[0] for each in said))

    def check_request(self, evidence: Evidence) -> None:
        it, order = evidence.talk, evidence.handoff
        first, *_ = (each for each in evidence.arrived if each.payload)
        self.assertEqual(first.payload, it.head[:PIECE])
        # With a part of the request the front-end waits, and asks nobody.
        (flow,) = (each for each in it.waiting if each["client"].endswith(f":{it.client[1]}"))
        self.assertEqual((flow["state"], flow["node"]), ("ESTABLISHED", None))
        self.assertEqual(order.acked, PIECE)
        # What is stored is what the client sent, and all of the head is there.
        self.assertEqual(order.request, evidence.stream[: evidence.size])
        self.assertTrue(order.request.startswith(it.head))
        asked = evidence.channel.asked(commands.Handoff)
        self.assertIn(evidence.request, asked)
        self.assertLess(evidence.completing.time, evidence.request.time)
        self.assertTrue(all(evidence.request.time < each.time for each in evidence.forwarded))
