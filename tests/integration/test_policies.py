# SPDX-License-Identifier: MIT
"""
Who answers, by which policy: three daemons, and a client that asks each of them.
"""

from __future__ import annotations

from collections import Counter

from btcp.lab.topology import CLIENT, CONTROL_PORT, NODES, addresses, url
from tests.integration.standing import ClusterTestCase

CLUSTER = NODES[:3]
HEAVY = "b"
CONFIG = {
    "nodes": {
        node: {
            "addresses": list(addresses(node)),
            "control": f"{addresses(node)[0]}:{CONTROL_PORT}",
            "weight": 200 if node == HEAVY else 100,
        }
        for node in CLUSTER
    },
    "partition": [
        {"path": "/shared/", "nodes": list(CLUSTER)},
        {"host": "turns.example", "path": "/", "nodes": list(CLUSTER), "policy": "round-robin"},
        {"host": "two.example", "path": "/", "nodes": list(CLUSTER), "policy": "least-loaded"},
    ],
    "policy": "consistent",
}
SECONDS = 10.0
"""Until a link is down or up."""

PLACES = tuple(f"h{number}.example" for number in range(12))


class PolicyTests(ClusterTestCase):
    """
    Of the policies that rules name.
    """

    prefix = "policy"
    config = CONFIG

    def answering(self, front: str, host: str) -> str:
        """
        @return: the node whose origin answers.
        """
        target = url(front, 4, "/shared/1k")
        told = ["-o", "/dev/null", "-w", "%{http_code} %header{x-node}", "-H", f"Host: {host}"]
        done = self.lab.exec(CLIENT, ["curl", "-sS", "-m", "20", *told, target])
        code, _, node = done.stdout.decode().partition(" ")
        self.assertEqual(code, "200", done.stderr)
        return node

    def test_consistent(self) -> None:
        """
        Every front-end sends the same content to the same node; when that one is gone, only
        what it had moves, and moves back when it is there again.
        """
        before = {host: self.answering("a", host) for host in PLACES}
        self.assertEqual(set(before.values()), set(CLUSTER))
        for front in CLUSTER[1:]:
            self.assertEqual({host: self.answering(front, host) for host in PLACES}, before)
        gone = "c"
        self.lab.stop_daemon(gone)
        self.await_that(lambda: not self.up("a", gone), SECONDS, lambda: self.lab.log("a"))
        for host, node in before.items():
            if node == gone:
                self.assertNotEqual(self.answering("a", host), gone)
            else:
                self.assertEqual(self.answering("a", host), node)
        self.lab.start_daemon(gone)
        self.await_that(lambda: self.up("a", gone), SECONDS, lambda: self.lab.log("a"))
        self.assertEqual({host: self.answering("a", host) for host in PLACES}, before)

    def up(self, node: str, peer: str) -> bool:
        """
        Whether a link stands.
        """
        peers = self.lab.query(node, "peers")["peers"]
        return any(each["node"] == peer and each["state"] == "up" for each in peers)

    def test_round_robin_by_weight(self) -> None:
        found = Counter(self.answering("a", "turns.example") for _ in range(8))
        self.assertEqual(found, {"a": 2, HEAVY: 4, "c": 2})

    def test_least_loaded(self) -> None:
        """
        Who has some gets no more until the others have theirs.  Of the two that are drawn each
        time none need be the emptiest, so it takes more than three.
        """
        found = {self.answering("a", "two.example") for _ in range(40)}
        self.assertEqual(found, set(CLUSTER))
