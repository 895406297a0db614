# SPDX-License-Identifier: MIT
"""
One node, and a test that plays everybody else: packet by packet, word by word.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import evolve, frozen

from btcp.content.contract import RequestKey
from btcp.handoff.actions import Action, Blame, Note, Reply, Send, Witness
from btcp.handoff.bottom import BottomTcp
from btcp.handoff.context import Settings
from btcp.handoff.messages import Adopted, Capabilities, Handoff, Refused, Terminate
from btcp.handoff.reconcile import Owned
from btcp.wire.build import compose
from btcp.wire.segment import ACK, FIN, PSH, RST, SYN, Segment
from tests.simulation.cluster import CAPABILITIES, ORIGIN, PORT, of_kernel, packed
from tests.simulation.memory_datapath import MemoryDatapath

_NAMES = {SYN: "SYN", ACK: "ACK", FIN: "FIN", RST: "RST", PSH: "PSH"}

ADDRESSES = {
    "a": (packed("192.0.2.11"), packed("2001:db8:2::11")),
    "b": (packed("192.0.2.12"), packed("2001:db8:2::12")),
    "c": (packed("192.0.2.13"), packed("2001:db8:2::13")),
}
CLIENTS = packed("198.51.100.7"), packed("2001:db8:100::7")

Message = Handoff | Adopted | Refused | Terminate


@frozen(kw_only=True)
class Tcp:
    """
    What a segment means.  Tests take one as a template and change what differs.

    @ivar intact: its checksum is right.
    """

    key: bytes
    seq: int = 0
    ack: int = 0
    flags: int = ACK
    window: int = 0
    options: bytes = b""
    payload: bytes = b""
    intact: bool = True

    def pack(self) -> bytes:
        """
        @return: the packet.
        """
        numbers = self.seq % 2**32, self.ack % 2**32
        made = compose(
            self.key, *numbers, self.flags, self.window, self.options, self.payload
        ).buffer
        made[-1] ^= 0 if self.intact else 0xFF
        return bytes(made)

    @classmethod
    def read(cls, packet: bytes) -> Tcp:
        """
        @return: what the packet means.
        """
        segment = Segment(bytearray(packet), 0, len(packet))
        return cls(
            key=segment.key,
            seq=segment.seq,
            ack=segment.ack,
            flags=segment.flags,
            window=segment.window,
            options=packet[segment.tcp + 20 : segment.data],
            payload=bytes(segment.payload),
            intact=segment.intact(),
        )

    def but(self, **changes: Any) -> Tcp:
        """
        @return: the same, except for what is named.
        """
        return evolve(self, **changes)

    def __str__(self) -> str:
        names = "|".join(name for flag, name in _NAMES.items() if self.flags & flag)
        return f"<{names} seq={self.seq} ack={self.ack} size={len(self.payload)}>"


def place(key: RequestKey) -> list[str] | None:
    """
    C{/a/}, C{/b/}, C{/c/}: that node.  C{/r/}: b, then c.  C{/0/}: on nodes that are
    not there.  Nothing else is anywhere.
    """
    places = {"a": ["a"], "b": ["b"], "c": ["c"], "r": ["b", "c"], "0": []}
    return places.get(key.path[1:2])


class Script:
    """
    Node a, of which the peers b and c are there.

    @ivar now: seconds; a test moves it.
    @ivar sent: what went to the network since the last step.
    @ivar delivered: what the local TCP was given since the last step.
    @ivar said: to which peer which message was sent since the last step.
    @ivar passed: packets that are no TCP and went to the local host (C{True}) or the
        network, since the last step.
    @ivar notes: all that was to be put on record.
    @ivar told: what the shell was told of origins.
    """

    def __init__(self, capabilities: Capabilities = CAPABILITIES, **changes: Any) -> None:
        """
        @param changes: of the L{Settings}.
        """
        self.now = 1000.0
        self._daemons = 0
        own = ADDRESSES["a"]
        settings = Settings(
            node="a",
            listeners={address + PORT.to_bytes(2, "big"): "web" for address in own},
            origins={("web", 4): (own[0], ORIGIN), ("web", 6): (own[1], ORIGIN)},
            place=place,
            secret=b"sixteen octets!!",
        )
        self._settings = evolve(settings, **changes)
        self.core = BottomTcp(self._settings, capabilities)
        self.datapath = MemoryDatapath(lambda: self.now, self._transmit, self._deliver)
        self.datapath.start(self.core, self)
        self.notes: list[Note] = []
        self.told: list[Blame | Witness] = []
        self._forget()
        for peer in ("b", "c"):
            self.perform(self.core.peer_up(peer, CAPABILITIES, self.now))

    def take_over(self, *nodes: str) -> list[Tcp]:
        """
        The daemon is killed and another one begins, with no link to anybody.

        @param nodes: all that it knows of by now, if these are others.
        @return: as L{take}.
        """
        self._forget()
        # Numbers of an earlier daemon's flows must not return, however many daemons there were.
        self._daemons += 1
        settings = evolve(self._settings, first_number=self._daemons << 40)
        self.core = BottomTcp(settings, CAPABILITIES)
        self.datapath.leave()
        relics = [of_kernel(relic) for relic in self.datapath.relics()]
        routes = {relic.key: relic.route for relic in relics if relic.route is not None}
        self.datapath.routes.update(routes)
        self.datapath.start(self.core, self)
        self.perform(self.core.resume(relics, nodes or "abc", self.now))
        return self.sent

    def up(self, node: str) -> list[Tcp]:
        """
        The link to a peer comes up.

        @return: as L{take}.
        """
        return self.do(self.core.peer_up(node, CAPABILITIES, self.now))

    def named(self, node: str, *numbers: int, more: bool = False) -> Owned:
        """
        A front-end names flows that it has here.
        """
        self._forget()
        answer, actions = self.core.named(node, numbers, more, self.now)
        self.perform(actions)
        return answer

    def owned(
        self, node: str, closed: Sequence[int] = (), unknown: Sequence[int] = ()
    ) -> list[Tcp]:
        """
        A back-end answers what we named.

        @return: as L{take}.
        """
        answer = Owned(list(closed), list(unknown))
        return self.do(self.core.owned(node, answer, self.now))

    def _forget(self) -> None:
        self.sent: list[Tcp] = []
        self.delivered: list[Tcp] = []
        self.said: list[tuple[str, Message]] = []
        self.passed: list[tuple[bool, bytes]] = []

    # -- what a test does -----------------------------------------------------

    def take(self, packet: Tcp) -> list[Tcp]:
        """
        A packet comes, from the network or from the local TCP.

        @return: what is sent to the network.
        """
        return self.receive(packet.pack())

    def receive(self, packet: bytes) -> list[Tcp]:
        """
        As L{take}, of any octets.
        """
        self._forget()
        self.datapath.receive(packet)
        return self.sent

    def hear(self, node: str, message: Message) -> list[Tcp]:
        """
        A peer says something.

        @return: as L{take}.
        """
        self._forget()
        if isinstance(message, Handoff):
            self.perform(self.core.handoff(node, message, self.now))
        elif isinstance(message, Terminate):
            self.perform(self.core.terminate(node, [message], self.now)[1])
        else:
            self.perform(self.core.answer(node, message, self.now))
        return self.sent

    def wait(self, seconds: float) -> list[Tcp]:
        """
        Time passes; what is due is done when it is due.

        @return: as L{take}.
        """
        self._forget()
        end = self.now + seconds
        while (due := self.core.deadline()) <= end:
            self.now = max(due, self.now)
            self.perform(self.core.tick(self.now))
        self.now = end
        return self.sent

    def do(self, actions: list[Action]) -> list[Tcp]:
        """
        Anything else; C{actions} is what the core wants done then.

        @return: as L{take}.
        """
        self._forget()
        self.perform(actions)
        return self.sent

    def counted(self, name: str) -> int:
        """
        @return: a counter.
        """
        return self.core.counters[name]

    @property
    def empty(self) -> bool:
        """
        Nothing is remembered but, for a while, what the local TCP may still speak of.
        """
        core = self.core
        graves = core.adopter.flows.graves
        flows = len(core.acceptor.flows) + len(core.adopter.flows)
        waiting = core.deadline() < float("inf")
        if flows or self.datapath.memos or set(self.datapath.routes) != set(graves):
            return False
        return waiting == bool(graves)

    # -- what the core wants done ---------------------------------------------

    def perform(self, actions: list[Action]) -> None:
        """
        See L{btcp.datapath.interface.Shell}.
        """
        for action in actions:
            if isinstance(action, Note):
                self.notes.append(action)
            elif isinstance(action, Send | Reply):
                self.said.append((action.node, action.message))
            elif isinstance(action, Blame | Witness):
                self.told.append(action)
            else:
                self.datapath.perform(action)

    def _transmit(self, packet: bytes) -> None:
        self._out(packet, self.sent, local=False)

    def _deliver(self, packet: bytes) -> None:
        self._out(packet, self.delivered, local=True)

    def _out(self, packet: bytes, to: list[Tcp], *, local: bool) -> None:
        if packet[9 if packet[0] >> 4 == 4 else 6] == 6:
            to.append(Tcp.read(packet))
        else:
            self.passed.append((local, packet))
