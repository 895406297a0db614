# SPDX-License-Identifier: MIT
"""
What the control channel needs of the node that it speaks for.
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
    What is used of C{btcp.config.Node}.
    """

    @property
    def addresses(self) -> Sequence[bytes]: ...

    @property
    def control(self) -> tuple[str, int]: ...


class ControlSettings(Protocol):
    """
    What is used of C{btcp.config.Control}.
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
    What is used of C{btcp.config.Config}.
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
    The node that L{Peers<btcp.control.peers.Peers>} speaks for.
    """

    def peer_up(self, node: str, epoch: int, capabilities: Capabilities) -> None:
        """
        C{node} can be spoken to.
        """

    def peer_down(self, node: str) -> None:
        """
        It cannot any more; all handoffs in flight to it were answered with
        C{LINK_LOST} just before.  Not called when this node stops.
        """

    def handoff(self, node: str, message: messages.Handoff) -> Deferred[messages.Adopted]:
        """
        C{node} asks to adopt a connection.  Fails with
        L{HandoffRefused<btcp.control.commands.HandoffRefused>}.
        """

    def terminate(self, node: str, records: list[messages.Terminate]) -> int:
        """
        C{node} says that flows are over.

        @return: how many of them are unknown.
        """

    def named(self, node: str, numbers: list[int], more: bool) -> Owned:
        """
        C{node} names flows of which it is the front-end and this node the back-end.

        @param more: there are others.
        @return: which of them are not here.
        """

    def report(self) -> NodeReport:
        """
        @return: how this node is; asked with every heartbeat.
        """

    def reported(self, node: str, report: NodeReport) -> None:
        """
        How C{node} is, by its own account.
        """

    def decided(self, node: str, decision: Decision) -> None:
        """
        What C{node} heard an operator say.
        """

    def express(self, node: str, word: Word) -> None:
        """
        What C{node} says of connections that the core does not know.
        """
