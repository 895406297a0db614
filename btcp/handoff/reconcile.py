# SPDX-License-Identifier: MIT
"""
Reconciliation of the flows that two nodes share, after the link between them was down.

The front-end lists its flows at the back-end, in parts; the back-end answers which of them it does
not have, and ends those of its own flows that the front-end has not listed.
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
    The listed flows that the back-end does not have.

    @ivar closed: numbers of flows that were closed normally.
    @ivar unknown: numbers of flows that it does not know.
    """

    closed: list[int]
    unknown: list[int]


class Reconciliation:
    """
    Both roles in the reconciliation, for one node.
    """

    def __init__(self, acceptor: Acceptor, adopter: Adopter) -> None:
        self._acceptor = acceptor
        self._adopter = adopter
        # front-end to the numbers of its flows that it has not listed yet
        self._unnamed: dict[str, set[int]] = {}

    def at(self, back: str) -> list[int]:
        """
        List the numbers of the flows that a back-end has, or was sent a handoff of.
        """
        held = (Accept.HANDING_OFF, Accept.FORWARDING)
        return [flow.number for flow in self._acceptor.flows.at(back) if flow.state in held]

    def owned(self, back: str, answer: Owned) -> None:
        """
        Process a back-end's answer: end or move the flows that it does not have.  Outstanding
        handoffs have been repeated already.
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
        Process a part of a front-end's list.

        @param more: whether further parts follow.
        @return: the listed flows that this node does not have.
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
        Discard an incomplete list, because the link is down.
        """
        self._unnamed.pop(peer, None)
