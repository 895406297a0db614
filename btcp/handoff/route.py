# SPDX-License-Identifier: MIT
"""
Flow entries: the rule by which a datapath forwards the packets of one direction of a flow, and the
statistics of that direction.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Protocol

from attrs import frozen

from btcp.handoff.splice import Rewriter
from btcp.wire.segment import FIN, RST, SYN, Segment

OPENING = SYN
BREAKING = SYN | RST
ENDING = SYN | FIN | RST
EVERYTHING = 0xFF


class Report(IntEnum):
    """
    An event that the datapath reports about a flow that it forwards by itself.

    @cvar TAKEN: the local TCP has acknowledged the request.
    @cvar FIN: the first FIN was forwarded.
    @cvar CLOSED: both FINs were acknowledged.
    """

    TAKEN = 0
    FIN = 1
    CLOSED = 2


@frozen(slots=True)
class Reported:
    """
    A report about a flow.

    @ivar key: the key of the local TCP's packets.
    @ivar what: the event.
    @ivar client_fin: the sequence number after the client's FIN, in the local TCP's numbers; 0 if
        there is none.
    @ivar server_fin: the sequence number after the local TCP's FIN; 0 if there is none.
    @ivar octets: the octets of data that were sent to the client.
    """

    key: bytes
    what: Report
    client_fin: int = 0
    server_fin: int = 0
    octets: int = 0


class Keeper(Protocol):
    """
    A forwarder outside the process, such as the kernel, which keeps a part of a flow entry's
    statistics.
    """

    def read(self) -> None:
        """
        Update the flow entry with the statistics.
        """

    def halt(self) -> None:
        """
        Stop forwarding by the entry, and L{read} its statistics.  A packet that is being forwarded
        at this moment may be missing in them.
        """


REACH = 1 << 24
"""Octets by which a packet may differ from the numbers of its flow entry and still move them: the
largest window in use, for a client that lost all of one is that far ahead."""


class Route:
    """
    A flow entry: one direction of a spliced flow.

    The core creates it and owns the rule; the datapath forwards packets by it and updates the
    statistics.

    @ivar key: the key of the packets that it is for.
    @ivar rewriter: the rewriting rule; C{None} if packets are not rewritten.
    @ivar local: whether packets are delivered to the local TCP; otherwise they are sent to the
        network.
    @ivar punt: TCP flags; packets with any of them are punted to the core instead of forwarded.
    @ivar used: when the last packet was forwarded, in monotonic seconds.
    @ivar packets: the number of packets forwarded.
    @ivar octets: the octets of data forwarded, including retransmissions.
    @ivar ack: the latest acknowledgment number forwarded, before rewriting.
    @ivar end: the sequence number after the latest data forwarded, before rewriting.
    @ivar progress: whether the acknowledgment number has advanced since the entry was created.
    @ivar follows: whether the datapath follows FINs by itself and reports them, see L{Report}.  It
        punts the packets that it does not forward.
    @ivar awaits: the acknowledgment number by which the local TCP confirms the request.  Until then
        the datapath forwards none of its packets; then it reports L{Report.TAKEN}.  C{None} if
        nothing is awaited.
    @ivar lease: the front-end whose lease must be valid for a response to begin; C{None} if no
        lease is needed.
    @ivar fin: the sequence number after the FIN that was forwarded; C{None} before.
    @ivar fin_acked: whether this direction has acknowledged the FIN of the other direction.
    @ivar kept_elsewhere: the forwarder outside the process that keeps a part of the statistics;
        C{None} if there is none.
    """

    __slots__ = (
        "ack",
        "awaits",
        "end",
        "fin",
        "fin_acked",
        "follows",
        "kept_elsewhere",
        "key",
        "lease",
        "local",
        "octets",
        "packets",
        "progress",
        "punt",
        "rewriter",
        "used",
    )

    def __init__(
        self,
        key: bytes,
        rewriter: Rewriter | None,
        *,
        local: bool,
        punt: int,
        ack: int = 0,
        end: int = 0,
        now: float,
        follows: bool = False,
        awaits: int | None = None,
        lease: str | None = None,
    ) -> None:
        self.key = key
        self.follows = follows
        self.awaits = awaits
        self.lease = lease
        self.fin: int | None = None
        self.fin_acked = False
        self.kept_elsewhere: Keeper | None = None
        self.rewriter = rewriter
        self.local = local
        self.punt = punt
        self.used = now
        self.packets = 0
        self.octets = 0
        self.ack = ack
        self.end = end
        self.progress = False

    def take(self, segment: Segment, now: float) -> None:
        """
        Update the statistics for a packet, and rewrite it in place.

        @raise Malformed: if its options are malformed.
        """
        self.used = now
        self.packets += 1
        continues = self._continues(segment)
        if continues:
            if segment.ack != self.ack and segment.flags & 0x10:
                self._acknowledge(segment.ack)
            size = segment.end - segment.data
            if size or segment.flags & ENDING:
                self.octets += size
                end = segment.next
                if (end - self.end) & 0xFFFFFFFF < 0x80000000:
                    self.end = end
        if self.rewriter is not None:
            sacked = self.rewriter.sacked
            self.rewriter.apply(segment)
            self.rewriter.sacked &= continues or sacked

    def refresh(self) -> None:
        """
        Update the statistics from outside the process; to be called before they are read.
        """
        if self.kept_elsewhere is not None:
            self.kept_elsewhere.read()

    def halt(self) -> None:
        """
        Stop forwarding outside the process and update the statistics, which are final then.  To be
        called before a reset is sent, whose sequence number has to be exact.
        """
        if self.kept_elsewhere is not None:
            self.kept_elsewhere.halt()

    def _continues(self, segment: Segment) -> bool:
        """
        Return whether a packet continues what was forwarded, in both directions (RFC 5961, 5.2).  A
        packet that does not may be a stranger's; it is forwarded without moving a number.
        """
        ahead = segment.seq - self.end + REACH & 0xFFFFFFFF
        acked = segment.ack - self.ack + REACH & 0xFFFFFFFF
        return ahead < 2 * REACH and (acked < 2 * REACH or not segment.flags & 0x10)

    def _acknowledge(self, ack: int) -> None:
        if (ack - self.ack) & 0xFFFFFFFF < 0x80000000:
            self.ack = ack
            self.progress = True
