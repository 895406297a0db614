# SPDX-License-Identifier: MIT
"""
The connections that most claims are shown on, recorded at all places at once.

First every node's content is asked for at every front-end, once over IPv4 and once over IPv6.
Then there are eight conversations.  The head of their first request comes in two pieces; 100 kB
are uploaded with it; and then, kept alive, the connection downloads 100 kB.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import product
from typing import Any

from attrs import frozen

from btcp.lab.cluster import Lab
from btcp.lab.topology import LISTEN_PORT, ORIGIN_PORT
from tests.claims.channel import Channel
from tests.claims.stage import End, Stage, answer, dial, request
from tests.claims.tape import Place, Tape, places, recording
from tests.modes import Mode

STAGE = Stage("claims")

HANDED_OFF = (("a", "b"), ("c", "a"))
"""Front-end and back-end: one pair for the first, one for the second claim of a pair."""

LOCAL = ("a", "b")
"""Front-end and back-end at once."""

PIECE = 20
"""Octets of a head's first piece."""

_SMALL = "1k"
_LARGE = "100k"
_LOSS = 2.0
_WHOLE = 2048
"""Octets to capture of a packet that no device has to cut into segments: all of it.  A capture has
room for so many in a burst as go into its buffer by this size."""
_MEGABYTE = 1 << 20
_PATIENCE = 10.0


@frozen(kw_only=True)
class Connection:
    """
    One connection of the lab's client.

    @ivar front: the node that the client connected to.
    @ivar back: the node that holds what was asked for.
    @ivar client: the client's end.
    @ivar at_front: the front-end's end that the client knows.
    @ivar at_back: the origin's end.
    @ivar head: of the first request, as the client sent it.
    """

    front: str
    back: str
    family: int
    client: End
    at_front: End
    at_back: End
    head: bytes


@frozen(kw_only=True)
class Conversation(Connection):
    """
    @ivar waiting: the front-end's flows when it had a piece of the head.
    @ivar flows: of front-end and back-end, by node, while the connection was open.
    @ivar sockets: what the kernels had, by node, while the connection was open.
    """

    waiting: list[dict[str, Any]]
    flows: Mapping[str, list[dict[str, Any]]]
    sockets: Mapping[str, str]


@frozen(eq=False)
class Scene:
    """
    @ivar mode: of the lab.
    @ivar glances: a connection for each front-end, content and family.
    @ivar addresses: of the devices, as L{hardware_addresses}.
    @ivar freed: the nodes' flows in the end.
    """

    lab: Lab
    mode: Mode
    tape: Tape
    glances: list[Connection]
    conversations: list[Conversation]
    addresses: Mapping[Place, str]
    freed: Mapping[str, dict[str, int]]

    def between(self, front: str, back: str) -> Iterator[Conversation]:
        """
        Those handed off from one node to the other, over IPv4 and IPv6.
        """
        return (each for each in self.conversations if (each.front, each.back) == (front, back))

    def channel(self, node: str) -> Channel:
        """
        What was said to and by a node.
        """
        return _channel(self, node)


@cache
def scene(mode: Mode) -> Scene:
    """
    Made at the first call.
    """
    lab = STAGE.lab(mode)
    pairs = [*HANDED_OFF, *((node, node) for node in LOCAL)]
    lab.offload(False, checksums=False)
    try:
        with recording(lab, places(lab.nodes, mode), snaplen=_WHOLE) as tape:
            glances = [_glance(lab, *each) for each in product(lab.nodes, lab.nodes, (4, 6))]
            talks = [_converse(lab, *pair, family) for pair in pairs for family in (4, 6)]
            freed = emptied(lab)
    finally:
        lab.offload(True)
    return Scene(lab, mode, tape, glances, talks, hardware_addresses(lab), freed)


@cache
def lossy(mode: Mode) -> Scene:
    """
    As L{scene}, but on the way to and from the client packets are lost.  A connection for
    each pair of nodes in L{HANDED_OFF} and each family downloads 1 MB.
    """
    lab = STAGE.lab(mode)
    lab.offload(False, checksums=False)
    lab.loss(_LOSS)
    try:
        with recording(lab, places(lab.nodes, mode), snaplen=_WHOLE) as tape:
            glances = [_torn(lab, *pair, family) for pair in HANDED_OFF for family in (4, 6)]
            freed = emptied(lab)
    finally:
        lab.loss(0)
        lab.offload(True)
    return Scene(lab, mode, tape, glances, [], hardware_addresses(lab), freed)


def _torn(lab: Lab, front: str, back: str, family: int) -> Connection:
    path = f"/{back}/10m"
    head = request(path, f"Range: bytes=0-{_MEGABYTE - 1}")
    return fetch(lab, front, back, family, head, lab.content(path)[:_MEGABYTE])


@cache
def _channel(scene: Scene, node: str) -> Channel:
    return Channel(scene.lab, scene.tape.at(node))


def hardware_addresses(lab: Lab) -> dict[Place, str]:
    """
    Of every device of every host.
    """
    return {
        (host, link["ifname"]): link["address"]
        for host in lab.network.hosts
        for link in json.loads(lab.exec(host, ["ip", "-json", "link"]).stdout)
    }


def end(connection: socket.socket) -> End:
    """
    The client's end of a socket.
    """
    address, port = connection.getsockname()[:2]
    return address, port


def flows(lab: Lab, node: str) -> list[dict[str, Any]]:
    """
    What a node knows of connections.
    """
    found: list[dict[str, Any]] = lab.query(node, "flows")["flows"]
    return found


def sockets(lab: Lab, node: str) -> str:
    """
    All that a node's kernel knows of TCP, TIME-WAIT too.
    """
    return lab.exec(node, ["ss", "-Htan"]).stdout.decode()


def counts(lab: Lab, node: str) -> dict[str, int]:
    """
    How many flows a node knows, as front-end and as back-end.
    """
    found: dict[str, int] = lab.query(node, "stats")["flows"]
    return found


def emptied(lab: Lab) -> dict[str, dict[str, int]]:
    """
    Wait until no node knows a flow.

    @return: how many each knows, when it is none or takes too long.
    """
    deadline = time.monotonic() + _PATIENCE
    while True:
        found = {node: counts(lab, node) for node in lab.nodes}
        if not any(map(any, map(dict.values, found.values()))) or time.monotonic() > deadline:
            return found
        time.sleep(0.1)


def _listener(lab: Lab, node: str, family: int) -> End:
    return lab.address(node, family), LISTEN_PORT


def _origin(lab: Lab, node: str, family: int) -> End:
    return lab.address(node, family), ORIGIN_PORT


def _glance(lab: Lab, front: str, back: str, family: int) -> Connection:
    path = f"/{back}/{_SMALL}"
    return fetch(lab, front, back, family, request(path), lab.content(path))


def fetch(
    lab: Lab,
    front: str,
    back: str,
    family: int,
    head: bytes,
    content: bytes,
    pause: float = 0.0,
) -> Connection:
    """
    One request and its answer.

    @param head: the request.
    @param content: the body of the answer.
    @param pause: seconds from then until the client closes.
    """
    with dial(lab, family, front) as connection:
        client = end(connection)
        _ask(connection, back, head, content)
        time.sleep(pause)
    return Connection(
        front=front,
        back=back,
        family=family,
        client=client,
        at_front=_listener(lab, front, family),
        at_back=_origin(lab, back, family),
        head=head,
    )


def _ask(connection: socket.socket, back: str, head: bytes, content: bytes) -> None:
    connection.sendall(head)
    answered, body = answer(connection)
    assert answered.headers["X-Node"] == back, answered.headers
    assert body == content, f"status {answered.status}, {len(body)} octets of something else"


def _converse(lab: Lab, front: str, back: str, family: int) -> Conversation:
    body = lab.content(f"/{back}/{_LARGE}")
    head = request(f"/{back}/upload/x", f"Content-Length: {len(body)}", method="POST")
    with dial(lab, family, front) as connection:
        client = end(connection)
        connection.sendall(head[:PIECE])
        waiting = flows(lab, front)
        connection.sendall(head[PIECE:])
        connection.sendall(body)
        answered, count = answer(connection)
        assert (answered.status, count) == (200, b"%d\n" % len(body)), (answered.status, count)
        nodes = {front, back}
        known = {node: flows(lab, node) for node in nodes}
        open_sockets = {node: sockets(lab, node) for node in nodes}
        _ask(connection, back, request(f"/{back}/{_LARGE}"), body)
    return Conversation(
        front=front,
        back=back,
        family=family,
        client=client,
        at_front=_listener(lab, front, family),
        at_back=_origin(lab, back, family),
        head=head,
        waiting=waiting,
        flows=known,
        sockets=open_sockets,
    )
