# SPDX-License-Identifier: MIT
"""
What the other nodes say to this one, and what becomes of their flows when a link is lost.
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
from btcp.node.leases import Upkeep

log = Logger()


class PeerHandler:
    """
    See L{btcp.control.controlled.IControlled}.
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
        upkeep: Upkeep,
        timeouts: Callable[[], Timeouts],
        returning: Callable[[str], bool],
        running: Callable[[], bool],
        express: Express | None,
    ) -> None:
        """
        @param clock: monotonic seconds.
        @param perform: does what the core wants done.
        @param timeouts: as they are in service.
        @param returning: whether a node, to which the link was just lost, may be expected
            to come back with its flows.
        @param running: whether this node takes connections.
        @param express: if connections are handed off without the core.
        """
        self._reactor = reactor
        self._clock = clock
        self._core = core
        self._perform = perform
        self._membership = membership
        self._placement = placement
        self._upkeep = upkeep
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
        A peer asks us to adopt a connection.
        """
        if not self._running():
            return fail(HandoffRefused(Reason.STOPPING))
        reply: Deferred[Adopted] = Deferred()
        self._replies.setdefault((node, message.id), []).append(reply)
        self._perform(self._core.handoff(node, message, self._clock()))
        return reply

    def reply(self, action: Reply) -> None:
        """
        The core has its answer to that.
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
        A peer says that flows are over.

        @return: how many of them are unknown here.
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
        A peer names flows of which it is the front-end and we are the back-end.
        """
        answer, actions = self._core.named(node, numbers, more, self._clock())
        self._perform(actions)
        return answer

    # -- links ----------------------------------------------------------------

    def peer_up(self, node: str, epoch: int, capabilities: Capabilities) -> None:
        """
        The link to a peer is up.
        """
        pending = self._grace.pop(node, None)
        if pending is not None:
            pending.cancel()
        if self._epochs.get(node, epoch) != epoch:
            self._lose(node, restarted=True)
        self._epochs[node] = epoch
        self._upkeep.fronts.add(node)
        self._membership.link_up(node, epoch)
        self._placement.join(node)
        self._perform(self._core.peer_up(node, capabilities, self._clock()))
        self._upkeep.renew()
        if self._express is not None:
            self._express.peer_up(node)

    def peer_down(self, node: str) -> None:
        """
        The link to a peer is down; its flows are kept for a while.
        """
        self._membership.link_down(node)
        self._placement.leave(node)
        if self._express is not None:
            self._express.peer_down(node)
        self._drop_replies(node)
        self._upkeep.renew()
        self._perform(self._core.peer_down(node, self._clock()))
        timeouts = self._timeouts()
        returning = self._returning(node)
        self.wait_for(node, timeouts.restart_grace if returning else timeouts.link_grace)

    def wait_for(self, node: str, grace: float) -> None:
        """
        Give up a node's flows if the link to it is not there in time.

        @param grace: seconds.
        """
        self._grace[node] = self._reactor.callLater(grace, self._grace_over, node)

    def stop(self) -> None:
        """
        Wait for nobody any more.
        """
        for call in self._grace.values():
            if call.active():
                call.cancel()

    def _grace_over(self, node: str) -> None:
        self._grace.pop(node, None)
        log.warn("link to {node} stays down: its flows are lost", node=node)
        self._lose(node)

    def _lose(self, node: str, restarted: bool = False) -> None:
        self._drop_replies(node)
        self._perform(self._core.peer_lost(node, self._clock(), restarted))
        if self._express is not None:
            self._express.peer_lost(node)

    def express(self, node: str, word: Word) -> None:
        """
        What a peer says of connections that the core does not know.
        """
        if self._express is not None:
            self._express.said(node, word)

    # -- how the nodes are ----------------------------------------------------

    def report(self) -> NodeReport:
        """
        @return: how this node is.
        """
        return self._membership.report()

    def reported(self, node: str, report: NodeReport) -> None:
        """
        How a node is, by its own account.
        """
        self._membership.reported(node, report)

    def decided(self, node: str, decision: Decision) -> None:
        """
        What a peer heard an operator say.
        """
        self._membership.decided(node, decision)
