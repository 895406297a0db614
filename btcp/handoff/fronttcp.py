# SPDX-License-Identifier: MIT
"""
A minimal TCP for the front-end, which is a correct peer until the handoff.

It sends SYN/ACKs, acknowledgments, at most one segment of data, and resets, so most variables of
RFC 9293 are constants.
"""

from __future__ import annotations

from btcp.handoff.context import Context
from btcp.handoff.flows import AcceptedFlow
from btcp.handoff.reassembly import SLACK, WINDOW
from btcp.wire.options import SynOptions, timestamps
from btcp.wire.segment import ACK, RST, SYN, Segment, reversed_key
from btcp.wire.seqnum import add, distance, in_window, latest

_OLD = 65_536
"""Octets before RCV.NXT in which a retransmitted segment may begin; older ones are invalid."""


class FrontTcp:
    """
    Sender of segments on connections that have not been handed off.
    """

    def __init__(self, context: Context) -> None:
        self._context = context

    def open(self, flow: AcceptedFlow) -> None:
        """
        Choose the options of the SYN/ACK: those that the client offers and all nodes support.
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
        Initialise a flow whose handshake the datapath performed.  C{flow.offered} has only options
        that were negotiated.

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
        Send the SYN/ACK; retransmissions are identical.
        """
        options = flow.promised.pack()
        self._context.transmit(flow.back, flow.iss, add(flow.irs, 1), SYN | ACK, WINDOW, options)

    def acknowledge(self, flow: AcceptedFlow) -> None:
        """
        Send an ACK for everything received in order.
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
        Compute the window field: the free space, but never less than what was offered before
        (RFC 9293, 3.8.6), and therefore rounded up to the scale.
        """
        scale = max(flow.promised.scale, 0)
        left = max(WINDOW - len(flow.request.octets), distance(flow.received, flow.edge), 0)
        window = left + (1 << scale) - 1 >> scale
        flow.edge = add(flow.received, window << scale)
        return window

    def acceptable(self, flow: AcceptedFlow, segment: Segment) -> bool:
        """
        Check a segment's acknowledgment and sequence numbers (RFC 9293, 3.10.7.4), given that only
        a SYN/ACK and maybe a response were sent.

        @return: whether the segment is acceptable; an unacceptable sequence number is answered
            with an ACK.
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
        Advance the flow's TSval to the present: a back-end that had the connection before may have
        sent any TSval up to this one.
        """
        if flow.front_tsval >= 0:
            flow.front_tsval = latest(flow.front_tsval, add(self._context.ticks(), flow.clock))

    def reset(self, segment: Segment) -> None:
        """
        Send the reset that answers a segment without a connection (RFC 9293, 3.10.7.1).
        """
        key = reversed_key(segment.key)
        if segment.flags & ACK:
            self._context.transmit(key, segment.ack, 0, RST)
        else:
            self._context.transmit(key, 0, segment.next, RST | ACK)

    def _stamps(self, flow: AcceptedFlow) -> bytes:
        self.keep_time(flow)
        return flow.stamps() if flow.front_tsval >= 0 else b""
