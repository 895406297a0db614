# SPDX-License-Identifier: MIT
"""
What a datapath does by itself with the packets of one direction of a flow.
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
    What a datapath has seen of flows whose packets it moves by itself.

    @cvar TAKEN: the local TCP has the request.
    @cvar FIN: the first FIN passed.
    @cvar CLOSED: both were acknowledged.
    """

    TAKEN = 0
    FIN = 1
    CLOSED = 2


@frozen(slots=True)
class Reported:
    """
    One L{Report}, and what was known of the flow then.

    @ivar key: of the local TCP's packets.
    @ivar client_fin: the sequence number after the client's FIN, as the local TCP
        counts; 0 if there is none.
    @ivar server_fin: that after the local TCP's.
    @ivar octets: how much data passed to the client.
    """

    key: bytes
    what: Report
    client_fin: int = 0
    server_fin: int = 0
    octets: int = 0


class Keeper(Protocol):
    """
    Who moves packets of a route without its owner, such as the kernel, and keeps a part of
    its account.
    """

    def read(self) -> None:
        """
        Have that part in the route.
        """

    def halt(self) -> None:
        """
        Move no more of its packets; then L{read}.  A packet that is on its way at this moment
        may still go on, and only be in the account some time later.
        """


class Route:
    """
    One direction of a spliced flow.

    The core makes it and owns the rule; the datapath that holds it moves the
    packets and keeps the account.

    @ivar rewriter: the rule, C{None} if packets pass as they are.
    @ivar local: packets go to the local TCP, else to the network.
    @ivar punt: packets with any of these TCP flags go to the core instead.
    @ivar used: when the last packet passed.
    @ivar packets: how many passed.
    @ivar octets: how much data passed, retransmissions included.
    @ivar ack: the latest acknowledgment number that passed, before rewriting.
    @ivar end: the sequence number after the latest data that passed, before
        rewriting.
    @ivar progress: the acknowledgment number moved since the route was made.
    @ivar key: what it is installed for.
    @ivar follows: the datapath follows FINs by itself and reports them; see L{Report}.
        What it does not move itself, whatever the reason, goes to the core.
    @ivar awaits: the local TCP was given a request, and acknowledges this number once
        it has it.  Until then nothing else of it passes; then the datapath reports it.
        C{None} if nothing is awaited.
    @ivar lease: no response may begin here once the lease of this front-end is over;
        C{None} if none is needed.
    @ivar fin: the sequence number after the FIN that passed, C{None} before it.
    @ivar fin_acked: the FIN of the other direction was acknowledged by this one.
    @ivar kept_elsewhere: who keeps a part of the account; C{None} if nobody does.
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
        Account for a packet and rewrite it in place.

        @raise Malformed: if its options cannot be walked.
        """
        self.used = now
        self.packets += 1
        if segment.ack != self.ack and segment.flags & 0x10:
            self._acknowledge(segment.ack)
        size = segment.end - segment.data
        if size or segment.flags & ENDING:
            self.octets += size
            end = segment.next
            if (end - self.end) & 0xFFFFFFFF < 0x80000000:
                self.end = end
        if self.rewriter is not None:
            self.rewriter.apply(segment)

    def refresh(self) -> None:
        """
        Have the account up to date; to be called before it is read.
        """
        if self.kept_elsewhere is not None:
            self.kept_elsewhere.read()

    def halt(self) -> None:
        """
        Have the account as it is going to stay, for nobody moves packets of this route unseen any
        more; to be called before somebody is reset by its numbers, who believes no others.
        """
        if self.kept_elsewhere is not None:
            self.kept_elsewhere.halt()

    def _acknowledge(self, ack: int) -> None:
        if (ack - self.ack) & 0xFFFFFFFF < 0x80000000:
            self.ack = ack
            self.progress = True
