# SPDX-License-Identifier: MIT
"""
The front-end answers by itself: one segment, and the end of the connection.
"""

from __future__ import annotations

from btcp.handoff import record
from btcp.handoff.actions import Event
from btcp.handoff.context import Context
from btcp.handoff.flows import AcceptedFlow
from btcp.handoff.fronttcp import FrontTcp
from btcp.handoff.timers import Timers
from btcp.wire.segment import ACK, FIN, PSH, RST, Segment
from btcp.wire.seqnum import add, distance

_TIMEOUT = 0.3
_TRIES = 6
"""Seconds before an answer is sent again, doubling; RFC 6298 with the round-trip
time that a LAN or a nearby client has."""

_KEPT = 5.0
"""Seconds we wait for the client's FIN once it has the answer."""


class Answering:
    """
    Sends answers, again if need be, until the client has them.
    """

    def __init__(self, context: Context, timers: Timers[AcceptedFlow], tcp: FrontTcp) -> None:
        self._context = context
        self._timers = timers
        self._tcp = tcp

    def begin(self, flow: AcceptedFlow, status: int, reason: str) -> None:
        """
        Answer.

        @param status: an HTTP status; 0 to close without a word.
        @param reason: one line for a person.
        """
        context = self._context
        flow.queue.clear()
        if status:
            context.count(f"answered.{status}")
            context.note(
                Event.ANSWERED,
                "answered {client} {request} {status}: {reason}",
                **record.request(flow),
                status=status,
                reason=reason,
            )
            flow.answer = flow.reader.answer(status, reason)
        flow.answer_octets = len(flow.answer) + 1
        flow.tries = 0
        self._send(flow)

    def repeat(self, flow: AcceptedFlow) -> bool:
        """
        The time is out.

        @return: whether there is still something to wait for.
        """
        if flow.answer_taken:
            return False
        flow.tries += 1
        if flow.tries < _TRIES:
            self._send(flow)
            return True
        self._context.transmit(flow.back, flow.sent, 0, RST)
        return False

    def drain(self, flow: AcceptedFlow, segment: Segment) -> bool:
        """
        What the client goes on sending is taken and thrown away, or it would
        never see the answer but a reset.

        @return: whether both sides are done.
        """
        if not self._tcp.acceptable(flow, segment):
            return False
        if segment.ack == flow.sent and not flow.answer_taken:
            flow.answer_taken = True
            self._timers.set(flow, self._context.now + _KEPT, self._context.now)
        if segment.size or segment.flags & FIN:
            if distance(segment.seq, flow.received) >= 0:
                flow.discard(segment)
            self._tcp.acknowledge(flow)
        return flow.client_fin and flow.answer_taken

    def _send(self, flow: AcceptedFlow) -> None:
        self._tcp.send(flow, add(flow.iss, 1), FIN | PSH | ACK, flow.answer)
        now = self._context.now
        self._timers.set(flow, now + _TIMEOUT * 2**flow.tries, now)
