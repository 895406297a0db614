# SPDX-License-Identifier: MIT
"""
Replay of the client's handshake and request into the local TCP.
"""

from __future__ import annotations

from btcp.handoff.context import Context
from btcp.handoff.flows import AdoptedFlow
from btcp.wire.options import SynOptions, pack_timestamps
from btcp.wire.segment import ACK, PSH, RST, SYN, Segment
from btcp.wire.seqnum import add

_DEFAULT_MSS = 536
"""MSS of a TCP whose SYN/ACK has no MSS option (RFC 9293, 3.7.1)."""

_SMALLEST_MSS = 88
"""Smallest MSS that is used, Linux's TCP_MIN_MSS."""


_NEAR = 0
"""Round-trip time in milliseconds, rounded down, of clients as near as the replay itself."""


class Replay:
    """
    Sender of the client's segments to the local TCP.

    The local TCP measures the duration of the replayed handshake as the round-trip time to the
    client.  For a distant client it would retransmit before an acknowledgment can arrive, and BBR
    would use that value for ten seconds.  Therefore the SYN of a distant client is delivered twice:
    the local TCP takes no sample from a handshake with a retransmitted SYN/ACK (RFC 6298, 3), and
    begins with its initial timeout.
    """

    def __init__(self, context: Context) -> None:
        self._context = context

    def syn(self, flow: AdoptedFlow) -> None:
        """
        Deliver the client's SYN, with the options that were negotiated.
        """
        order = flow.order
        options = SynOptions(order.mss, order.client_scale, order.sack, order.tsval).pack()
        self._context.deliver(flow.inbound, order.irs, 0, SYN, order.window, options)
        if order.rtt != _NEAR:
            self._context.deliver(flow.inbound, order.irs, 0, SYN, order.window, options)
            flow.spare_syn_acks = 1

    def learn(self, flow: AdoptedFlow, syn_ack: Segment) -> bool:
        """
        Store the parameters of the local TCP's SYN/ACK in the flow.

        @return: whether the local TCP supports all options that the front-end negotiated.
        """
        order, options = flow.order, SynOptions.read(syn_ack)
        flow.isn = syn_ack.seq
        flow.scale = options.scale
        flow.mss = options.mss or _DEFAULT_MSS
        if order.front_tsval >= 0 and options.tsval >= 0:
            flow.tsecr = options.tsval
            flow.ts_delta = (order.front_tsval - options.tsval) & 0xFFFFFFFF
        return (
            (order.front_tsval < 0 or options.tsval >= 0)
            and (order.front_scale < 0 or options.scale >= 0)
            and (options.sack or not order.sack)
        )

    def can_admit(self, flow: AdoptedFlow) -> bool:
        """
        Return whether the kernel can adopt the connection by cookie:
        C{bpf_sk_assign_tcp_reqsk} refuses an MSS below the minimum of the IP version.
        """
        return flow.order.mss >= (536 if len(flow.inbound) == 12 else 1220)

    def expect(self, flow: AdoptedFlow) -> None:
        """
        Store the parameters of a connection that is adopted by cookie: the local TCP will use the
        front-end's sequence numbers.
        """
        order = flow.order
        flow.isn, flow.scale = order.iss, order.front_scale
        # the MSS that the SYN/ACK to the client had
        flow.mss = self._context.promise.mtu - (40 if len(flow.inbound) == 12 else 60)
        # The kernel takes the difference of its timestamp clock, which will begin with the
        # front-end's TSval, and TSecr as its first sample of the round-trip time.
        if order.front_tsval >= 0:
            flow.tsecr = add(order.front_tsval, -max(order.rtt, 0))

    def request(self, flow: AdoptedFlow, handshake: bool = True) -> None:
        """
        Deliver the ACK that completes the handshake, and then the request.

        @param handshake: whether there was a handshake, which needs the ACK.
        """
        order = flow.order
        seq, ack = add(order.irs, 1), add(flow.isn, 1)
        window = max(order.window >> max(order.client_scale, 0), 1)
        stamps = pack_timestamps(order.tsval, flow.tsecr) if order.front_tsval >= 0 else b""
        if handshake:
            # TSecr would give a sample of the replay's duration as well; 0 gives none.
            first = stamps if order.rtt == _NEAR else stamps[:-4] + bytes(len(stamps[-4:]))
            self._context.deliver(flow.inbound, seq, ack, ACK, window, first)
        size = max(flow.mss, _SMALLEST_MSS) - len(stamps)
        for start in range(0, len(order.request), size):
            piece = order.request[start : start + size]
            flags = ACK | PSH if start + size >= len(order.request) else ACK
            self._context.deliver(flow.inbound, add(seq, start), ack, flags, window, stamps, piece)

    def probe(self, flow: AdoptedFlow, seq: int) -> None:
        """
        Deliver a keep-alive probe in the client's name.  The local TCP answers it, with a reset if
        it does not have the connection (RFC 9293, 3.8.4).

        @param seq: the sequence number that the local TCP expects.
        """
        self._context.deliver(flow.inbound, add(seq, -1), add(flow.isn, 1), ACK)

    def reset(self, flow: AdoptedFlow, seq: int) -> None:
        """
        Deliver a reset in the client's name.

        @param seq: the sequence number that the local TCP expects; it ignores resets with any other
            (RFC 5961, 3.2).
        """
        self._context.deliver(flow.inbound, seq, 0, RST)
