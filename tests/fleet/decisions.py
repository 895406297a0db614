# SPDX-License-Identifier: MIT
"""
What a decision costs.
"""

from __future__ import annotations

from itertools import islice
from time import process_time

from btcp.cluster.loads import Loads
from btcp.handoff.bottom import BottomTcp
from btcp.partition.contract import PolicyChoice, ReplicaSet, Snapshot
from btcp.partition.policy import POLICIES
from tests.fleet.content import key_of, names
from tests.simulation.cluster import CAPABILITIES
from tests.simulation.script import Script

_TIMES = 200
_ROUNDS = 5


def decision(choice: PolicyChoice, nodes: int) -> float:
    """
    @return: seconds of CPU to order a replica set of that many nodes; the best of some
        rounds, for all that disturbs makes it longer.
    """
    policy = POLICIES[choice.name](choice, "f")
    replicas = ReplicaSet(names(nodes), "/")
    loads = Loads()
    for number, node in enumerate(replicas.nodes):
        loads.report(node, number % 7)
    snapshot = Snapshot(dict.fromkeys(replicas.nodes, 100.0), loads)
    keys = iter(map(key_of, range(_TIMES * _ROUNDS)))
    rounds = []
    for _ in range(_ROUNDS):
        part = list(islice(keys, _TIMES))
        began = process_time()
        for key in part:
            policy.rank(replicas, key, snapshot)
        rounds.append((process_time() - began) / _TIMES)
    return min(rounds)


def arrivals(nodes: int) -> float:
    """
    @return: seconds of CPU for a core to hear of that many other nodes, one after the other.
    """
    core: BottomTcp = Script().core
    began = process_time()
    for name in names(nodes):
        core.peer_up(name, CAPABILITIES, 0.0)
    return process_time() - began
