# SPDX-License-Identifier: MIT
"""
Processing of peers' messages and of changes of the links.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from btcp.cluster.membership import Membership
from btcp.cluster.placement import Placement
from btcp.cluster.state import Decision, NodeReport
from btcp.config import Timeouts
from btcp.control.commands import HandoffRefused
from btcp.control.express import Word
from btcp.express.service import Express
from btcp.handoff.actions import Action, Reply
from btcp.handoff.bottom import BottomTcp
from btcp.handoff.messages import Adopted, Capabilities, Handoff, Reason, Terminate
from btcp.handoff.reconcile import Owned
from btcp.node.leases import LeaseRenewal

log = Logger()


class PeerHandler:
    """
    Receiver of peers' messages and link events; passes them to the core, membership, placement
    and express.

    Implements L{btcp.control.controlled.IControlled}.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        clock: Callable[[], float],
        core: BottomTcp,
        perform: Callable[[list[Action]], None],
        *,
        membership: Membership,
        placement: Placement,
        leases: LeaseRenewal,
        timeouts: Callable[[], Timeouts],
        returning: Callable[[str], bool],
        running: Callable[[], bool],
        express: Express | None,
    ) -> None:
        """
        @param clock: returns monotonic seconds.
        @param perform: executes actions of the core.
        @param timeouts: returns the current timeouts.
        @param returning: returns whether a node whose link was just lost is expected to come back
            with its flows.
        @param running: returns whether this node accepts connections.
        @param express: the daemon's part in handoffs by the kernel; L{None} without them.
        """
        self._reactor = reactor
        self._clock = clock
        self._core = core
        self._perform = perform
        self._membership = membership
        self._placement = placement
        self._leases = leases
        self._timeouts = timeouts
        self._returning = returning
        self._running = running
        self._express = express
        self._epochs: dict[str, int] = {}
        self._grace: dict[str, IDelayedCall] = {}
        self._replies: dict[tuple[str, int], list[Deferred[Adopted]]] = {}

    # -- flows ----------------------------------------------------------------

    def handoff(self, node: str, message: Handoff) -> Deferred[Adopted]:
        """
        Process a handoff by a peer.

        @return: fires with the core's answer; fails with L{HandoffRefused}.
        """
        if not self._running():
            return fail(HandoffRefused(Reason.STOPPING))
        reply: Deferred[Adopted] = Deferred()
        self._replies.setdefault((node, message.id), []).append(reply)
        self._perform(self._core.handoff(node, message, self._clock()))
        return reply

    def reply(self, action: Reply) -> None:
        """
        Execute the action L{Reply}: send the core's answer to a handoff.
        """
        message = action.message
        for reply in self._replies.pop((action.node, message.id), ()):
            if isinstance(message, Adopted):
                reply.callback(message)
            else:
                reply.errback(HandoffRefused(message.reason))

    def _drop_replies(self, node: str) -> None:
        for key in [key for key in self._replies if key[0] == node]:
            for reply in self._replies.pop(key):
                reply.errback(HandoffRefused(Reason.LINK_LOST))

    def terminate(self, node: str, records: list[Terminate]) -> int:
        """
        Process a peer's report that flows have ended.

        @return: the number of flows that are unknown here.
        """
        unknown, actions = self._core.terminate(node, records, self._clock())
        self._perform(actions)
        return unknown

    def shared_with(self, node: str) -> list[int]:
        """
        See L{btcp.control.ownership.Reconciled}.
        """
        return self._core.shared_with(node)

    def owned(self, node: str, answer: Owned) -> None:
        """
        See L{btcp.control.ownership.Reconciled}.
        """
        self._perform(self._core.owned(node, answer, self._clock()))

    def named(self, node: str, numbers: list[int], more: bool) -> Owned:
        """
        Process a peer's list of flows of which it is the front-end and this node the back-end.

        @return: the ones that this node has.
        """
        answer, actions = self._core.named(node, numbers, more, self._clock())
        self._perform(actions)
        return answer

    # -- links ----------------------------------------------------------------

    def peer_up(self, node: str, epoch: int, capabilities: Capabilities) -> None:
        """
        Process a link that came up.

        @param epoch: the peer's epoch; a new one means that the peer's flows are lost.
        """
        pending = self._grace.pop(node, None)
        if pending is not None:
            pending.cancel()
        if self._epochs.get(node, epoch) != epoch:
            self._lose(node, restarted=True)
        self._epochs[node] = epoch
        self._leases.fronts.add(node)
        self._membership.link_up(node, epoch)
        self._placement.join(node)
        self._perform(self._core.peer_up(node, capabilities, self._clock()))
        self._leases.renew()
        if self._express is not None:
            self._express.peer_up(node)

    def peer_down(self, node: str) -> None:
        """
        Process a link that went down.  The peer's flows are kept for a grace period.
        """
        self._placement.leave(node)  # with the weight that it had
        self._membership.link_down(node)
        if self._express is not None:
            self._express.peer_down(node)
        self._drop_replies(node)
        self._leases.renew()
        self._perform(self._core.peer_down(node, self._clock()))
        timeouts = self._timeouts()
        returning = self._returning(node)
        self.wait_for(node, timeouts.restart_grace if returning else timeouts.link_grace)

    def wait_for(self, node: str, grace: float) -> None:
        """
        Abandon a node's flows unless the link to it comes up in time.

        @param grace: seconds.
        """
        self._grace[node] = self._reactor.callLater(grace, self._grace_over, node)

    def stop(self) -> None:
        """
        Cancel all grace periods.
        """
        for call in self._grace.values():
            if call.active():
                call.cancel()

    def _grace_over(self, node: str) -> None:
        self._grace.pop(node, None)
        log.warn("link to {node} was down for too long: its flows are lost", node=node)
        self._lose(node)

    def _lose(self, node: str, restarted: bool = False) -> None:
        self._drop_replies(node)
        self._placement.give_up(node)
        self._perform(self._core.peer_lost(node, self._clock(), restarted))
        if self._express is not None:
            self._express.peer_lost(node)

    def express(self, node: str, word: Word) -> None:
        """
        Process a peer's message about connections that its kernel or ours handed off.
        """
        if self._express is not None:
            self._express.said(node, word)

    # -- membership -------------------------------------------------------------

    def report(self) -> NodeReport:
        """
        Compose this node's report of itself.
        """
        return self._membership.report()

    def reported(self, node: str, report: NodeReport) -> None:
        """
        Process a peer's report of itself.
        """
        self._membership.reported(node, report)

    def decided(self, node: str, decision: Decision) -> None:
        """
        Process an operator's decision that a peer has sent.
        """
        self._membership.decided(node, decision)
