# SPDX-License-Identifier: MIT
"""
A node C{d} that serves nothing: it stands where the client is, and tells the others what an
operator is supposed to have said to it.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from btcp.cluster.state import Admin
from btcp.lab.cluster import Lab
from btcp.lab.topology import CLIENT, CONTROL_PORT, addresses, node_yaml
from tests.integration.standing import python

_NAME = "d"

# Says "up" for each node that it has a link to; then passes on each line that it reads.
_PROGRAM = """
import sys, time
from collections import Counter
from twisted.internet import reactor, stdio
from twisted.protocols.basic import LineReceiver
from btcp.config import load
from btcp.cluster.state import Admin, Decision, Health, NodeReport
from btcp.control.peers import Peers
from btcp.control.protection import protect
from btcp.handoff.messages import Capabilities
from btcp.handoff.reconcile import Owned

class Node(LineReceiver):
    delimiter = b"\\n"
    def lineReceived(self, line):
        node, subject, value = line.decode().split()
        # Greater than those before, of other processes too, and no more than nodes believe.
        stamp = {"counter": time.monotonic_ns() // 10_000_000, "by": "d"}
        self.peers.decide(Decision(node=node, subject=subject, value=value, **stamp))
    def connectionLost(self, reason):
        if reactor.running:
            reactor.stop()
    def peer_up(self, node, epoch, capabilities):
        print("up", node, flush=True)
    def peer_down(self, node):
        pass
    def report(self):
        nothing = {"fronts": 0, "backs": 0, "rate": 0, "cpu": None, "why": ""}
        return NodeReport(health=Health.UNCHECKED, state=Admin.READY, **nothing)
    reported = decided = lambda self, node, what: None
    terminate = lambda self, node, records: len(records)
    shared_with = lambda self, node: []
    named = lambda self, node, numbers, more: Owned([], numbers)
    owned = lambda self, node, answer: None

config, node, counters = load(sys.argv[1]), Node(), Counter()
can = Capabilities(mtu=1500, sack=True, timestamps=True, window_scaling=True)
node.peers = Peers(
    config, epoch=time.time_ns(), capabilities=can, owner=node, reactor=reactor,
    counters=counters, protection=protect(config.control, "d", reactor, counters),
)
node.peers.startService()
stdio.StandardIO(node)
reactor.run()
"""


def nodes(own: str = "abc") -> dict[str, object]:
    """
    @return: the section C{nodes} of a cluster that C{d} belongs to.
    """
    section: dict[str, object] = {}
    for name in (*own, _NAME):
        v4, v6 = addresses(CLIENT if name == _NAME else name)
        section[name] = {"addresses": [v4, v6], "control": f"{v4}:{CONTROL_PORT}"}
    return section


class Deciding:
    """
    The node while it runs.
    """

    def __init__(self, lab: Lab, config: Mapping[str, object]) -> None:
        """
        Start it and wait until it has a link to every node of the lab.
        """
        path = Path(lab.state) / f"{_NAME}.yaml"
        path.write_text(node_yaml(_NAME, lab.state, lab.nodes, config))
        self._process = lab.popen(CLIENT, python(_PROGRAM, path), stdin=subprocess.PIPE)
        assert self._process.stdout is not None
        linked = [self._process.stdout.readline() for _ in lab.nodes]
        if b"" in linked:
            raise AssertionError(self._process.communicate()[1].decode())

    def say(self, node: str, state: Admin) -> None:
        """
        What is wanted of a node.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(f"{node} state {state.value}\n".encode())
        self._process.stdin.flush()

    def end(self) -> None:
        """
        Stop it.
        """
        self._process.communicate(timeout=10)
