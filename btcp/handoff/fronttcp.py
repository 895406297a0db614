# SPDX-License-Identifier: MIT
"""
The little TCP of a front-end: enough to be a correct peer until the handoff.

It sends a SYN/ACK, acknowledgments, at most one segment of data, and resets; so
most of RFC 9293's variables are constants here.
"""

from __future__ import annotations

from btcp.handoff.context import Context
from btcp.handoff.flows import AcceptedFlow
from btcp.handoff.reassembly import SLACK, WINDOW
from btcp.wire.options import SynOptions, timestamps
from btcp.wire.segment import ACK, RST, SYN, Segment, reversed_key
from btcp.wire.seqnum import add, distance, in_window, latest

_OLD = 65_536
"""Octets before RCV.NXT that may be segments sent again; what lies further back is
from nowhere."""


class FrontTcp:
    """
    Speaks for connections that are still the front-end's own.
    """

    def __init__(self, context: Context) -> None:
        self._context = context

    def open(self, flow: AcceptedFlow) -> None:
        """
        Decide what to promise: what the client offers and every node can keep.
        """
        offered, context = flow.offered, self._context
        can = context.promise
        stamps = can.timestamps and offered.tsval >= 0
        scaling = can.window_scaling and offered.scale >= 0
        flow.promised = SynOptions(
            mss=can.mtu - (40 if len(flow.key) == 12 else 60),
            scale=context.settings.window_scale if scaling else -1,
            sack=can.sack and offered.sack,
            tsval=context.timestamp(flow.back) if stamps else -1,
            tsecr=offered.tsval if stamps else 0,
        )
        self._begin(flow, flow.promised.tsval)

    def resume(self, flow: AcceptedFlow, front_tsval: int) -> None:
        """
        Go on where the datapath's handshake ended: what was agreed is what it says that
        the client offered.

        @param front_tsval: the TSval of the SYN/ACK.
        """
        offered, context = flow.offered, self._context
        flow.promised = SynOptions(
            mss=context.promise.mtu - (40 if len(flow.key) == 12 else 60),
            scale=context.settings.window_scale if offered.scale >= 0 else -1,
            sack=offered.sack,
            tsval=front_tsval,
        )
        self._begin(flow, front_tsval)

    def _begin(self, flow: AcceptedFlow, front_tsval: int) -> None:
        flow.tsval, flow.front_tsval = flow.offered.tsval, front_tsval
        flow.clock = front_tsval - self._context.ticks()
        flow.edge = add(flow.irs, 1 + WINDOW)
        flow.client_ack = add(flow.iss, 1)

    def syn_ack(self, flow: AcceptedFlow) -> None:
        """
        Send the SYN/ACK; the same each time.
        """
        options = flow.promised.pack()
        self._context.transmit(flow.back, flow.iss, add(flow.irs, 1), SYN | ACK, WINDOW, options)

    def acknowledge(self, flow: AcceptedFlow) -> None:
        """
        Send an ACK of all that was received.
        """
        self.send(flow, flow.sent, ACK)

    def send(self, flow: AcceptedFlow, seq: int, flags: int, payload: bytes = b"") -> None:
        """
        Send a segment.
        """
        ack = add(flow.received, flow.client_fin)
        window = self._window(flow)
        self._context.transmit(flow.back, seq, ack, flags, window, self._stamps(flow), payload)

    def _window(self, flow: AcceptedFlow) -> int:
        """
        @return: the window field: what there is room for, but no less than was
            promised before (RFC 9293, 3.8.6), hence rounded up.
        """
        scale = max(flow.promised.scale, 0)
        left = max(WINDOW - len(flow.request.octets), distance(flow.received, flow.edge), 0)
        window = left + (1 << scale) - 1 >> scale
        flow.edge = add(flow.received, window << scale)
        return window

    def acceptable(self, flow: AcceptedFlow, segment: Segment) -> bool:
        """
        RFC 9293, 3.10.7.4, as far as a peer that was sent nothing but a SYN/ACK
        (and perhaps an answer) can tell.
        """
        context = self._context
        if not segment.flags & ACK or not in_window(
            segment.ack, add(flow.iss, 1), flow.answer_octets + 1
        ):
            context.count("dropped.unacceptable-ack")
            return False
        if not -_OLD < distance(flow.received, segment.seq) <= WINDOW + SLACK:
            context.count("dropped.outside-window")
            self.acknowledge(flow)
            return False
        if flow.tsval >= 0:
            stamps = timestamps(segment)
            if stamps is not None:
                flow.tsval = latest(flow.tsval, stamps[0])
        return True

    def keep_time(self, flow: AcceptedFlow) -> None:
        """
        Whoever sends next, sends a TSval from now on: a back-end that had the
        connection before may have sent any up to this one.
        """
        if flow.front_tsval >= 0:
            flow.front_tsval = latest(flow.front_tsval, add(self._context.ticks(), flow.clock))

    def reset(self, segment: Segment) -> None:
        """
        RFC 9293, 3.10.7.1: the reset of a segment that has no connection.
        """
        key = reversed_key(segment.key)
        if segment.flags & ACK:
            self._context.transmit(key, segment.ack, 0, RST)
        else:
            self._context.transmit(key, 0, segment.next, RST | ACK)

    def _stamps(self, flow: AcceptedFlow) -> bytes:
        self.keep_time(flow)
        return flow.stamps() if flow.front_tsval >= 0 else b""
