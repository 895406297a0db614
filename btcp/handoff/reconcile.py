# SPDX-License-Identifier: MIT
"""
Two nodes that lost sight of each other agree on which flows they still have together.

The front-end names its flows at the back-end, in parts; the back-end says which of them
it does not have, and ends those of its own that were not named.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen

from btcp.handoff.accept import Acceptor
from btcp.handoff.adopt import Adopter
from btcp.handoff.flows import AcceptedFlow
from btcp.handoff.messages import Reason
from btcp.handoff.states import Accept, Adopt, Arrival


@frozen(slots=True)
class Owned:
    """
    Which of the flows that a front-end named its back-end does not have.

    @ivar closed: ended in order.
    @ivar unknown: it knows nothing of them.
    """

    closed: list[int]
    unknown: list[int]


class Reconciliation:
    """
    Both sides of it, for one node.
    """

    def __init__(self, acceptor: Acceptor, adopter: Adopter) -> None:
        self._acceptor = acceptor
        self._adopter = adopter
        # by front-end, what it has not named yet
        self._unnamed: dict[str, set[int]] = {}

    def at(self, back: str) -> list[int]:
        """
        @return: the flows that a back-end should have, or be about to have.
        """
        held = (Accept.HANDING_OFF, Accept.FORWARDING)
        return [flow.number for flow in self._acceptor.flows.at(back) if flow.state in held]

    def owned(self, back: str, answer: Owned) -> None:
        """
        A back-end does not have flows that we named.  Those it is asked to take, it has
        been asked for again.
        """
        for number in answer.closed:
            flow = self._flow(back, number, Accept.FORWARDING)
            if flow is not None:
                self._acceptor.step(flow, Arrival.TERMINATED, Reason.CLOSED)
        for number in answer.unknown:
            flow = self._flow(back, number, Accept.FORWARDING)
            if flow is not None:
                self._acceptor.lose(flow)

    def _flow(self, back: str, number: int, state: Accept) -> AcceptedFlow | None:
        flow = self._acceptor.flows.by_number.get(number)
        return flow if flow is not None and (flow.node, flow.state) == (back, state) else None

    def named(self, front: str, numbers: Iterable[int], more: bool) -> Owned:
        """
        A front-end names its flows at this node.

        @param more: there are others, in the next part.
        """
        flows = self._adopter.flows
        unnamed = self._unnamed.get(front)
        if unnamed is None:
            unnamed = {flow.order.id for flow in flows.of(front)}
        answer = Owned([], [])
        for number in numbers:
            unnamed.discard(number)
            flow = flows.by_order.get((front, number))
            if flow is None:
                answer.unknown.append(number)
            elif flow.state is Adopt.CLOSED:
                answer.closed.append(number)
        if more:
            self._unnamed[front] = unnamed
        else:
            self._unnamed.pop(front, None)
            self._adopter.forgotten(front, unnamed)
        return answer

    def interrupted(self, peer: str) -> None:
        """
        The link is down; the next time it begins anew.
        """
        self._unnamed.pop(peer, None)
