# SPDX-License-Identifier: MIT
"""
Carrying out what people order.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Protocol

from attrs import field, frozen
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from btcp.admin import views
from btcp.admin.flows import Wanted, listing
from btcp.admin.grammar import Order
from btcp.admin.levels import Level
from btcp.admin.protocol import Status
from btcp.admin.syntax import explained
from btcp.cluster.state import Admin
from btcp.config import Config
from btcp.express.service import Held
from btcp.handoff.bottom import BottomTcp
from btcp.handoff.messages import Endpoint
from btcp.logs import endpoint_text

LOOK_TIME = 0.2
"""Seconds from one look at a node that drains to the next."""

DEFAULT_WAIT = 60.0

Row = Mapping[str, object]


class OrderFailed(Exception):
    """
    It cannot be done; the text says why.
    """


class Membership(Protocol):
    """
    See C{btcp.cluster.membership}.
    """

    def set_state(self, node: str, state: Admin) -> None:
        """
        @raise KeyError: if there is no such node.
        """

    def set_weight(self, node: str, percent: int) -> None:
        """
        @raise KeyError: if there is no such node.
        """


class Managed(Protocol):
    """
    What of a node people look at and change.
    """

    core: BottomTcp

    @property
    def config(self) -> Config: ...

    @property
    def membership(self) -> Membership: ...

    def show(self, what: str) -> Any:
        """
        @param what: C{stats}, C{peers} or C{nodes}: for each of these C{node}, C{admin},
            C{drained}, C{fronts}, C{backs} and more.
        """

    def shutdown_flow(self, client: Endpoint) -> int: ...

    def held_elsewhere(self) -> Iterator[Held]: ...

    def clear_counters(self) -> int: ...

    def reload(self) -> list[str]:
        """
        @return: what has changed.
        @raise Exception: it cannot be; the text says why.
        """


class Tracer(Protocol):
    """
    See L{btcp.datapath.trace.TraceDatapath}.
    """

    def begin(
        self, path: str, client: tuple[bytes, int | None] | None, ports: set[int], limit: int
    ) -> None:
        """
        @raise OSError: if the file cannot be made.
        @raise ValueError: if there is a trace already.
        """

    def end(self) -> None: ...

    def show(self) -> dict[str, object]: ...


@frozen(kw_only=True)
class Surroundings:
    """
    What the shell has to do with, beside the node.

    @ivar clock: the core's time.
    @ivar reactor: waits.
    @ivar recent: what was worth a warning.
    @ivar about: says what C{show info} says, but for who asks.
    """

    node: Managed
    tracer: Tracer
    reactor: IReactorTime
    clock: Callable[[], float]
    recent: Callable[[], list[dict[str, object]]]
    about: Callable[[], dict[str, object]]


@frozen
class Outcome:
    """
    How an order went.

    @ivar pieces: of the JSON text that answers it.
    """

    pieces: Iterator[bytes]
    status: Status = Status.DONE


def plain(value: object, status: Status = Status.DONE) -> Outcome:
    """
    An answer that is small.
    """
    text = json.dumps(value, default=str, separators=(",", ":")).encode()
    return Outcome(iter([text]), status)


Answer = Outcome | Awaitable[Outcome]


@frozen
class Orders:
    """
    Does them.
    """

    _around: Surroundings
    _do: Mapping[str, Callable[[Mapping[str, Any], Level], Answer]] = field(init=False)

    def __attrs_post_init__(self) -> None:
        looks = {
            "nodes": lambda: self._around.node.show("nodes"),
            "map": lambda: {"map": views.partition(self._around.node.config)},
            "stats": lambda: self._around.node.show("stats"),
            "errors": self._errors,
            "peers": lambda: self._around.node.show("peers"),
            "config": lambda: {"config": views.configuration(self._around.node.config)},
            "trace": lambda: {"trace": self._around.tracer.show()},
        }
        does: dict[str, Callable[[Mapping[str, Any], Level], Answer]] = {
            **{f"show {what}": _looking(look) for what, look in looks.items()},
            "show flows": self._flows,
            "show info": self._info,
            "set node": self._set_node,
            "set weight": self._set_weight,
            "shutdown flow": self._shutdown_flow,
            "wait drained": self._wait_drained,
            "clear counters": self._clear_counters,
            "trace start": self._trace_start,
            "trace stop": self._trace_stop,
            "reload": self._reload,
            "help": lambda values, level: plain(explained(values.get("verb"))),
            "quit": lambda values, level: plain({}),
        }
        object.__setattr__(self, "_do", does)

    def carry_out(self, order: Order, level: Level) -> Answer:
        """
        @param level: of whoever orders it.
        @return: at once, or when it is awaited.
        @raise OrderFailed: it cannot be done; also when it is awaited.
        """
        return self._do[order.form.name](order.values, level)

    # -- looking --------------------------------------------------------------

    def _errors(self) -> object:
        counters = self._around.node.show("stats")["counters"]
        return {"counters": views.troubles(counters), "log": self._around.recent()}

    def _flows(self, values: Mapping[str, Any], level: Level) -> Outcome:
        node, clock = self._around.node, self._around.clock
        return Outcome(listing(node.core, clock, Wanted(**values), node.held_elsewhere()))

    def _info(self, values: Mapping[str, Any], level: Level) -> Outcome:
        return plain({"info": {**self._around.about(), "level": str(level)}})

    # -- nodes ----------------------------------------------------------------

    def _row(self, node: str) -> Row:
        row: Row
        for row in self._around.node.show("nodes")["nodes"]:
            if row["node"] == node:
                return row
        raise OrderFailed(f"there is no node {node}")

    def _set_node(self, values: Mapping[str, Any], level: Level) -> Outcome:
        self._row(values["node"])
        self._around.node.membership.set_state(values["node"], Admin(values["admin"]))
        return plain({"nodes": [self._row(values["node"])]})

    def _set_weight(self, values: Mapping[str, Any], level: Level) -> Outcome:
        self._row(values["node"])
        self._around.node.membership.set_weight(values["node"], values["percent"])
        return plain({"nodes": [self._row(values["node"])]})

    async def _wait_drained(self, values: Mapping[str, Any], level: Level) -> Outcome:
        node, patience = values["node"], values.get("seconds", DEFAULT_WAIT)
        began = self._around.clock()
        while True:
            row = self._row(node)
            if row["admin"] == "ready":
                raise OrderFailed(f"{node} is ready, and takes new flows: set node {node} drain")
            waited = self._around.clock() - began
            said = {"node": node, "fronts": row["fronts"], "backs": row["backs"]}
            drained = bool(row["drained"])
            if drained or waited >= patience:
                answer = {**said, "drained": drained, "seconds": round(waited, 1)}
                return plain(answer, Status.DONE if drained else Status.FAILED)
            await deferLater(self._around.reactor, LOOK_TIME)

    # -- flows, counters ------------------------------------------------------

    def _shutdown_flow(self, values: Mapping[str, Any], level: Level) -> Outcome:
        client = values["client"]
        count = self._around.node.shutdown_flow(client)
        if not count:
            raise OrderFailed(f"there is no flow of {endpoint_text(client)} on this node")
        return plain({"client": endpoint_text(client), "shut": count})

    def _clear_counters(self, values: Mapping[str, Any], level: Level) -> Outcome:
        return plain({"cleared": self._around.node.clear_counters()})

    # -- trace, configuration -------------------------------------------------

    def _trace_start(self, values: Mapping[str, Any], level: Level) -> Outcome:
        path, client = values["file"], values.get("client")
        ends = None if client is None else (client.address, client.port)
        ports = self._ports(values.get("listener"))
        try:
            self._around.tracer.begin(path, ends, ports, values.get("max", DEFAULT_TRACE))
        except OSError as error:
            raise OrderFailed(f"{path}: {error.strerror}") from None
        except ValueError as error:
            raise OrderFailed(str(error)) from None
        return plain({"trace": self._around.tracer.show()})

    def _ports(self, name: str | None) -> set[int]:
        listeners = self._around.node.config.listeners
        for listener in listeners:
            if name == listener.name:
                return {listener.port, listener.origin}
        if name is not None:
            known = ", ".join(listener.name for listener in listeners)
            raise OrderFailed(f"there is no listener {name}; there are {known}")
        return set()

    def _trace_stop(self, values: Mapping[str, Any], level: Level) -> Outcome:
        try:
            self._around.tracer.end()
        except ValueError as error:
            raise OrderFailed(str(error)) from None
        return plain({"trace": self._around.tracer.show()})

    def _reload(self, values: Mapping[str, Any], level: Level) -> Outcome:
        try:
            return plain({"changed": self._around.node.reload()})
        except Exception as error:  # the configuration's errors are of several kinds
            raise OrderFailed(str(error)) from error


DEFAULT_TRACE = 10 << 20
"""Octets."""


def _looking(
    look: Callable[[], object],
) -> Callable[[Mapping[str, Any], Level], Outcome]:
    return lambda values, level: plain(look())
