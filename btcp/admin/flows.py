# SPDX-License-Identifier: MIT
"""
The answer to C{show flows}: a node's flows as JSON text, produced in pieces on demand.

A node can have hundreds of thousands of flows while it handles packets, so each piece examines a
bounded number of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import TypeVar

from attrs import frozen

from btcp.admin.argument_types import Client
from btcp.admin.protocol import PAGE
from btcp.express.service import Held
from btcp.handoff.bottom import BottomTcp
from btcp.handoff.flows import AcceptedFlow, AdoptedFlow
from btcp.handoff.messages import Endpoint
from btcp.logs import endpoint_text

GLANCE = 1024
"""Maximum number of flows that one piece examines, matching or not: a few milliseconds."""

Row = dict[str, object]
F = TypeVar("F")


@frozen(kw_only=True)
class FlowFilter:
    """
    A selection of flows; C{None} matches everything.

    @ivar limit: the maximum number of flows listed.
    """

    client: Client | None = None
    listener: str | None = None
    node: str | None = None
    state: str | None = None
    role: str | None = None
    limit: int | None = None

    def takes(self, client: Endpoint, listener: str, node: str | None, state: str) -> bool:
        """
        Return whether a flow with these properties is selected.
        """
        return (
            (self.node is None or self.node == node)
            and self.state in (None, state)
            and self.listener in (None, listener)
            and (self.client is None or self._is(self.client, client))
        )

    def _is(self, wanted: Client, client: Endpoint) -> bool:
        return wanted.address == client.address and wanted.port in (None, client.port)


def list_flows(
    core: BottomTcp,
    clock: Callable[[], float],
    wanted: FlowFilter,
    elsewhere: Iterable[Held] = (),
) -> Iterator[bytes]:
    """
    List the selected flows.

    @param clock: the core's clock.
    @param elsewhere: offloaded connections, which the core does not know.
    @return: pieces of C{{"flows": [...], "cut": false}}; C{cut} is true if the list was cut at the
        limit.  A row shows the flow at the moment its piece is made; flows that begin after the
        first piece are not listed.
    """
    text, seen, left = bytearray(b'{"flows":['), 0, wanted.limit
    comma = b""
    for row in chain(_rows(core, clock, wanted), _held(core, wanted, elsewhere)):
        seen += 1
        if row is not None:
            if left == 0:
                break
            text += comma + json.dumps(row, separators=(",", ":")).encode()
            comma, left = b",", None if left is None else left - 1
        if len(text) >= PAGE or seen >= GLANCE:
            yield bytes(text)
            text.clear()
            seen = 0
    else:
        yield bytes(text) + b'],"cut":false}'
        return
    yield bytes(text) + b'],"cut":true}'


def _rows(core: BottomTcp, clock: Callable[[], float], wanted: FlowFilter) -> Iterator[Row | None]:
    """
    Iterate over the core's flows: a row for each selected flow, L{None} for each other one.
    """
    accepted, adopted = core.acceptor.flows.by_key, core.adopter.flows.outbound
    # Copies of the keys: the tables change between pieces.
    fronts = list(accepted) if wanted.role != "back" else ()
    backs = list(adopted) if wanted.role != "front" else ()
    for front in _present(accepted, fronts):
        yield _front(front, clock(), wanted)
    for back in _present(adopted, backs):
        yield _back(back, clock(), wanted)


def _held(core: BottomTcp, wanted: FlowFilter, elsewhere: Iterable[Held]) -> Iterator[Row | None]:
    for held in elsewhere:
        entry = held.entry
        name, client = _listener(core, held), entry.client
        if wanted.role not in (None, held.role) or not wanted.takes(
            client, name, held.node, entry.state
        ):
            yield None
            continue
        row = {
            "role": held.role,
            "client": endpoint_text(client),
            "listener": name,
            "state": entry.state,
            "node": held.node,
        }
        more = {"request": None} if held.role == "front" else {"octets": entry.route.octets}
        yield {**row, **more, "age": None}


def _listener(core: BottomTcp, held: Held) -> str:
    """
    Find the name of an offloaded connection's listener; at a back-end, that of the first listener
    with the connection's origin port.
    """
    settings, at = core.context.settings, held.entry.listener
    if held.role == "front":
        return settings.listeners.get(at.address + at.port.to_bytes(2, "big"), "")
    origin = held.entry.origin
    ours = (name for (name, _), (_, port) in settings.origins.items() if port == origin)
    return next(ours, "")


def _present(table: Mapping[bytes, F], keys: Iterable[bytes]) -> Iterator[F]:
    for key in keys:
        flow = table.get(key)
        if flow is not None:
            yield flow


def _front(flow: AcceptedFlow, now: float, wanted: FlowFilter) -> Row | None:
    client = flow.client
    if not wanted.takes(client, flow.listener, flow.node, flow.state.value):
        return None
    return {
        "role": "front",
        "client": endpoint_text(client),
        "listener": flow.listener,
        "state": flow.state.value,
        "node": flow.node,
        "request": None if flow.request_key is None else str(flow.request_key),
        "age": round(now - flow.started, 3),
    }


def _back(flow: AdoptedFlow, now: float, wanted: FlowFilter) -> Row | None:
    order = flow.order
    if not wanted.takes(order.client, order.listener, flow.peer, flow.state.value):
        return None
    flow.refresh()
    return {
        "role": "back",
        "client": endpoint_text(order.client),
        "listener": order.listener,
        "state": flow.state.value,
        "node": flow.peer,
        "octets": flow.to_client.octets if flow.to_client is not None else 0,
        "age": round(now - flow.started, 3),
    }
