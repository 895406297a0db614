# SPDX-License-Identifier: MIT
"""
What the core says to other nodes, and what they answer.
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


class Sending:
    """
    Does L{Send}.
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
        @param clock: monotonic seconds.
        @param perform: does what the core wants done.
        @param probe: speaks for L{PROBER}, which is no node.
        """
        self._core = core
        self._clock = clock
        self._perform = perform
        self._peers = peers
        self._probe = probe

    def __call__(self, action: Send) -> None:
        """
        Say it.
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
            # The node may have the connection all the same, and may be answering:
            # the end of the link's grace, or of the handoff's time, decides.
            return
        self._perform(self._core.answer(node, answer, self._clock()))


def _unexpected(failure: Failure) -> None:
    log.failure("a handoff failed", failure=failure)
