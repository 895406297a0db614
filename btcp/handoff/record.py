# SPDX-License-Identifier: MIT
"""
What is put on record of a connection, at the decision and at its end.  The names of the
fields are an interface: C{docs/operations.md} lists them.
"""

from __future__ import annotations

from btcp.handoff.flows import AcceptedFlow
from btcp.handoff.messages import Reason

Fields = dict[str, object]


def request(flow: AcceptedFlow) -> Fields:
    """
    Who asked, where, for what.
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
    A back-end has the connection.
    """
    return request(flow) | {
        "node": flow.node,
        "adoption": _adoption(flow),
        "handoff_seconds": round(now - flow.decided, 6),
        "seconds": round(now - flow.started, 6),
    }


def ending(flow: AcceptedFlow, why: Reason, now: float) -> Fields:
    """
    The connection is over.
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
    By the difference of sequence numbers: modulo 2**32.  A FIN takes a number; of a
    connection that was not closed in order nobody says how many there were.

    @return: of the client, and to it.
    """
    route = flow.route
    if route is None:  # we answered, or nobody did
        return len(flow.request.octets) + flow.discarded, len(flow.answer) * flow.answer_taken
    client_next, server_next = flow.ends
    fin = why is Reason.CLOSED
    received = (client_next or route.end) - flow.irs - 1 - fin
    sent = (server_next or route.ack) - flow.iss - 1 - fin
    return received & 0xFFFFFFFF, sent & 0xFFFFFFFF
