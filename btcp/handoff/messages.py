# SPDX-License-Identifier: MIT
"""
Messages between two nodes about a flow.

These are plain values, which the sans-IO core makes and processes and L{btcp.control.commands}
transmits.  Every message identifies its flow by C{(front, id)}: the name of the front-end's node
and a number that is unique within the front-end's epoch, so duplicates are harmless.
"""

from __future__ import annotations

from enum import StrEnum

from attrs import frozen


class Reason(StrEnum):
    """
    The reason for a refusal or for the end of a flow; also the last part of its counter's name.
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
"""The name that stands for the front-end of health checks by handoff; it is not a node."""


UNMEASURED = -1
"""The round-trip time of a flow for which it is unknown."""

LONGEST_RTT = 0xFFFE
"""Maximum round-trip time in milliseconds; longer ones are reported as this."""

DOUBTFUL_RTT = 300
"""Maximum in milliseconds for ambiguous samples, which may include a retransmission timeout.  TCP
derives a retransmission timeout of 0.9 s from it, about the initial one of RFC 6298."""


@frozen(slots=True)
class Endpoint:
    """
    An address and a TCP port.

    @ivar address: the packed address, 4 octets (IPv4) or 16 octets (IPv6).
    @ivar port: the port, 0-65535.
    """

    address: bytes
    port: int


@frozen(slots=True, kw_only=True)
class Handoff:
    """
    Request of a front-end to a back-end to adopt a connection (claims 15, 17, 27, 29).

    @ivar id: the number that the front-end gave the flow.
    @ivar listener: the name of the listener that the client connected to, by which the back-end
        looks its origin up.
    @ivar client: the client's endpoint.
    @ivar front: the endpoint that the client connected to, which is the source of all packets to
        the client.
    @ivar irs: the client's initial sequence number.
    @ivar iss: the front-end's initial sequence number.
    @ivar window: the window field of the client's SYN, unscaled.
    @ivar mss: the client's MSS option, 0 if it had none.
    @ivar client_scale: the client's window scale, C{-1} if it offered none.
    @ivar front_scale: the front-end's window scale, C{-1} for none.
    @ivar sack: whether SACK was negotiated.
    @ivar tsval: the client's latest TSval, C{-1} if timestamps were not negotiated.
    @ivar front_tsval: the largest TSval sent to the client so far, or C{-1}.
    @ivar acked: the number of octets of C{request} that the front-end has acknowledged.
    @ivar request: the octets that the client sent from C{irs + 1} on, unchanged.
    @ivar rtt: milliseconds between the front-end's SYN/ACK and the client's ACK, or
        L{UNMEASURED}.  The local TCP cannot measure it, because its handshake is with the back-end.
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
    Confirmation of a back-end that it has adopted a connection (claims 16, 17, 28, 29).

    @ivar id: the number of the L{Handoff}.
    @ivar isn: the initial sequence number of the back-end's TCP.
    @ivar ts_delta: the difference, modulo 2**32, that the back-end adds to its TSval and the
        front-end subtracts from every TSecr; 0 without timestamps.
    @ivar address: the packed address that the front-end forwards the client's packets to.
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
    Refusal of a handoff; the front-end tries another replica.

    @ivar id: the number of the L{Handoff}.
    @ivar reason: the reason.
    """

    id: int
    reason: Reason


@frozen(slots=True, kw_only=True)
class Terminate:
    """
    Notification that a flow has ended and is to be freed (claims 20, 32).  Sent in batches.

    The back-end sends it to the front-end when the connection has closed; the front-end sends it to
    the back-end when it abandons the flow.

    @ivar front: the name of the front-end's node; identifies the flow together with C{id}.
    @ivar id: the number of the L{Handoff}.
    @ivar reason: the reason for the end.
    @ivar client_next: the client's next sequence number, 0 if unknown.
    @ivar server_next: the next sequence number to the client, in the numbers that the client sees,
        0 if unknown.
    """

    front: str
    id: int
    reason: Reason
    client_next: int
    server_next: int


@frozen(slots=True, kw_only=True)
class Capabilities:
    """
    The TCP features of a node's host, which limit the options of SYN/ACKs.

    @ivar mtu: the MTU of the cluster-facing device.
    @ivar sack: whether its TCP supports SACK.
    @ivar timestamps: whether its TCP supports timestamps.
    @ivar window_scaling: whether its TCP supports window scaling.
    """

    mtu: int
    sack: bool
    timestamps: bool
    window_scaling: bool
