# SPDX-License-Identifier: MIT
"""
What the core leaves beside a flow's routes, so that the next daemon can go on with it.

A memo is for the same program on the same host; its layout is a part of what
C{BTCP_ABI} in C{abi.h} is the version of.
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
"""As the fields of L{Memo}, the role first."""


class Role(IntEnum):
    """
    Whose flow it is.
    """

    FRONT = 1
    BACK = 2


class Past(IntFlag):
    """
    What has happened to the flow.
    """

    BEGUN = 1  # a part of the response was sent
    CLIENT_FIN = 2
    SERVER_FIN = 4
    OVER = 8


class BadMemo(Exception):
    """
    No memo of ours.
    """


@frozen(slots=True)
class Relic:
    """
    What a datapath was left by an earlier daemon.

    @ivar key: of the route.
    @ivar route: as it is now, and already moved by the datapath; C{None} if there is
        a memo only.
    @ivar memo: packed, C{None} if there is none.
    """

    key: bytes
    route: Route | None
    memo: bytes | None


@frozen(slots=True)
class Memo:
    """
    Of one flow.

    @ivar request: octets of the request.
    @ivar number: the front-end's.
    @ivar peer: the L{digest} of the other node's name.
    @ivar listener: the L{digest} of the listener's name.
    @ivar irs: the client's initial sequence number.
    @ivar iss: the front-end's.
    @ivar isn: of the local TCP; of a back-end's flow, as all that follows but C{started}.
    @ivar ts_delta: added to the TSval of the local TCP.
    @ivar client_fin: see L{btcp.handoff.teardown.Teardown}; counts with L{Past.CLIENT_FIN}.
    @ivar server_fin: likewise.
    @ivar started: seconds, monotonic for as long as the host is up.
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
        @raise BadMemo: if that is none.
        """
        try:
            role, past, *others = LAYOUT.unpack(octets)
            return cls(Role(role), Past(past), *others)
        except (StructError, ValueError) as problem:
            raise BadMemo(str(problem)) from None


@cache
def digest(name: str) -> bytes:
    """
    @param name: of a node or listener; there are few of them.
    @return: 8 octets that stand for it.
    """
    return blake2b(name.encode(), digest_size=8).digest()


def of_accepted(flow: AcceptedFlow) -> bytes:
    """
    @param flow: that has a back-end.
    @return: the packed memo.
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
    @param flow: that is spliced.
    @return: the packed memo.
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
