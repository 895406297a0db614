# SPDX-License-Identifier: MIT
"""
What the node, the core and a datapath ask of each other.
"""

from __future__ import annotations

from collections import Counter
from typing import Protocol

from btcp.handoff.actions import (
    Action,
    Admit,
    Deliver,
    Install,
    PassPacket,
    Remove,
    Retract,
    Transmit,
)
from btcp.wire.icmp import PacketTooBig
from btcp.wire.segment import Segment

End = tuple[bytes, int]
"""Packed address, and port."""

Movement = Transmit | Deliver | PassPacket | Install | Remove | Admit | Retract


class Core(Protocol):
    """
    Who decides about packets; see L{btcp.handoff.bottom.BottomTcp}.

    @ivar counters: shared, so that all that happened to packets is in one place.
    """

    counters: Counter[str]

    def receive(self, segment: Segment, now: float) -> list[Action]:
        """
        A packet that no route takes, or that its route wants seen.
        """

    def bounced(self, segment: Segment, now: float) -> list[Action]:
        """
        A packet that was delivered, and not admitted.
        """

    def too_big(self, message: PacketTooBig, now: float) -> list[Action]:
        """
        An ICMP message about a packet of a flow.
        """


class Shell(Protocol):
    """
    Who has the core's actions done.
    """

    def perform(self, actions: list[Action]) -> None:
        """
        Do them, in order.
        """


class Capture(Protocol):
    """
    Brings packets to the daemon, and keeps them from a TCP that does not know them.
    """

    def set_up(self) -> None:
        """
        Begin, whatever an earlier start may have left behind.

        @raise DatapathError: if the host cannot; nothing is left behind.
        """

    def take_down(self) -> None:
        """
        Undo it.
        """

    def clear(self) -> None:
        """
        Undo what a crash left behind, if anything; the daemon that is to begin has
        made sure that it is the only one.
        """


class Datapath(Protocol):
    """
    Delivers what the core must see; sends; moves the packets of installed routes
    by itself; forgets them again.
    """

    def start(self, core: Core, shell: Shell) -> None:
        """
        Set up what is needed in the host and begin.

        @raise DatapathError: if the host lacks something; nothing is left behind.
        """

    def stop(self) -> None:
        """
        Undo everything that L{start} did to the host.
        """

    def perform(self, movement: Movement) -> None:
        """
        Do one of the core's actions.
        """

    def refresh(self) -> None:
        """
        Bring those of the core's counters up to date that are kept elsewhere; to be
        called before they are read.
        """


class DatapathError(Exception):
    """
    The host does not let us move packets; the text says what is missing.
    """
