# SPDX-License-Identifier: MIT
"""
Handlers of the management commands.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Protocol

from attrs import field, frozen
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from btcp.admin import views
from btcp.admin.flows import FlowFilter, list_flows
from btcp.admin.grammar import ParsedCommand
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
"""Seconds between checks of a draining node."""

DEFAULT_WAIT = 60.0
"""Seconds that C{wait drained} waits by default."""

Row = Mapping[str, object]


class CommandFailed(Exception):
    """
    A command that failed; the text is the reason.
    """


class Membership(Protocol):
    """
    The part of L{btcp.cluster.membership.Membership} that the handlers use.
    """

    def set_state(self, node: str, state: Admin) -> None:
        """
        Set a node's administrative state.

        @raise KeyError: if there is no such node.
        """

    def set_weight(self, node: str, percent: int) -> None:
        """
        Set the percentage of its configured weight that a node has.

        @raise KeyError: if there is no such node.
        """


class Managed(Protocol):
    """
    The part of L{btcp.node.service.Node} that the handlers use.
    """

    core: BottomTcp

    @property
    def config(self) -> Config: ...

    @property
    def membership(self) -> Membership: ...

    def show(self, what: str) -> Any:
        """
        Return the answer to a C{show} command, as JSON values.

        @param what: C{stats}, C{peers} or C{nodes}.  The rows of C{nodes} have C{node}, C{admin},
            C{drained}, C{fronts}, C{backs} and more.
        """

    def shutdown_flow(self, client: Endpoint) -> int: ...

    def held_elsewhere(self) -> Iterator[Held]: ...

    def clear_counters(self) -> int: ...

    def reload(self) -> list[str]:
        """
        Reload the configuration.

        @return: the keys that have changed.
        @raise Exception: if it cannot be applied; the text is the reason.
        """


class Tracer(Protocol):
    """
    The part of L{btcp.datapath.trace.TraceDatapath} that the handlers use.
    """

    def begin(
        self, path: str, client: tuple[bytes, int | None] | None, ports: set[int], limit: int
    ) -> None:
        """
        Start a trace.

        @raise OSError: if the file cannot be created.
        @raise ValueError: if a trace is running.
        """

    def end(self) -> None: ...

    def show(self) -> dict[str, object]: ...


@frozen(kw_only=True)
class HandlerContext:
    """
    The objects that the handlers work with.

    @ivar node: the node.
    @ivar tracer: records packets.
    @ivar reactor: provides timers.
    @ivar clock: the core's clock.
    @ivar recent: returns recent warnings and errors of the log.
    @ivar about: returns the answer to C{show info}, without the operator's level.
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
    The result of a command.

    @ivar pieces: the JSON text of the answer, in pieces.
    @ivar status: the status of the command.
    """

    pieces: Iterator[bytes]
    status: Status = Status.DONE


def plain(value: object, status: Status = Status.DONE) -> Outcome:
    """
    Make the result of a command whose answer is small.
    """
    text = json.dumps(value, default=str, separators=(",", ":")).encode()
    return Outcome(iter([text]), status)


Answer = Outcome | Awaitable[Outcome]


@frozen
class CommandHandlers:
    """
    Dispatcher of commands to their handlers.
    """

    _context: HandlerContext
    _do: Mapping[str, Callable[[Mapping[str, Any], Level], Answer]] = field(init=False)

    def __attrs_post_init__(self) -> None:
        looks = {
            "nodes": lambda: self._context.node.show("nodes"),
            "map": lambda: {"map": views.partition(self._context.node.config)},
            "stats": lambda: self._context.node.show("stats"),
            "errors": self._errors,
            "peers": lambda: self._context.node.show("peers"),
            "config": lambda: {"config": views.configuration(self._context.node.config)},
            "trace": lambda: {"trace": self._context.tracer.show()},
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

    def execute(self, command: ParsedCommand, level: Level) -> Answer:
        """
        Execute a command.

        @param level: the operator's level.
        @return: the result, or an awaitable of it if the command waits.
        @raise CommandFailed: if the command fails; an awaitable raises it as well.
        """
        return self._do[command.form.name](command.values, level)

    # -- looking --------------------------------------------------------------

    def _errors(self) -> object:
        counters = self._context.node.show("stats")["counters"]
        return {"counters": views.troubles(counters), "log": self._context.recent()}

    def _flows(self, values: Mapping[str, Any], level: Level) -> Outcome:
        node, clock = self._context.node, self._context.clock
        return Outcome(list_flows(node.core, clock, FlowFilter(**values), node.held_elsewhere()))

    def _info(self, values: Mapping[str, Any], level: Level) -> Outcome:
        return plain({"info": {**self._context.about(), "level": str(level)}})

    # -- nodes ----------------------------------------------------------------

    def _row(self, node: str) -> Row:
        row: Row
        for row in self._context.node.show("nodes")["nodes"]:
            if row["node"] == node:
                return row
        raise CommandFailed(f"there is no node {node}")

    def _set_node(self, values: Mapping[str, Any], level: Level) -> Outcome:
        self._row(values["node"])
        self._context.node.membership.set_state(values["node"], Admin(values["admin"]))
        return plain({"nodes": [self._row(values["node"])]})

    def _set_weight(self, values: Mapping[str, Any], level: Level) -> Outcome:
        self._row(values["node"])
        self._context.node.membership.set_weight(values["node"], values["percent"])
        return plain({"nodes": [self._row(values["node"])]})

    async def _wait_drained(self, values: Mapping[str, Any], level: Level) -> Outcome:
        node, patience = values["node"], values.get("seconds", DEFAULT_WAIT)
        began = self._context.clock()
        while True:
            row = self._row(node)
            if row["admin"] == "ready":
                raise CommandFailed(f"{node} is ready and accepts new flows: set node {node} drain")
            waited = self._context.clock() - began
            said = {"node": node, "fronts": row["fronts"], "backs": row["backs"]}
            drained = bool(row["drained"])
            if drained or waited >= patience:
                answer = {**said, "drained": drained, "seconds": round(waited, 1)}
                return plain(answer, Status.DONE if drained else Status.FAILED)
            await deferLater(self._context.reactor, LOOK_TIME)

    # -- flows, counters ------------------------------------------------------

    def _shutdown_flow(self, values: Mapping[str, Any], level: Level) -> Outcome:
        client = values["client"]
        count = self._context.node.shutdown_flow(client)
        if not count:
            raise CommandFailed(f"there is no flow of {endpoint_text(client)} on this node")
        return plain({"client": endpoint_text(client), "shut": count})

    def _clear_counters(self, values: Mapping[str, Any], level: Level) -> Outcome:
        return plain({"cleared": self._context.node.clear_counters()})

    # -- trace, configuration -------------------------------------------------

    def _trace_start(self, values: Mapping[str, Any], level: Level) -> Outcome:
        path, client = values["file"], values.get("client")
        ends = None if client is None else (client.address, client.port)
        ports = self._ports(values.get("listener"))
        try:
            self._context.tracer.begin(path, ends, ports, values.get("max", DEFAULT_TRACE))
        except OSError as error:
            raise CommandFailed(f"{path}: {error.strerror}") from None
        except ValueError as error:
            raise CommandFailed(str(error)) from None
        return plain({"trace": self._context.tracer.show()})

    def _ports(self, name: str | None) -> set[int]:
        listeners = self._context.node.config.listeners
        for listener in listeners:
            if name == listener.name:
                return {listener.port, listener.origin}
        if name is not None:
            known = ", ".join(listener.name for listener in listeners)
            raise CommandFailed(f"there is no listener {name}; known: {known}")
        return set()

    def _trace_stop(self, values: Mapping[str, Any], level: Level) -> Outcome:
        try:
            self._context.tracer.end()
        except ValueError as error:
            raise CommandFailed(str(error)) from None
        return plain({"trace": self._context.tracer.show()})

    def _reload(self, values: Mapping[str, Any], level: Level) -> Outcome:
        try:
            return plain({"changed": self._context.node.reload()})
        except Exception as error:  # errors of the configuration, of files and of the datapath
            raise CommandFailed(str(error)) from error


DEFAULT_TRACE = 10 << 20
"""Default maximum size of a trace, in octets."""


def _looking(
    look: Callable[[], object],
) -> Callable[[Mapping[str, Any], Level], Outcome]:
    return lambda values, level: plain(look())
