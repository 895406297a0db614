# SPDX-License-Identifier: MIT
"""
The client's handshake and request, given to the local TCP as if they came now.
"""

from __future__ import annotations

from btcp.handoff.context import Context
from btcp.handoff.flows import AdoptedFlow
from btcp.wire.options import SynOptions, pack_timestamps
from btcp.wire.segment import ACK, PSH, RST, SYN, Segment
from btcp.wire.seqnum import add

_DEFAULT_MSS = 536
"""RFC 9293, 3.7.1: of a TCP that names none."""

_SMALLEST_MSS = 88
"""Octets; Linux's TCP_MIN_MSS: a SYN/ACK that says less says nonsense."""


_NEAR = 0
"""Milliseconds, rounded down: such a client has about the round-trip time of the replay itself."""


class Replay:
    """
    Plays the client towards the local TCP.

    The local TCP takes the time of the replayed handshake for the round-trip time to the client.
    To a client that is further away, it would send everything again before that can have answered,
    and BBR would believe for ten seconds that the path is that short.  So it is given the SYN of
    such a client twice: of a handshake in which it has sent the SYN/ACK again it takes no sample
    (RFC 6298, 3), and begins with the timeout for paths of which it knows nothing.
    """

    def __init__(self, context: Context) -> None:
        self._context = context

    def syn(self, flow: AdoptedFlow) -> None:
        """
        The client's own SYN, with those of its options that were agreed.
        """
        order = flow.order
        options = SynOptions(order.mss, order.client_scale, order.sack, order.tsval).pack()
        self._context.deliver(flow.inbound, order.irs, 0, SYN, order.window, options)
        if order.rtt != _NEAR:
            self._context.deliver(flow.inbound, order.irs, 0, SYN, order.window, options)
            flow.spare_syn_acks = 1

    def learn(self, flow: AdoptedFlow, syn_ack: Segment) -> bool:
        """
        Take from the local TCP's SYN/ACK what a splice needs.

        @return: whether it agrees to all that the front-end promised.
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
        @return: whether the kernel makes a connection like this without a handshake:
            C{bpf_sk_assign_tcp_reqsk} takes no MSS below the IP version's smallest.
        """
        return flow.order.mss >= (536 if len(flow.inbound) == 12 else 1220)

    def expect(self, flow: AdoptedFlow) -> None:
        """
        Of a connection that is to be admitted: the local TCP is to have the front-end's
        own numbers.
        """
        order = flow.order
        flow.isn, flow.scale = order.iss, order.front_scale
        # the client's MSS is what the local TCP sends; it takes what was promised
        flow.mss = self._context.promise.mtu - (40 if len(flow.inbound) == 12 else 60)
        # What TSecr is behind the local TCP's timestamp clock, which is going to begin with the
        # front-end's TSval, the kernel takes for its first sample of the round-trip time.
        if order.front_tsval >= 0:
            flow.tsecr = add(order.front_tsval, -max(order.rtt, 0))

    def request(self, flow: AdoptedFlow, handshake: bool = True) -> None:
        """
        The ACK that completes the handshake, then the stored request.

        @param handshake: there was one, so it has to be completed.
        """
        order = flow.order
        seq, ack = add(order.irs, 1), add(flow.isn, 1)
        window = max(order.window >> max(order.client_scale, 0), 1)
        stamps = pack_timestamps(order.tsval, flow.tsecr) if order.front_tsval >= 0 else b""
        if handshake:
            # An echo would be a sample of the replay's time as well; zero is none.
            first = stamps if order.rtt == _NEAR else stamps[:-4] + bytes(len(stamps[-4:]))
            self._context.deliver(flow.inbound, seq, ack, ACK, window, first)
        size = max(flow.mss, _SMALLEST_MSS) - len(stamps)
        for start in range(0, len(order.request), size):
            piece = order.request[start : start + size]
            flags = ACK | PSH if start + size >= len(order.request) else ACK
            self._context.deliver(flow.inbound, add(seq, start), ack, flags, window, stamps, piece)

    def probe(self, flow: AdoptedFlow, seq: int) -> None:
        """
        The client's keep-alive, were it to send one: the local TCP answers it, with
        a reset if it does not have the connection (RFC 9293, 3.8.4).

        @param seq: what the local TCP expects next.
        """
        self._context.deliver(flow.inbound, add(seq, -1), add(flow.isn, 1), ACK)

    def reset(self, flow: AdoptedFlow, seq: int) -> None:
        """
        The client's reset, were it to send one.

        @param seq: what the local TCP expects next; it believes no other
            (RFC 5961, 3.2).
        """
        self._context.deliver(flow.inbound, seq, 0, RST)
