# SPDX-License-Identifier: MIT
"""
Claims 20 and 32: the back-end sees the connection end and tells; the front-end frees its data.
"""

from __future__ import annotations

import socket
import struct
import time

from btcp.handoff.messages import Reason
from btcp.lab.topology import LISTEN_PORT
from tests.claims.case import ClaimTestCase
from tests.claims.channel import Channel
from tests.claims.evidence import Evidence
from tests.claims.packets import MODULUS, between
from tests.claims.scene import counts, end
from tests.claims.stage import PATIENCE, End, dial, request
from tests.claims.tape import recording
from tests.modes import in_all_modes

_RESET = struct.pack("ii", 1, 0)
_SOME = 1 << 20
_NOTHING = {"front": 0, "back": 0}


@in_all_modes
class EndTests(ClaimTestCase):
    def test_claim_20(self) -> None:
        self.show(self.handed_off(0), self.check)

    def test_claim_32(self) -> None:
        self.show(self.handed_off(1), self.check)

    def check(self, evidence: Evidence) -> str:
        it = evidence.talk
        # While it was open, both nodes had it ...
        for node, state in ((it.front, "FORWARDING"), (it.back, "SPLICED")):
            (flow,) = (f for f in it.flows[node] if f["client"].endswith(f":{it.client[1]}"))
            self.assertEqual(flow["state"], state)
        said, record = evidence.end
        self.check_fins(evidence)
        # ... and in the end, nobody knew anything.
        self.assertEqual(self.scene.freed, dict.fromkeys(self.scene.lab.nodes, _NOTHING))
        seconds = self.check_reset(it.front, it.back, it.family)
        return (
            f"FIN {record.client_next - 1} of the client and FIN {record.server_next - 1} to it "
            f"acknowledged, {it.back} told {it.front} {record.reason.value!r} in message "
            f"{said.box[b'_ask'].decode()}, all nodes' tables empty; after a reset "
            f"both were free within {seconds * 1000:.0f} ms"
        )

    def check_fins(self, evidence: Evidence) -> None:
        said, record = evidence.end
        client_fin = next(each for each in evidence.sent if "F" in each.flags)
        server_fin = next(each for each in evidence.received if "F" in each.flags)
        ends = [(each.seq + len(each.payload) + 1) % MODULUS for each in (client_fin, server_fin)]
        self.assertEqual([record.client_next, record.server_next], ends)
        self.assertIs(record.reason, Reason.CLOSED)
        # It was told when both FINs were acknowledged, which only the back-end sees.
        acknowledged = [
            next(each for each in evidence.received if each.ack == ends[0]),
            next(each for each in evidence.sent if each.ack == ends[1]),
        ]
        self.assertTrue(all(each.time < said.time for each in acknowledged))

    def check_reset(self, front: str, back: str, family: int) -> float:
        """
        The client ends another connection with a RST, in the middle of a download.

        @return: seconds from then until both nodes had freed all that they knew.
        """
        lab = self.scene.lab
        with recording(lab, [(front, "eth0")]) as tape:
            connection = dial(lab, family, front)
            client = end(connection)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            connection.sendall(request(f"/{back}/10m"))
            with connection.makefile("rb") as stream:
                stream.read(_SOME)
            connection.close()
            began = time.monotonic()
            while any(counts(lab, node) != _NOTHING for node in (front, back)):
                self.assertLess(time.monotonic() - began, PATIENCE)
            took = time.monotonic() - began
        at_front: End = (lab.address(front, family), LISTEN_PORT)
        reset = next(e for e in between(tape.at(front), client, at_front) if "R" in e.flags)
        channel = Channel(lab, tape.at(front))
        ((said, record),) = channel.terminations()
        self.assertEqual((said.sender, record.reason), (back, Reason.RESET_BY_CLIENT))
        self.assertLess(reset.time, said.time)
        return took
