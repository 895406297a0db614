# SPDX-License-Identifier: MIT
"""
Delivery of the core's messages to other nodes, and of their answers to the core.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from twisted.logger import Logger
from twisted.python.failure import Failure

from btcp.control.peers import Peers
from btcp.handoff.actions import Action, Send
from btcp.handoff.bottom import BottomTcp
from btcp.handoff.messages import PROBER, Adopted, Reason, Refused, Terminate
from btcp.health.handoff_probe import HandoffProbe

log = Logger()


class Outbound:
    """
    Executor of the action L{Send}.
    """

    def __init__(
        self,
        core: BottomTcp,
        clock: Callable[[], float],
        perform: Callable[[list[Action]], None],
        peers: Peers,
        probe: HandoffProbe,
    ) -> None:
        """
        @param clock: returns monotonic seconds.
        @param perform: executes actions of the core.
        @param probe: receives the messages for L{PROBER}, which is not a node.
        """
        self._core = core
        self._clock = clock
        self._perform = perform
        self._peers = peers
        self._probe = probe

    def __call__(self, action: Send) -> None:
        """
        Send a message to a node.
        """
        node, message = action.node, action.message
        if isinstance(message, Terminate) and node == PROBER:
            self._probe.ended(message.id, message.reason)
        elif isinstance(message, Terminate):
            self._peers.terminate(node, message)
        else:
            answered = self._peers.hand_off(node, message)
            answered.addCallback(partial(self._answered, node))
            answered.addErrback(_unexpected)

    def _answered(self, node: str, answer: Adopted | Refused) -> None:
        if isinstance(answer, Refused) and answer.reason is Reason.LINK_LOST:
            # The node may have received the handoff and may be sending the response.  The core
            # decides when the link's grace period or the handoff's timeout is over.
            return
        self._perform(self._core.answer(node, answer, self._clock()))


def _unexpected(failure: Failure) -> None:
    log.failure("exception while processing the answer to a handoff", failure=failure)
