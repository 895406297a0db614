# SPDX-License-Identifier: MIT
"""
Fields of access log entries, at the handoff and at the end of a connection.  Their names are a
public interface: C{docs/operations.md} lists them.
"""

from __future__ import annotations

from btcp.handoff.flows import AcceptedFlow
from btcp.handoff.messages import Reason

Fields = dict[str, object]


def request(flow: AcceptedFlow) -> Fields:
    """
    Return the fields that describe the request.
    """
    return {
        "client": flow.client,
        "front": flow.front,
        "listener": flow.listener,
        "request": flow.request_key,
        "rule": flow.rule,
    }


def decision(flow: AcceptedFlow, now: float) -> Fields:
    """
    Return the fields of the entry at the handoff.
    """
    return request(flow) | {
        "node": flow.node,
        "adoption": _adoption(flow),
        "handoff_seconds": round(now - flow.decided, 6),
        "seconds": round(now - flow.started, 6),
    }


def ending(flow: AcceptedFlow, why: Reason, now: float) -> Fields:
    """
    Return the fields of the entry at the end of the connection.
    """
    received, sent = _octets(flow, why)
    return request(flow) | {
        "node": flow.node,
        "adoption": _adoption(flow),
        "seconds": round(now - flow.started, 6),
        "octets_in": received,
        "octets_out": sent,
        "reason": why.value,
    }


def _adoption(flow: AcceptedFlow) -> str | None:
    if flow.route is None:
        return None
    return "cookie" if flow.cookie else "replay"


def _octets(flow: AcceptedFlow, why: Reason) -> tuple[int, int]:
    """
    Count the octets of both directions from sequence numbers, modulo 2**32.  One number of each
    direction is subtracted for the FIN if the connection was closed normally.

    @return: octets from the client, and octets to it.
    """
    route = flow.route
    if route is None:  # answered by the front-end, or not at all
        return len(flow.request.octets) + flow.discarded, len(flow.answer) * flow.answer_taken
    client_next, server_next = flow.ends
    fin = why is Reason.CLOSED
    received = (client_next or route.end) - flow.irs - 1 - fin
    sent = (server_next or route.ack) - flow.iss - 1 - fin
    return received & 0xFFFFFFFF, sent & 0xFFFFFFFF
