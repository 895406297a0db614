# SPDX-License-Identifier: MIT
"""
What the node, the core and a datapath ask of each other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Protocol

from attrs import frozen

from btcp.handoff.actions import (
    Action,
    Admit,
    Deliver,
    Install,
    PassPacket,
    Remember,
    Remove,
    Retract,
    Transmit,
)
from btcp.handoff.memo import Relic
from btcp.handoff.messages import UNMEASURED, Capabilities
from btcp.handoff.route import Reported
from btcp.wire.icmp import PacketTooBig
from btcp.wire.segment import Segment

End = tuple[bytes, int]
"""Packed address, and port."""

Movement = Transmit | Deliver | PassPacket | Install | Remember | Remove | Admit | Retract


@frozen(slots=True)
class Identity:
    """
    Whose flows they are.

    @ivar epoch: of the node, kept by each daemon that takes its flows over.
    @ivar starts: how many daemons had the flows before.
    @ivar secret: 32 octets; initial sequence numbers and timestamps come from it.
    """

    epoch: int
    starts: int
    secret: bytes


AWAKE = ""
"""The name of the lease that this very daemon has: as long as it lasts, what a datapath does
without it is soon known to it.  A response that began while nobody was awake would be
unknown to the front-end, which asks another node when its time is up."""


@frozen(slots=True)
class Promise:
    """
    What clients may be told without asking the core.

    @ivar capabilities: what every node of the cluster can keep.
    @ivar window_scale: see L{btcp.handoff.context.Settings}.
    @ivar until: monotonic seconds; thereafter nobody may be there to keep it.
    """

    capabilities: Capabilities
    window_scale: int
    until: float


@frozen(slots=True)
class Repair:
    """
    Something of the datapath's in the host that was found removed or changed, and was restored.

    @ivar part: one word for it, for the counter C{host.repaired.PART}.
    @ivar found: its state before the repair, as a sentence for the log.
    """

    part: str
    found: str


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

    def established(
        self, segment: Segment, beginning: bool, now: float, rtt: int = UNMEASURED
    ) -> list[Action]:
        """
        A packet of a connection that the datapath established, by a L{Promise}.

        @param beginning: it has the very first octets.
        @param rtt: milliseconds that the handshake took, if C{beginning}.
        """

    def reported(self, reports: Iterable[Reported], now: float) -> list[Action]:
        """
        What the datapath saw of flows whose packets it moves by itself.
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

    def leave(self) -> None:
        """
        Undo it as far as the next daemon has no use for it.
        """

    def verify(self) -> list[Repair]:
        """
        See L{Datapath.verify}.
        """

    def clear(self) -> bool:
        """
        Undo what a crash left behind; the daemon that is to begin has made sure that it
        is the only one.

        @return: whether there was anything.
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

    def halt(self) -> None:
        """
        The core is about to end all flows: show it everything that comes from now on, and
        leave none of it unseen in L{stop}.  The accounts of routes stay as they are.
        """

    def stop(self) -> None:
        """
        Undo everything that L{start} did to the host.
        """

    def leave(self) -> None:
        """
        As L{stop}, but what moves the packets of installed routes is left in place for
        the next daemon, if it can be.
        """

    def relics(self) -> list[Relic]:
        """
        @return: what an earlier daemon left, to be asked for once, after L{start}.
        """

    def perform(self, movement: Movement) -> None:
        """
        Do one of the core's actions.
        """

    def renew(self, promise: Promise | None, leases: Mapping[str, float]) -> None:
        """
        To be called every now and then, and when anything in it changed.

        @param promise: what clients may be told; C{None} for nothing.
        @param leases: until when, in monotonic seconds, each front-end certainly
            waits for responses of ours, see L{Route.lease
            <btcp.handoff.route.Route.lease>}; and L{AWAKE}.
        """

    def verify(self) -> list[Repair]:
        """
        Compare what L{start} put into the host with what is there, and restore what is not.

        Cheap enough to be called each second.

        @return: what had to be restored.
        @raise DeviceMissing: if the device that faces the cluster does not exist at present.
        @raise DatapathError: if something cannot be restored.
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


class DeviceMissing(DatapathError):
    """
    The device that faces the cluster does not exist at present; it may be made again.
    """
