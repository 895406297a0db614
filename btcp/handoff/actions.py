# SPDX-License-Identifier: MIT
"""
Actions: the outputs of the core, which its owner executes in order.
"""

from __future__ import annotations

from enum import StrEnum

from attrs import field, frozen

from btcp.handoff.messages import Adopted, Handoff, Reason, Refused, Terminate
from btcp.handoff.route import Route
from btcp.wire.segment import Segment


@frozen(slots=True)
class Transmit:
    """
    Send a packet to the network.
    """

    segment: Segment


@frozen(slots=True)
class Deliver:
    """
    Give a packet to the local TCP, as if it had come from the network.
    """

    segment: Segment


@frozen(slots=True)
class PassPacket:
    """
    Forward a packet that is not a TCP segment.

    @ivar packet: the whole IP packet.
    @ivar local: whether to deliver it to the local host; otherwise it is sent to the network.
    """

    packet: bytes
    local: bool


@frozen(slots=True)
class Install:
    """
    Install a flow entry, or update an installed one.  The datapath forwards packets with the
    entry's key by itself from then on.
    """

    route: Route


@frozen(slots=True)
class Admit:
    """
    Make the local TCP treat the next packet with this key as the first one after a handshake that
    it has performed itself (adoption by cookie).

    @ivar key: the key of the client's packets to the local TCP.
    @ivar order: the handoff, which has the parameters of the handshake.
    """

    key: bytes
    order: Handoff


@frozen(slots=True)
class Retract:
    """
    Revoke an L{Admit}.
    """

    key: bytes


@frozen(slots=True)
class Remember:
    """
    Store a flow's saved state with its flow entry, for a later daemon; see L{btcp.handoff.memo}.
    """

    key: bytes
    memo: bytes


@frozen(slots=True)
class Remove:
    """
    Remove the flow entry with this key, and its saved state.
    """

    key: bytes


@frozen(slots=True)
class Send:
    """
    Send a message to a peer.
    """

    node: str
    message: Handoff | Terminate


@frozen(slots=True)
class Reply:
    """
    Answer a peer's handoff.
    """

    node: str
    message: Adopted | Refused


class Event(StrEnum):
    """
    The kind of an access log entry; its field C{event}.
    """

    HANDED_OFF = "handed-off"
    ANSWERED = "answered"
    REFUSED = "refused"
    SILENT = "silent"
    ENDED = "ended"


@frozen(slots=True)
class Note:
    """
    Write an access log entry.

    @ivar what: the text, with C{{name}} for fields.
    @ivar fields: the fields by name.
    """

    event: Event
    what: str
    fields: dict[str, object] = field(factory=dict)


@frozen(slots=True)
class Blame:
    """
    Report a node's refusal of a connection to passive health checks.  The node may be this one.
    """

    node: str
    listener: str
    reason: Reason


@frozen(slots=True)
class Witness:
    """
    Report a packet of an origin to the synthetic client of a health check; see
    L{btcp.handoff.messages.PROBER}.

    @ivar number: the number of the handoff.
    @ivar payload: the packet's payload.
    """

    number: int
    payload: bytes


Action = (
    Transmit
    | Deliver
    | PassPacket
    | Install
    | Remember
    | Remove
    | Admit
    | Retract
    | Send
    | Reply
    | Note
    | Blame
    | Witness
)
