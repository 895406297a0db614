# SPDX-License-Identifier: MIT
"""
Claims 22 and 33: every node is front-end and back-end; control channels join all to all.
"""

from __future__ import annotations

from itertools import combinations, product

from btcp.control import commands
from btcp.lab.topology import CONTROL_PORT
from tests.claims.case import ClaimTestCase
from tests.claims.channel import handoff
from tests.claims.evidence import Evidence, data
from tests.claims.scene import Connection, sockets
from tests.modes import in_all_modes


@in_all_modes
class SymmetryTests(ClaimTestCase):
    def test_claim_22(self) -> None:
        self.check()

    def test_claim_33(self) -> None:
        self.check()

    def check(self) -> None:
        links = self.check_links()
        glances, nodes = self.scene.glances, self.scene.lab.nodes
        seen = [(each.front, each.back, each.family) for each in glances]
        self.assertEqual(seen, list(product(nodes, nodes, (4, 6))))
        for each in glances:
            self.check_roles(each)
        local = sum(each.front == each.back for each in glances)
        self.tell(
            f"{len(nodes)} nodes, {links} control connections, one for each pair; every node "
            f"handed off to every other ({len(glances) - local} connections) and to itself "
            f"({local}), over IPv4 and IPv6, and the node asked was the one that answered"
        )

    def check_links(self) -> int:
        """
        Each two nodes have one connection, and both say it is up.

        @return: how many there are.
        """
        lab, links = self.scene.lab, 0
        known = {node: lab.query(node, "peers")["peers"] for node in lab.nodes}
        lines = {node: sockets(lab, node).splitlines() for node in lab.nodes}
        for one, other in combinations(lab.nodes, 2):
            for node, peer in ((one, other), (other, one)):
                (state,) = (each["state"] for each in known[node] if each["node"] == peer)
                self.assertEqual(state, "up")
                there = [line for line in lines[node] if _joins(line, lab.address(peer, 4))]
                self.assertEqual(len(there), 1, there)
            links += 1
        return links

    def check_roles(self, connection: Connection) -> None:
        evidence = Evidence(self.scene, connection)
        asked = [
            (said.sender, said.receiver)
            for said in evidence.channel.asked(commands.Handoff)
            if (handoff(said).client.port, said.sender) == (connection.client[1], connection.front)
        ]
        pair = connection.front, connection.back
        remote = [pair] if pair[0] != pair[1] else []
        self.assertEqual(asked, remote)
        self.assertGreater(data(evidence.answered), 0)
        if remote:
            self.assertEqual(data(evidence.replied), 0)


def _joins(line: str, address: str) -> bool:
    """
    @return: whether a line of C{ss} is of a control connection with this address.
    """
    state, _, _, own, other = line.split()
    ports = own.rpartition(":")[2], other.rpartition(":")[2]
    return state == "ESTAB" and str(CONTROL_PORT) in ports and other.startswith(f"{address}:")
