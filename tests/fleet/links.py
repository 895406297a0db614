# SPDX-License-Identifier: MIT
"""
What the control channel costs: real L{Peers<btcp.control.peers.Peers>}, all to all, on an
imagined network in virtual time.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from gc import collect
from time import process_time

from attrs import frozen
from twisted.protocols.amp import parseString

from tests.unit.test_control_commands import HANDOFF
from tests.unit.test_control_peers import Network, NodeConfig, adopted, four, termination

_BASE = 1
_PHASES = 8
_APART = 0.03
"""Seconds from one connection to the next: longer than a termination waits for others."""


def cluster(count: int) -> Network:
    """
    @return: nodes, all linked.
    """
    nodes = {
        f"n{number:03}": NodeConfig((four(_BASE + number),), (f"192.0.2.{_BASE + number}", 7311))
        for number in range(count)
    }
    network = Network(*nodes, nodes=nodes)
    for member in network.members.values():
        member.owner.said.clear()
    return network


class Wire:
    """
    Counts what is written on all links.
    """

    def __init__(self, network: Network) -> None:
        self._streams: list[bytearray] = []
        for _, pump in network.pumps:
            for transport in (pump.clientIO, pump.serverIO):
                self._streams.append(bytearray())
                transport.write = self._tapped(transport.write, self._streams[-1])

    @property
    def size(self) -> int:
        """
        Octets so far.
        """
        return sum(map(len, self._streams))

    @property
    def boxes(self) -> int:
        """
        Commands and answers so far.
        """
        return sum(len(parseString(bytes(stream))) for stream in self._streams)

    def _tapped(self, write: Callable[[bytes], None], stream: bytearray) -> Callable[[bytes], None]:
        def tapped(data: bytes) -> None:
            stream.extend(data)
            write(data)

        return tapped


@frozen
class Idle:
    """
    What one node has to do for one link on which nothing happens; a second.

    @ivar boxes: that it sends.
    @ivar octets: that it sends, before TLS.
    @ivar seconds: of CPU, and the imagined network's part.
    """

    boxes: float
    octets: float
    seconds: float


def idle(nodes: int, seconds: int) -> Idle:
    """
    Watch a cluster that has nothing to do.
    """
    network = cluster(nodes)
    ends = 2 * len(network.pumps)
    wire = Wire(network)
    began = process_time()
    network.advance(seconds, 1.0)
    spent = process_time() - began
    per = ends * seconds
    return Idle(wire.boxes / per, wire.size / per, spent / per)


@frozen
class Connection:
    """
    What one handed-off connection adds, both directions together.

    @ivar octets: on the wire, before TLS, with a request of C{request} octets.
    @ivar boxes: commands and answers.
    @ivar seconds: of CPU, both nodes together, and the imagined network's part.
    """

    boxes: float
    octets: float
    seconds: float
    request: int


def connection(count: int) -> Connection:
    """
    Hand connections off one by one, and end each before the next.
    """
    network = cluster(2)
    wire = Wire(network)
    a, b = (network[name] for name in sorted(network.members))
    began = process_time()
    for _ in range(count):
        a.peers.hand_off("n001", HANDOFF)
        network.settle()
        b.owner.pending.pop()[2].callback(adopted(HANDOFF))
        b.peers.terminate("n000", termination(front="n000"))
        network.advance(_APART)
    spent = process_time() - began
    quiet = _quiet(count)
    return Connection(
        (wire.boxes - quiet.boxes) / count,
        (wire.size - quiet.size) / count,
        spent / count,
        len(HANDOFF.request),
    )


def _quiet(count: int) -> Wire:
    """
    @return: what is said in the time of so many connections if there are none.
    """
    network = cluster(2)
    wire = Wire(network)
    for _ in range(count):
        network.advance(_APART)
    return wire


def detection() -> tuple[float, float]:
    """
    @return: the least and the most seconds from a host's death to its peer's noticing, with a
        heartbeat of one second.
    """
    found = []
    for phase in range(_PHASES):
        network = cluster(2)
        network.advance(5 + phase / _PHASES, 1 / _PHASES)
        network.deaf.add("n001")
        waited = 0.0
        while not network["n000"].owner.said:
            network.reactor.advance(0.01)
            network.settle()
            waited += 0.01
        found.append(waited)
    return min(found), max(found)


def memory(nodes: int) -> float:
    """
    @return: octets that one end of a link takes in Python's heap, without TLS.
    """
    collect()
    tracemalloc.start()
    try:
        network = cluster(nodes)
        collect()
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    return taken / (2 * len(network.pumps))
