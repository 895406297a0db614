# SPDX-License-Identifier: MIT
"""
The two state machines, as literal tables.

A table maps each state to its events, and each event to the next state and the name of the action,
which is a method of L{btcp.handoff.accept.Acceptor} or L{btcp.handoff.adopt.Adopter} with an
underscore before its name.  An event that a state does not list only increments a counter.  The
diagrams in C{docs/} are generated from these tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Accept(StrEnum):
    """
    States of a connection at its front-end.
    """

    LISTEN = "LISTEN"
    SYN_RECEIVED = "SYN-RECEIVED"
    ESTABLISHED = "ESTABLISHED"
    HANDING_OFF = "HANDING-OFF"
    FORWARDING = "FORWARDING"
    ANSWERED = "ANSWERED"
    CLOSED = "CLOSED"


class Arrival(StrEnum):
    """
    Events of a connection at its front-end.
    """

    SYN = "SYN"
    REPEATED_SYN = "repeated SYN"
    SEGMENT = "segment"
    BAD_ACK = "unacceptable ACK"
    RST = "RST"
    STRAY_RST = "RST out of place"
    REQUEST = "request complete"
    REJECTED = "request rejected"
    ADOPTED = "Adopted"
    REFUSED = "Refused"
    NODE_LOST = "node lost, no response seen"
    RESPONSE_LOST = "node lost, response begun"
    TERMINATED = "Terminate"
    ABORTED = "Terminate, reset"
    FINISHED = "answer finished"
    STOP = "this node stops"
    TIMEOUT = "timeout"


class Adopt(StrEnum):
    """
    States of a connection at its back-end.
    """

    ADMITTING = "ADMITTING"
    REPLAYING = "REPLAYING"
    REQUEST_DELIVERED = "REQUEST-DELIVERED"
    SPLICED = "SPLICED"
    CLOSING = "CLOSING"
    CLOSED = "CLOSED"


class Progress(StrEnum):
    """
    Events of a connection at its back-end.
    """

    BOUNCED = "request not admitted"
    SYN_ACK = "SYN/ACK"
    STALE = "ACK of an older connection"
    RST = "RST of the local TCP"
    PARTIAL = "request not yet acknowledged"
    TAKEN = "request acknowledged"
    FROM_SERVER = "segment of the local TCP"
    FROM_CLIENT = "segment of the client"
    CLIENT_RST = "RST of the client"
    FIN = "first FIN"
    BOTH_CLOSED = "both FINs acknowledged"
    TERMINATED = "Terminate"
    FRONT_LOST = "front-end lost"
    STOP = "this node stops"
    TIMEOUT = "timeout"


AcceptTable = Mapping[Accept, Mapping[Arrival, tuple[Accept, str]]]
AdoptTable = Mapping[Adopt, Mapping[Progress, tuple[Adopt, str]]]

ACCEPT: AcceptTable = {
    Accept.LISTEN: {
        Arrival.SYN: (Accept.SYN_RECEIVED, "answer_syn"),
        Arrival.SEGMENT: (Accept.LISTEN, "reset_stranger"),
    },
    Accept.SYN_RECEIVED: {
        Arrival.SYN: (Accept.CLOSED, "start_over"),
        Arrival.REPEATED_SYN: (Accept.SYN_RECEIVED, "repeat_syn_ack"),
        Arrival.SEGMENT: (Accept.ESTABLISHED, "establish"),
        Arrival.BAD_ACK: (Accept.SYN_RECEIVED, "reset_handshake"),
        Arrival.RST: (Accept.CLOSED, "forget"),
        Arrival.STOP: (Accept.CLOSED, "reset_client"),
        Arrival.TIMEOUT: (Accept.CLOSED, "give_up_handshake"),
    },
    Accept.ESTABLISHED: {
        Arrival.SYN: (Accept.ESTABLISHED, "challenge"),
        Arrival.REPEATED_SYN: (Accept.ESTABLISHED, "challenge"),
        Arrival.SEGMENT: (Accept.ESTABLISHED, "collect"),
        Arrival.RST: (Accept.CLOSED, "forget"),
        Arrival.STRAY_RST: (Accept.ESTABLISHED, "doubt_reset"),
        Arrival.REQUEST: (Accept.HANDING_OFF, "hand_off"),
        Arrival.REJECTED: (Accept.ANSWERED, "answer"),
        Arrival.STOP: (Accept.CLOSED, "reset_client"),
        Arrival.TIMEOUT: (Accept.ANSWERED, "answer_late"),
    },
    Accept.HANDING_OFF: {
        Arrival.SYN: (Accept.HANDING_OFF, "challenge"),
        Arrival.REPEATED_SYN: (Accept.HANDING_OFF, "challenge"),
        Arrival.SEGMENT: (Accept.HANDING_OFF, "queue"),
        Arrival.RST: (Accept.CLOSED, "abandon"),
        Arrival.STRAY_RST: (Accept.HANDING_OFF, "doubt_reset"),
        Arrival.REJECTED: (Accept.ANSWERED, "answer"),
        Arrival.ADOPTED: (Accept.FORWARDING, "splice"),
        Arrival.REFUSED: (Accept.HANDING_OFF, "try_next"),
        Arrival.NODE_LOST: (Accept.HANDING_OFF, "try_next"),
        Arrival.RESPONSE_LOST: (Accept.CLOSED, "reset_client"),
        Arrival.STOP: (Accept.CLOSED, "reset_client"),
        Arrival.TIMEOUT: (Accept.HANDING_OFF, "give_up_node"),
    },
    Accept.FORWARDING: {
        Arrival.SYN: (Accept.FORWARDING, "hold_syn"),
        Arrival.REPEATED_SYN: (Accept.FORWARDING, "forward"),
        Arrival.SEGMENT: (Accept.FORWARDING, "forward"),
        Arrival.RST: (Accept.FORWARDING, "forward"),
        Arrival.NODE_LOST: (Accept.HANDING_OFF, "move_on"),
        Arrival.RESPONSE_LOST: (Accept.CLOSED, "reset_client"),
        Arrival.TERMINATED: (Accept.CLOSED, "linger"),
        Arrival.ABORTED: (Accept.CLOSED, "end"),
        Arrival.STOP: (Accept.CLOSED, "reset_client"),
        Arrival.TIMEOUT: (Accept.FORWARDING, "check_idle"),
    },
    Accept.ANSWERED: {
        Arrival.SYN: (Accept.ANSWERED, "challenge"),
        Arrival.REPEATED_SYN: (Accept.ANSWERED, "challenge"),
        Arrival.SEGMENT: (Accept.ANSWERED, "drain"),
        Arrival.RST: (Accept.CLOSED, "forget"),
        Arrival.STRAY_RST: (Accept.ANSWERED, "doubt_reset"),
        Arrival.FINISHED: (Accept.CLOSED, "linger"),
        Arrival.STOP: (Accept.CLOSED, "reset_client"),
        Arrival.TIMEOUT: (Accept.ANSWERED, "repeat_answer"),
    },
    Accept.CLOSED: {
        Arrival.SYN: (Accept.CLOSED, "start_over"),
        Arrival.SEGMENT: (Accept.CLOSED, "forward_late"),
        Arrival.RST: (Accept.CLOSED, "forward_late"),
        Arrival.NODE_LOST: (Accept.CLOSED, "forget"),
        Arrival.RESPONSE_LOST: (Accept.CLOSED, "forget"),
        Arrival.STOP: (Accept.CLOSED, "forget"),
        Arrival.TIMEOUT: (Accept.CLOSED, "forget"),
    },
}
"""The state machine of the front-end half."""

ADOPT: AdoptTable = {
    Adopt.ADMITTING: {
        Progress.BOUNCED: (Adopt.REPLAYING, "replay_instead"),
        Progress.RST: (Adopt.CLOSED, "refuse_reset"),
        Progress.PARTIAL: (Adopt.ADMITTING, "wait"),
        Progress.TAKEN: (Adopt.SPLICED, "splice"),
        Progress.STOP: (Adopt.CLOSED, "stop"),
        Progress.TERMINATED: (Adopt.CLOSED, "abort"),
        Progress.FRONT_LOST: (Adopt.CLOSED, "abort"),
        Progress.TIMEOUT: (Adopt.REPLAYING, "replay_instead"),
    },
    Adopt.REPLAYING: {
        Progress.SYN_ACK: (Adopt.REQUEST_DELIVERED, "deliver_request"),
        Progress.STALE: (Adopt.REPLAYING, "clear_stale"),
        Progress.RST: (Adopt.CLOSED, "refuse_no_listener"),
        Progress.TERMINATED: (Adopt.CLOSED, "abort"),
        Progress.FRONT_LOST: (Adopt.CLOSED, "abort"),
        Progress.STOP: (Adopt.CLOSED, "give_up"),
        Progress.TIMEOUT: (Adopt.REPLAYING, "repeat_syn"),
    },
    Adopt.REQUEST_DELIVERED: {
        Progress.SYN_ACK: (Adopt.REQUEST_DELIVERED, "repeat_request"),
        Progress.RST: (Adopt.CLOSED, "refuse_reset"),
        Progress.PARTIAL: (Adopt.REQUEST_DELIVERED, "wait"),
        Progress.TAKEN: (Adopt.SPLICED, "splice"),
        Progress.TERMINATED: (Adopt.CLOSED, "abort"),
        Progress.FRONT_LOST: (Adopt.CLOSED, "abort"),
        Progress.STOP: (Adopt.CLOSED, "give_up"),
        Progress.TIMEOUT: (Adopt.REQUEST_DELIVERED, "repeat_request"),
    },
    Adopt.SPLICED: {
        Progress.FROM_SERVER: (Adopt.SPLICED, "to_client"),
        Progress.FROM_CLIENT: (Adopt.SPLICED, "to_server"),
        Progress.FIN: (Adopt.CLOSING, "watch_closing"),
        Progress.BOTH_CLOSED: (Adopt.CLOSED, "terminate"),
        Progress.RST: (Adopt.CLOSED, "end_by_server"),
        Progress.CLIENT_RST: (Adopt.CLOSED, "end_by_client"),
        Progress.TERMINATED: (Adopt.CLOSED, "abort"),
        Progress.FRONT_LOST: (Adopt.CLOSED, "abort_both"),
        Progress.STOP: (Adopt.CLOSED, "stop"),
        Progress.TIMEOUT: (Adopt.SPLICED, "check_idle"),
    },
    Adopt.CLOSING: {
        Progress.FROM_SERVER: (Adopt.CLOSING, "to_client"),
        Progress.FROM_CLIENT: (Adopt.CLOSING, "to_server"),
        Progress.BOTH_CLOSED: (Adopt.CLOSED, "terminate"),
        Progress.RST: (Adopt.CLOSED, "end_by_server"),
        Progress.CLIENT_RST: (Adopt.CLOSED, "end_by_client"),
        Progress.TERMINATED: (Adopt.CLOSED, "abort"),
        Progress.FRONT_LOST: (Adopt.CLOSED, "abort_both"),
        Progress.STOP: (Adopt.CLOSED, "stop"),
        Progress.TIMEOUT: (Adopt.CLOSING, "check_idle"),
    },
    Adopt.CLOSED: {
        Progress.FROM_SERVER: (Adopt.CLOSED, "to_client"),
        Progress.FROM_CLIENT: (Adopt.CLOSED, "to_server"),
        Progress.RST: (Adopt.CLOSED, "drop_reset"),
        Progress.CLIENT_RST: (Adopt.CLOSED, "to_server"),
        Progress.TERMINATED: (Adopt.CLOSED, "forget"),
        Progress.FRONT_LOST: (Adopt.CLOSED, "forget"),
        Progress.STOP: (Adopt.CLOSED, "forget"),
        Progress.TIMEOUT: (Adopt.CLOSED, "forget"),
    },
}
"""The state machine of the back-end half."""
