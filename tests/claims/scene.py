# SPDX-License-Identifier: MIT
"""
The connections that most claims are shown on: eight of them, recorded at all places at once.

Each uploads 100 kB and then, kept alive, downloads 100 kB.  So there are packets with data in
both directions before, while and after the connection is handed off.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from attrs import frozen

from btcp.lab.cluster import Lab
from btcp.lab.topology import LISTEN_PORT, ORIGIN_PORT
from tests.claims.channel import Channel
from tests.claims.stage import End, Stage, answer, dial, request
from tests.claims.tape import Tape, places, recording

STAGE = Stage("claims")

HANDED_OFF = (("a", "b"), ("c", "a"))
"""Front-end and back-end: one pair for the first, one for the second claim of a pair."""

LOCAL = ("a", "b")
"""Front-end and back-end at once."""

_FILE = "100k"
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
    @ivar flows: of front-end and back-end, by node, while the connection was open.
    @ivar sockets: what the kernels had, by node, while the connection was open.
    """

    front: str
    back: str
    family: int
    client: End
    at_front: End
    at_back: End
    head: bytes
    flows: Mapping[str, list[dict[str, Any]]]
    sockets: Mapping[str, str]

    @property
    def name(self) -> str:
        """
        For sentences.
        """
        return f"IPv{self.family}"


@frozen
class Scene:
    """
    @ivar freed: the nodes' flows in the end.
    """

    lab: Lab
    tape: Tape
    connections: tuple[Connection, ...]
    freed: Mapping[str, dict[str, int]]

    def between(self, front: str, back: str) -> Iterator[Connection]:
        """
        The connections handed off from one node to the other, over IPv4 and IPv6.
        """
        return (each for each in self.connections if (each.front, each.back) == (front, back))

    def channel(self, node: str) -> Channel:
        """
        What was said to and by a node.
        """
        return _channel(self, node)


@cache
def scene() -> Scene:
    """
    Made at the first call.
    """
    lab = STAGE.lab()
    pairs = [*HANDED_OFF, *((node, node) for node in LOCAL)]
    lab.offload(False, checksums=False)
    try:
        with recording(lab, places(lab.nodes)) as tape:
            connections = tuple(
                _converse(lab, front, back, family) for front, back in pairs for family in (4, 6)
            )
            freed = emptied(lab)
    finally:
        lab.offload(True)
    return Scene(lab, tape, connections, freed)


@cache
def _channel(scene: Scene, node: str) -> Channel:
    return Channel(scene.lab, scene.tape.at(node))


def end(connection: Any) -> End:
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


def _converse(lab: Lab, front: str, back: str, family: int) -> Connection:
    body = lab.content(f"/{back}/{_FILE}")
    head = request(f"/{back}/upload/x", f"Content-Length: {len(body)}", method="POST")
    with dial(lab, family, front) as connection:
        client = end(connection)
        connection.sendall(head)
        connection.sendall(body)
        answered, count = answer(connection)
        assert (answered.status, count) == (200, b"%d\n" % len(body)), (answered.status, count)
        nodes = {front, back}
        known = {node: flows(lab, node) for node in nodes}
        open_sockets = {node: sockets(lab, node) for node in nodes}
        connection.sendall(request(f"/{back}/{_FILE}"))
        answered, content = answer(connection)
        assert (answered.status, answered.headers["X-Node"]) == (200, back), answered.headers
        assert content == body, f"{len(content)} octets, but not those of the file"
    return Connection(
        front=front,
        back=back,
        family=family,
        client=client,
        at_front=(lab.address(front, family), LISTEN_PORT),
        at_back=(lab.address(back, family), ORIGIN_PORT),
        head=head,
        flows=known,
        sockets=open_sockets,
    )
