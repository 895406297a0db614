# SPDX-License-Identifier: MIT
"""
A host's TCP: connections, listening ports, resets for what belongs to neither.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from attrs import define, field

from btcp.handoff.messages import Handoff
from btcp.wire.build import compose
from btcp.wire.icmp import PacketTooBig
from btcp.wire.segment import ACK, RST, SYN, Malformed, Segment, flow_key, reversed_key
from tests.simulation.clock import Clock
from tests.simulation.tcp import Abilities, Connection, State

Program = Callable[[Connection], None]
"""Called whenever something happened to one of its connections."""


@define(eq=False)
class Listening:
    """
    @ivar start: makes the program of a new connection.
    @ivar full: the accept queue is: SYNs are dropped without a word.
    """

    can: Abilities
    start: Callable[[], Program]
    full: bool = False


@define(eq=False)
class Stack:
    """
    @ivar name: for complaints.
    @ivar send: takes each packet that leaves.
    @ivar connections: by the key of the packets that they receive.
    @ivar listening: by port.
    @ivar complaints: what peers did wrong.
    @ivar next_iss: what the next connection begins with; C{None} for a random number.
    @ivar bounce: takes packets that were to be admitted, and are not.
    @ivar tolerated: see L{tests.simulation.tcp.Host}.
    """

    name: str
    clock: Clock
    random: Random
    send: Callable[[Segment], None]
    connections: dict[bytes, Connection] = field(factory=dict)
    listening: dict[int, Listening] = field(factory=dict)
    complaints: list[str] = field(factory=list)
    next_iss: int | None = None
    tolerated: int = 0
    bounce: Callable[[bytes], None] = lambda packet: None
    _ever: set[bytes] = field(factory=set)
    _admitted: dict[bytes, Handoff] = field(factory=dict)
    _ports: int = 40_000

    # -- what programs do -----------------------------------------------------

    def connect(
        self,
        address: bytes,
        target: tuple[bytes, int],
        can: Abilities,
        program: Program,
        port: int | None = None,
    ) -> Connection:
        """
        @param address: of our own.
        @param port: of our own; C{None} for one not used yet.
        """
        if port is None:
            self._ports = port = self._ports + 1
        connection = self._make(flow_key(address, port, *target), can, program)
        connection.connect()
        return connection

    def _make(
        self, key: bytes, can: Abilities, program: Program, iss: int | None = None
    ) -> Connection:
        if iss is None:
            iss = self.random.getrandbits(32) if self.next_iss is None else self.next_iss

        def changed() -> None:
            program(connection)

        connection = Connection(self, key, can, iss, changed)
        self.connections[reversed_key(key)] = connection
        self._ever.add(reversed_key(key))
        return connection

    # -- what a datapath does -------------------------------------------------

    def admit(self, key: bytes, order: Handoff) -> None:
        """
        See L{tests.simulation.memory_datapath.Admission}.
        """
        self._admitted[key] = order

    def retract(self, key: bytes) -> None:
        """
        See L{tests.simulation.memory_datapath.Admission}.
        """
        del self._admitted[key]

    # -- what connections need ------------------------------------------------

    def output(self, segment: Segment) -> None:
        """
        See L{tests.simulation.tcp.Host}.
        """
        self.send(segment)

    def complain(self, what: str) -> None:
        """
        See L{tests.simulation.tcp.Host}.
        """
        self.complaints.append(f"{self.name}, {self.clock.now:.6f}: {what}")

    def remove(self, connection: Connection) -> None:
        """
        See L{tests.simulation.tcp.Host}.
        """
        key = reversed_key(connection.key)
        if self.connections.get(key) is connection:
            del self.connections[key]

    # -- packets --------------------------------------------------------------

    def receive(self, packet: bytes) -> None:
        """
        A packet for this host.
        """
        try:
            segment = Segment(bytearray(packet), 0, len(packet))
        except Malformed as problem:
            self._receive_other(packet, problem)
            return
        if not segment.intact():
            self.complain(f"a wrong checksum: {packet.hex()}")
            return
        connection = self.connections.get(segment.key)
        order = self._admitted.get(segment.key)
        if order is not None and (connection is None or connection.state is State.TIME_WAIT):
            self._admit(segment, packet, order)
            return
        fresh = segment.flags & (SYN | ACK | RST) == SYN
        if connection is not None and fresh and _is_over(connection, segment):
            self.remove(connection)
            connection.state = State.CLOSED
            connection = None
        if connection is not None:
            connection.receive(segment)
        elif fresh and segment.destination_port in self.listening:
            self._accept(segment)
        elif not segment.flags & RST:
            self._reset(segment)

    def _accept(self, syn: Segment) -> None:
        listening = self.listening[syn.destination_port]
        if not listening.full:
            key = reversed_key(syn.key)
            self._make(key, listening.can, listening.start()).accept(syn)

    def _admit(self, segment: Segment, packet: bytes, order: Handoff) -> None:
        listening = self.listening.get(segment.destination_port)
        if listening is None or segment.key in self.connections:
            self.bounce(packet)
        elif not listening.full:
            key = reversed_key(segment.key)
            connection = self._make(key, listening.can, listening.start(), order.iss)
            connection.admit(order)
            connection.receive(segment)

    def _reset(self, segment: Segment) -> None:
        key = reversed_key(segment.key)
        if segment.flags & ACK:
            self.output(compose(key, segment.ack, 0, RST, 0))
        else:
            self.output(compose(key, 0, segment.next, RST | ACK, 0))

    def _receive_other(self, packet: bytes, problem: Malformed) -> None:
        try:
            told = PacketTooBig(packet)
        except Malformed:
            self.complain(f"{problem}: {packet.hex()}")
            return
        connection = self.connections.get(told.client_key)
        if told.client_key not in self._ever:
            self.complain("an ICMP message about a connection that never was here")
        elif connection is not None:
            connection.path_is_narrow(int.from_bytes(packet[_MTU[packet[0] >> 4]], "big"))


_MTU = {4: slice(26, 28), 6: slice(44, 48)}
"""Where the message says what would fit."""


def _is_over(connection: Connection, syn: Segment) -> bool:
    """
    Whether a SYN may take the place of a connection in TIME-WAIT (RFC 6191).
    """
    return connection.state is State.TIME_WAIT and connection.replaceable_by(syn)
