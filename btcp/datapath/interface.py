# SPDX-License-Identifier: MIT
"""
Interfaces between node, core and datapath.
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
"""A packed address and a port."""

Movement = Transmit | Deliver | PassPacket | Install | Remember | Remove | Admit | Retract


@frozen(slots=True)
class Identity:
    """
    The part of a node's identity that a daemon inherits together with the flows.

    @ivar epoch: the node's epoch.
    @ivar starts: the number of earlier daemons with this epoch.
    @ivar secret: 32 octets, the key of initial sequence numbers and timestamps.
    """

    epoch: int
    starts: int
    secret: bytes


AWAKE = ""
"""The name of the lease of this daemon itself, which is renewed while the daemon is running.  No
response may begin without it: the front-end would not learn of the response in time, and would hand
the connection to another node."""


@frozen(slots=True)
class Promise:
    """
    The options with which the datapath may answer SYNs without the core.

    @ivar capabilities: the TCP features that all nodes of the cluster support.
    @ivar window_scale: see L{btcp.handoff.context.Settings}.
    @ivar until: expiry in monotonic seconds; the daemon renews it while it is running.
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
    The part of L{btcp.handoff.bottom.BottomTcp} that a datapath calls.

    @ivar counters: the counters, which the datapath updates as well.
    """

    counters: Counter[str]

    def receive(self, segment: Segment, now: float) -> list[Action]:
        """
        Process a packet that has no flow entry, or whose flow entry has it punted.
        """

    def bounced(self, segment: Segment, now: float) -> list[Action]:
        """
        Process a packet that was delivered to the local TCP and not admitted.
        """

    def established(
        self, segment: Segment, beginning: bool, now: float, rtt: int = UNMEASURED
    ) -> list[Action]:
        """
        Process a packet of a connection whose handshake the datapath performed (L{Promise}).

        @param beginning: whether the packet has the client's first octets.
        @param rtt: the duration of the handshake in milliseconds, if C{beginning}.
        """

    def reported(self, reports: Iterable[Reported], now: float) -> list[Action]:
        """
        Process reports about flows that the datapath forwards by itself.
        """

    def too_big(self, message: PacketTooBig, now: float) -> list[Action]:
        """
        Process a "packet too big" error about a packet of a flow.
        """


class Shell(Protocol):
    """
    The executor of the core's actions.
    """

    def perform(self, actions: list[Action]) -> None:
        """
        Execute actions in order.
        """


class Capture(Protocol):
    """
    The host's configuration that diverts packets to the daemon and keeps them from the local TCP.
    """

    def set_up(self) -> None:
        """
        Install the configuration, replacing remains of an earlier start.

        @raise DatapathError: if the host does not support it; nothing is left installed.
        """

    def take_down(self) -> None:
        """
        Remove the configuration.
        """

    def leave(self) -> None:
        """
        Remove the parts of the configuration that a later daemon cannot use.
        """

    def verify(self) -> list[Repair]:
        """
        See L{Datapath.verify}.
        """

    def clear(self) -> bool:
        """
        Remove what a crashed daemon left.  The caller has made sure that no other daemon runs.

        @return: whether there was anything to remove.
        """


class Datapath(Protocol):
    """
    A datapath: passes packets to the core, sends and delivers packets, and forwards packets by
    installed flow entries.
    """

    def start(self, core: Core, shell: Shell) -> None:
        """
        Configure the host and start.

        @raise DatapathError: if the host lacks something; nothing is left configured.
        """

    def halt(self) -> None:
        """
        Stop forwarding by flow entries and pass all packets to the core, which is about to end all
        flows.  The statistics of flow entries are final.
        """

    def stop(self) -> None:
        """
        Undo all changes of L{start} to the host.
        """

    def leave(self) -> None:
        """
        Stop, but leave what forwards packets by flow entries in place for a later daemon, if
        possible.
        """

    def relics(self) -> list[Relic]:
        """
        Return the flow entries that an earlier daemon left.  To be called once, after L{start}.
        """

    def perform(self, movement: Movement) -> None:
        """
        Execute an action of the core.
        """

    def renew(self, promise: Promise | None, leases: Mapping[str, float]) -> None:
        """
        Renew the options of SYN/ACKs and the leases.  To be called periodically, and when anything
        in them changes.

        @param promise: the options of SYN/ACKs; C{None} if the datapath must not answer SYNs.
        @param leases: expiry, in monotonic seconds, of each front-end's lease, until which it
            waits for responses (see L{Route.lease<btcp.handoff.route.Route.lease>}), and of
            L{AWAKE}.
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
        Update the core's counters with those kept outside the process.  To be called before
        counters are read.
        """


class DatapathError(Exception):
    """
    A host that lacks something that the datapath needs; the text names it.
    """


class DeviceMissing(DatapathError):
    """
    The device that faces the cluster does not exist at present; it may be made again.
    """
