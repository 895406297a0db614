# SPDX-License-Identifier: MIT
"""
What the core asks the shell around it to do, in this order.
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
    Let a packet that is no TCP segment go its way.

    @ivar packet: a whole IP packet.
    @ivar local: to the local host, else to the network.
    """

    packet: bytes
    local: bool


@frozen(slots=True)
class Install:
    """
    Move the packets with the route's key by yourself from now on; or, if you do
    already, see that the route has changed.
    """

    route: Route


@frozen(slots=True)
class Admit:
    """
    Have the local TCP take the next packet with this key for the first of a
    connection whose handshake it did itself.

    @ivar order: says what was agreed in that handshake.
    """

    key: bytes
    order: Handoff


@frozen(slots=True)
class Retract:
    """
    Forget an L{Admit}.
    """

    key: bytes


@frozen(slots=True)
class Remember:
    """
    Keep this beside the route of this key, where the next daemon finds it; see
    L{btcp.handoff.memo}.
    """

    key: bytes
    memo: bytes


@frozen(slots=True)
class Remove:
    """
    Forget the route of this key, and what is kept beside it.
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
    Answer the peer's handoff.
    """

    node: str
    message: Adopted | Refused


class Event(StrEnum):
    """
    What a L{Note} is about; part of the record, so that programs find it.
    """

    HANDED_OFF = "handed-off"
    ANSWERED = "answered"
    REFUSED = "refused"
    SILENT = "silent"
    ENDED = "ended"


@frozen(slots=True)
class Note:
    """
    Something an operator wants on record.

    @ivar what: the text, with C{{name}} for each of the fields.
    """

    event: Event
    what: str
    fields: dict[str, object] = field(factory=dict)


@frozen(slots=True)
class Blame:
    """
    A node did not take a connection of a listener; it may be this very node.
    """

    node: str
    listener: str
    reason: Reason


@frozen(slots=True)
class Witness:
    """
    An origin said something to a client that there is not: see
    L{btcp.handoff.messages.PROBER}.

    @ivar number: of the flow.
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
