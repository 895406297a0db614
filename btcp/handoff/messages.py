# SPDX-License-Identifier: MIT
"""
What two nodes say to each other about a flow.

These are plain values: the sans-IO core makes and reads them,
L{btcp.control.commands} puts them on the wire.  Every message names its flow by
C{(front, id)}: the front-end's node name and a number that front-end never used
before in its present epoch, so each message may arrive twice without harm.
"""

from __future__ import annotations

from enum import StrEnum

from attrs import frozen


class Reason(StrEnum):
    """
    Why a handoff was refused or a flow ended; also the name of its counter.
    """

    # refusals: the front-end tries the next replica
    NO_LISTENER = "no-listener"
    ACCEPT_QUEUE_FULL = "accept-queue-full"
    RESET_BY_ORIGIN = "reset-by-origin"
    TUPLE_IN_USE = "tuple-in-use"
    OVERLOAD = "overload"
    OPTIONS = "options-not-kept"
    UNREACHABLE = "unreachable"
    STOPPING = "stopping"
    DRAINING = "draining"
    # ends of a flow
    CLOSED = "closed"
    RESET_BY_CLIENT = "reset-by-client"
    IDLE = "idle"
    ABANDONED = "abandoned"
    LINK_LOST = "link-lost"


PROBER = "(health)"
"""The front-end, which is no node, of connections that only ask whether an origin is well."""


UNMEASURED = -1
"""A round-trip time that is not known."""

LONGEST_RTT = 0xFFFE
"""Milliseconds: a longer round-trip time is said to be this."""

DOUBTFUL_RTT = 300
"""Milliseconds: the most that is believed of a round-trip time that may include time for which the
client did nothing.  TCP makes a retransmission timeout of 0.9 s of it, about the initial one of
RFC 6298."""


@frozen(slots=True)
class Endpoint:
    """
    One end of a connection.

    @ivar address: packed, 4 bytes (IPv4) or 16 bytes (IPv6), network order.
    @ivar port: 0-65535.
    """

    address: bytes
    port: int


@frozen(slots=True, kw_only=True)
class Handoff:
    """
    Front-end to back-end: adopt this connection.  Claims 15, 17, 27, 29.

    @ivar id: the front-end's number for the flow.
    @ivar listener: name of the listener the client connected to; the back-end
        looks its origin up by this name.
    @ivar client: the client's end.
    @ivar front: the address and port the client connected to; the back-end
        writes it as source into everything it sends to the client.
    @ivar irs: the client's initial sequence number.
    @ivar iss: the front-end's own initial sequence number.
    @ivar window: the window field of the client's SYN, unscaled.
    @ivar mss: the client's MSS option, 0 if it sent none.
    @ivar client_scale: the client's window scale, C{-1} if it sent none.
    @ivar front_scale: the window scale the front-end promised, C{-1} for none.
    @ivar sack: SACK was agreed.
    @ivar tsval: the client's latest TSval, C{-1} if timestamps were not agreed.
    @ivar front_tsval: the largest TSval sent to the client so far, or C{-1}.
    @ivar acked: how many octets of C{request} the client saw acknowledged.
    @ivar request: the octets from C{irs + 1} on, in order, untouched.
    @ivar rtt: milliseconds between the front-end's SYN/ACK and the client's ACK, or
        L{UNMEASURED}: the local TCP's handshake, if there is one, says nothing of it.
    """

    id: int
    listener: str
    client: Endpoint
    front: Endpoint
    irs: int
    iss: int
    window: int
    mss: int
    client_scale: int
    front_scale: int
    sack: bool
    tsval: int
    front_tsval: int
    acked: int
    request: bytes
    rtt: int = UNMEASURED


@frozen(slots=True, kw_only=True)
class Adopted:
    """
    Back-end to front-end: the connection is mine.  Claims 16, 17, 28, 29.

    @ivar id: as in the L{Handoff}.
    @ivar isn: the initial sequence number the back-end's TCP chose.
    @ivar ts_delta: what the back-end adds to its TSval (modulo 2**32); the
        front-end takes it from every TSecr.  0 without timestamps.
    @ivar address: the back-end's own address, packed: where to forward to.
    @ivar port: the origin's port.
    """

    id: int
    isn: int
    ts_delta: int
    address: bytes
    port: int


@frozen(slots=True, kw_only=True)
class Refused:
    """
    Back-end to front-end: not I; choose another replica.
    """

    id: int
    reason: Reason


@frozen(slots=True, kw_only=True)
class Terminate:
    """
    The flow is over; free it.  Claims 20, 32.  Travels in batches.

    From back-end to front-end when the connection closed; from front-end to
    back-end when the front-end gave the flow up.

    @ivar front: the front-end's node name; with C{id} it names the flow.
    @ivar client_next: the next sequence number of the client, 0 if unknown.
    @ivar server_next: the next sequence number towards the client, as the client
        counts, 0 if unknown.
    """

    front: str
    id: int
    reason: Reason
    client_next: int
    server_next: int


@frozen(slots=True, kw_only=True)
class Capabilities:
    """
    What a node can keep of what a front-end might promise in a SYN/ACK.

    @ivar mtu: of the cluster-facing device.
    @ivar sack: its TCP answers SACK-permitted.
    @ivar timestamps: its TCP answers timestamps.
    @ivar window_scaling: its TCP answers window scale.
    """

    mtu: int
    sack: bool
    timestamps: bool
    window_scaling: bool
