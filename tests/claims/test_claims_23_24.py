# SPDX-License-Identifier: MIT
"""
Claims 23 and 24: nodes on one LAN, content partitioned or partially replicated over them.
"""

from __future__ import annotations

from collections import Counter

from btcp.lab.topology import CLIENT, ORIGIN_PORT, SHARED, url
from tests.claims.case import ClaimTestCase
from tests.modes import in_all_modes

_ROUNDS = 2


@in_all_modes
class PlacementTests(ClaimTestCase):
    def test_claim_23(self) -> None:
        """
        One LAN, partitioned content.
        """
        lab, packets = self.scene.lab, self.check_lan()
        served = {(node, part): self.status(node, part) for node in lab.nodes for part in lab.nodes}
        should = {pair: 200 if pair[0] == pair[1] else 404 for pair in served}
        self.assertEqual(served, should)
        self.tell(
            f"{packets} packets went from front-end to back-end in one Ethernet hop, IPv4 and "
            f"IPv6; of the parts {', '.join(f'/{node}/' for node in lab.nodes)} each is on one "
            f"node only (the {len(served) - len(lab.nodes)} other origins say 404), and every "
            f"front-end gave all of them"
        )

    def check_lan(self) -> int:
        """
        What front-ends forward goes straight to the hardware address of the back-end.

        @return: how many packets went.
        """
        packets, addresses = 0, self.scene.addresses
        for evidence in (*self.handed_off(0), *self.handed_off(1)):
            it = evidence.connection
            hop = addresses[it.front, "eth0"], addresses[it.back, "eth0"]
            for each in evidence.forwarded:
                self.assertEqual((each.frame.src, each.frame.dst), hop)
            packets += len(evidence.forwarded)
        return packets

    def status(self, node: str, part: str) -> int:
        """
        What a node's origin itself says about a part of the content.
        """
        statuses = [
            self.curl("%{http_code}", url(node, family, f"/{part}/1k", ORIGIN_PORT))
            for family in (4, 6)
        ]
        self.assertEqual(statuses[0], statuses[1])
        return int(statuses[0])

    def curl(self, what: str, *urls: str) -> str:
        """
        @return: C{what}, as curl's C{--write-out}, of each URL.
        """
        quiet = [word for each in urls for word in ("-o", "/dev/null", each)]
        argv = ["curl", "-sS", "-m", "10", "-H", "Connection: close", "-w", what, *quiet]
        done = self.scene.lab.exec(CLIENT, argv)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.decode()

    def test_claim_24(self) -> None:
        """
        Partially replicated content.
        """
        lab = self.scene.lab
        counts: Counter[str] = Counter()
        for front in lab.nodes:
            for family in (4, 6):
                target = url(front, family, f"/{SHARED}/1k")
                times = _ROUNDS * len(lab.nodes)
                nodes = Counter(self.curl("%header{x-node} ", *[target] * times).split())
                self.assertEqual(nodes, dict.fromkeys(lab.nodes, _ROUNDS))
                counts += nodes
        shares = ", ".join(f"{node} {count}" for node, count in sorted(counts.items()))
        self.tell(
            f"{self.check_lan()} packets between nodes in one Ethernet hop; /{SHARED}/ is on all "
            f"{len(lab.nodes)} nodes while each other part is on one: {counts.total()} requests "
            f"for it, at every front-end over IPv4 and IPv6, were answered in turn by {shares}"
        )
