# SPDX-License-Identifier: MIT
"""
Responses by the front-end itself: one segment of data, and the close of the connection.
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
"""Initial retransmission timeout in seconds, which doubles (RFC 6298, for the round-trip time of a
nearby client), and number of transmissions."""

_KEPT = 5.0
"""Seconds to wait for the client's FIN after it has acknowledged the response."""


class Answering:
    """
    Sender of the front-end's own responses, with retransmission.
    """

    def __init__(self, context: Context, timers: Timers[AcceptedFlow], tcp: FrontTcp) -> None:
        self._context = context
        self._timers = timers
        self._tcp = tcp

    def begin(self, flow: AcceptedFlow, status: int, reason: str) -> None:
        """
        Begin a response.

        @param status: an HTTP status code; 0 closes the connection without a response.
        @param reason: the reason, one line of text.
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
        Process the expiry of the retransmission timer.

        @return: whether the flow must still be kept.
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
        Acknowledge and discard data that the client sends after the response.  A reset would make
        the client discard the response.

        @return: whether both sides have closed the connection.
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
