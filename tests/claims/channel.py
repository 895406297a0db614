# SPDX-License-Identifier: MIT
"""
The control channel as it was on the wire: AMP boxes, read by Twisted's own AMP.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from attrs import frozen
from twisted.protocols import amp

from btcp.control import commands
from btcp.handoff.messages import Adopted, Handoff, Terminate
from btcp.lab.cluster import Lab
from btcp.lab.topology import CONTROL_PORT
from tests.claims.packets import MODULUS, Seen
from tests.claims.stage import End


@frozen(eq=False)
class Said:
    """
    One box.

    @ivar time: of the segment that completed it.
    @ivar sender: the node's name.
    @ivar receiver: the node's name.
    @ivar link: the ends of the TCP connection it travelled on, in order.
    @ivar box: as it was.
    """

    time: float
    sender: str
    receiver: str
    link: tuple[End, ...]
    box: amp.AmpBox

    def asks(self, command: type[amp.Command]) -> bool:
        return self.box.get(amp.COMMAND) == command.commandName


class _Stream(amp.BinaryBoxProtocol):
    """
    One direction of a connection, from a box's start on.
    """

    def __init__(self) -> None:
        self.boxes: list[amp.AmpBox] = []
        super().__init__(self)
        self._next: int | None = None
        self._early: dict[int, Seen] = {}

    def startReceivingBoxes(self, sender: Any) -> None:
        """
        Nothing is ever sent.
        """

    def ampBoxReceived(self, box: amp.AmpBox) -> None:
        self.boxes.append(box)

    def take(self, packet: Seen) -> list[amp.AmpBox]:
        """
        @return: the boxes that this segment completes.
        """
        self.boxes = []
        if self._next is None:
            self._next = packet.seq
        # Between the processors of one machine segments may overtake each other.
        self._early[packet.seq] = packet
        while (found := self._early.pop(self._next, None)) is not None:
            self._next = (self._next + len(found.payload)) % MODULUS
            self.dataReceived(found.payload)
        return self.boxes


class Channel:
    """
    What was said on all links of a node.

    @ivar said: in order.
    """

    def __init__(self, lab: Lab, packets: Iterable[Seen]) -> None:
        """
        @param packets: of one node's device; no box is under way when they begin.
        """
        names = {lab.address(node, family): node for node in lab.nodes for family in (4, 6)}
        streams: dict[tuple[End, End], _Stream] = {}
        self.said: list[Said] = []
        for packet in packets:
            ends = packet.source, packet.destination
            if packet.payload and CONTROL_PORT in (ends[0][1], ends[1][1]):
                sender, receiver = (names[address] for address, _ in ends)
                for box in streams.setdefault(ends, _Stream()).take(packet):
                    link = tuple(sorted(ends))
                    self.said.append(Said(packet.time, sender, receiver, link, box))

    def asked(self, command: type[amp.Command]) -> list[Said]:
        """
        All questions of a kind.
        """
        return [said for said in self.said if said.asks(command)]

    def answer(self, question: Said) -> Said:
        """
        What the other node answered.
        """
        tag = question.box[amp.ASK]
        (found,) = (
            said
            for said in self.said
            if tag in (said.box.get(amp.ANSWER), said.box.get(amp.ERROR))
            and (said.sender, said.receiver) == (question.receiver, question.sender)
        )
        return found

    def handoffs(self) -> list[tuple[Said, Handoff]]:
        """
        All requests to adopt a connection.
        """
        return [(said, handoff(said)) for said in self.asked(commands.Handoff)]

    def terminations(self) -> list[tuple[Said, Terminate]]:
        """
        All connections that a node said are over.
        """
        return [
            (said, record)
            for said in self.asked(commands.Terminate)
            for record in commands.Terminate.parseArguments(said.box, None)["records"]
        ]


def handoff(said: Said) -> Handoff:
    message: Handoff = commands.Handoff.parseArguments(said.box, None)["message"]
    return message


def adopted(said: Said) -> Adopted:
    message: Adopted = commands.Handoff.parseResponse(said.box, None)["adopted"]
    return message
