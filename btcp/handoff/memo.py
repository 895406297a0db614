# SPDX-License-Identifier: MIT
"""
Saved state of flows: what the datapath keeps with a flow entry so that a later daemon can continue
the flow.

Saved state is read by the same version of the program on the same host; its layout is covered by
the version C{BTCP_ABI} in C{abi.h}.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from functools import cache
from hashlib import blake2b
from struct import Struct
from struct import error as StructError

from attrs import frozen

from btcp.handoff.flows import AcceptedFlow, AdoptedFlow
from btcp.handoff.route import Route
from btcp.handoff.states import Accept, Adopt

LAYOUT = Struct("=BBxxIQ8s8sIIIIIId")
"""Packed layout of the fields of L{Memo}, in order."""


class Role(IntEnum):
    """
    The role of this node for a flow.
    """

    FRONT = 1
    BACK = 2


class Past(IntFlag):
    """
    Events that have happened to a flow.
    """

    BEGUN = 1  # a part of the response was sent
    CLIENT_FIN = 2
    SERVER_FIN = 4
    OVER = 8


class BadMemo(Exception):
    """
    Octets that are not valid saved state.
    """


@frozen(slots=True)
class Relic:
    """
    A flow entry that an earlier daemon left in the datapath.

    @ivar key: the key of the flow entry.
    @ivar route: the flow entry, which the datapath is already forwarding by; C{None} if there is
        only saved state.
    @ivar memo: the packed saved state; C{None} if there is none.
    """

    key: bytes
    route: Route | None
    memo: bytes | None


@frozen(slots=True)
class Memo:
    """
    The saved state of one flow.  C{isn}, C{ts_delta}, C{client_fin} and C{server_fin} are for
    back-end flows only.

    @ivar role: the role of this node.
    @ivar past: events that have happened to the flow.
    @ivar request: the length of the request in octets.
    @ivar number: the number that the front-end gave the handoff.
    @ivar peer: the L{digest} of the other node's name.
    @ivar listener: the L{digest} of the listener's name.
    @ivar irs: the client's initial sequence number.
    @ivar iss: the front-end's initial sequence number.
    @ivar isn: the initial sequence number of the local TCP.
    @ivar ts_delta: the difference that is added to the TSval of the local TCP.
    @ivar client_fin: see L{btcp.handoff.teardown.Teardown}; valid with L{Past.CLIENT_FIN}.
    @ivar server_fin: see L{btcp.handoff.teardown.Teardown}; valid with L{Past.SERVER_FIN}.
    @ivar started: when the flow began, in monotonic seconds since the host was started.
    """

    role: Role
    past: Past
    request: int
    number: int
    peer: bytes
    listener: bytes
    irs: int
    iss: int
    isn: int
    ts_delta: int
    client_fin: int
    server_fin: int
    started: float

    @classmethod
    def unpack(cls, octets: bytes) -> Memo:
        """
        Parse saved state.

        @raise BadMemo: if it is invalid.
        """
        try:
            role, past, *others = LAYOUT.unpack(octets)
            return cls(Role(role), Past(past), *others)
        except (StructError, ValueError) as problem:
            raise BadMemo(str(problem)) from None


@cache
def digest(name: str) -> bytes:
    """
    Hash the name of a node or listener to 8 octets.  Results are cached; there are few names.
    """
    return blake2b(name.encode(), digest_size=8).digest()


def of_accepted(flow: AcceptedFlow) -> bytes:
    """
    Pack the saved state of a front-end flow that has a back-end.
    """
    past = Past.OVER if flow.state is Accept.CLOSED else 0
    request = (flow.received - flow.irs - 1) & 0xFFFFFFFF
    peer, listener = digest(flow.node or ""), digest(flow.listener)
    numbers = (flow.irs, flow.iss, 0, 0, 0, 0)
    return LAYOUT.pack(
        Role.FRONT, past, request, flow.number, peer, listener, *numbers, flow.started
    )


def of_adopted(flow: AdoptedFlow) -> bytes:
    """
    Pack the saved state of a spliced back-end flow.
    """
    past, order, teardown = 0, flow.order, flow.teardown
    if flow.to_client is not None and flow.to_client.octets:
        past |= Past.BEGUN
    if teardown.client_fin is not None:
        past |= Past.CLIENT_FIN
    if teardown.server_fin is not None:
        past |= Past.SERVER_FIN
    if flow.state is Adopt.CLOSED:
        past |= Past.OVER
    return LAYOUT.pack(
        Role.BACK,
        past,
        flow.request_octets,
        order.id,
        digest(flow.peer),
        digest(order.listener),
        order.irs,
        order.iss,
        flow.isn,
        flow.ts_delta,
        teardown.client_fin or 0,
        teardown.server_fin or 0,
        flow.started,
    )
