# SPDX-License-Identifier: MIT
"""
Interfaces of the control channel to the node that it serves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from twisted.internet.defer import Deferred

from btcp.cluster.state import Decision, NodeReport
from btcp.control.express import Word
from btcp.control.ownership import Reconciled
from btcp.handoff import messages
from btcp.handoff.messages import Capabilities
from btcp.handoff.reconcile import Owned


class NodeAddresses(Protocol):
    """
    The part of C{btcp.config.Node} that the control channel uses.
    """

    @property
    def addresses(self) -> Sequence[bytes]: ...

    @property
    def control(self) -> tuple[str, int]: ...


class ControlSettings(Protocol):
    """
    The part of C{btcp.config.Control} that the control channel uses.
    """

    @property
    def heartbeat(self) -> float: ...


class TimeSettings(Protocol):
    """
    The part of C{btcp.config.Timeouts} that the control channel uses.
    """

    @property
    def handoff(self) -> float: ...


class Settings(Protocol):
    """
    The part of C{btcp.config.Config} that the control channel uses.
    """

    @property
    def node(self) -> str: ...

    @property
    def nodes(self) -> Mapping[str, NodeAddresses]: ...

    @property
    def control(self) -> ControlSettings: ...

    @property
    def timeouts(self) -> TimeSettings: ...


class IControlled(Reconciled, Protocol):
    """
    Receiver of the messages and link events of L{Peers<btcp.control.peers.Peers>}.
    """

    def peer_up(self, node: str, epoch: int, capabilities: Capabilities) -> None:
        """
        Process a link to C{node} that came up.
        """

    def peer_down(self, node: str) -> None:
        """
        Process the loss of the link to C{node}.  All outstanding handoffs to it have just been
        answered with C{LINK_LOST}.  Not called when this node stops.
        """

    def handoff(self, node: str, message: messages.Handoff) -> Deferred[messages.Adopted]:
        """
        Process a handoff by C{node}.

        @return: fires with the confirmation; fails with
            L{HandoffRefused<btcp.control.commands.HandoffRefused>}.
        """

    def terminate(self, node: str, records: list[messages.Terminate]) -> int:
        """
        Process C{node}'s notification that flows have ended.

        @return: the number of flows that are unknown here.
        """

    def named(self, node: str, numbers: list[int], more: bool) -> Owned:
        """
        Process C{node}'s list of flows of which it is the front-end and this node the back-end.

        @param more: whether further parts of the list follow.
        @return: the flows that this node does not have.
        """

    def report(self) -> NodeReport:
        """
        Return this node's report of itself; called with every heartbeat.
        """

    def reported(self, node: str, report: NodeReport) -> None:
        """
        Process C{node}'s report of itself.
        """

    def decided(self, node: str, decision: Decision) -> None:
        """
        Process an operator's decision that C{node} has sent.
        """

    def express(self, node: str, word: Word) -> None:
        """
        Process C{node}'s message about connections handed off by the kernel.
        """
