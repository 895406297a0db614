# SPDX-License-Identifier: MIT
"""
A node to manage, all of it made up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock

from btcp.admin.handlers import CommandHandlers, HandlerContext
from btcp.cluster.state import Admin
from btcp.config import Config, loads
from btcp.express.service import Held
from btcp.handoff.messages import Endpoint

CONFIG = """
node: a
nodes:
  a: {addresses: [192.0.2.11], control: "192.0.2.11:7311"}
  b: {addresses: [192.0.2.12], control: "192.0.2.12:7311"}
listeners: {web: {port: 80, origin: 8080}}
partition:
  - {path: /a/, nodes: [a]}
  - {path: /, nodes: [a, b]}
  - {host: h.example, path: /, nodes: [b]}
control: {insecure: true}
"""


class FakeMembership:
    """
    Remembers what was said.
    """

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, object]] = {
            name: {
                "node": name,
                "admin": "ready",
                "drained": False,
                "weight": 1.0,
                "fronts": 1,
                "backs": 2,
            }
            for name in "ab"
        }

    def set_state(self, node: str, state: Admin) -> None:
        self.rows[node]["admin"] = state.value

    def set_weight(self, node: str, percent: int) -> None:
        self.rows[node]["weight"] = percent / 100


class FakeFlows:
    """
    No flows at all.
    """

    def __init__(self) -> None:
        self.by_key: dict[bytes, object] = {}
        self.outbound: dict[bytes, object] = {}


class FakeCore:
    """
    @ivar flows: of either half.
    """

    def __init__(self) -> None:
        self.counters: Counter[str] = Counter()
        self.acceptor = self.adopter = self
        self.flows = FakeFlows()


class FakeNode:
    """
    @ivar shut: the ends that C{shutdown flow} named.
    @ivar problem: what C{reload} raises, if anything.
    """

    def __init__(self) -> None:
        self.core: Any = FakeCore()
        self.config: Config = loads(CONFIG, "node.yaml")
        self.membership = FakeMembership()
        self.shut: list[Endpoint] = []
        self.problem: Exception | None = None
        self.counters = {"accept.syn": 3, "dropped.truncated": 1}
        self.large = ""

    def show(self, what: str) -> Any:
        if what == "stats":
            return {"node": "a", "flows": {"front": 1, "back": 2}, "counters": self.counters}
        if what == "nodes":
            return {"nodes": [dict(row) for row in self.membership.rows.values()]}
        if self.large:
            return {"peers": self.large}
        return {"peers": [{"node": "b", "state": "up"}]}

    def held_elsewhere(self) -> Iterator[Held]:
        return iter(())

    def shutdown_flow(self, client: Endpoint) -> int:
        self.shut.append(client)
        return int(client.port == 1024)

    def clear_counters(self) -> int:
        return 2

    def reload(self) -> list[str]:
        if self.problem is not None:
            raise self.problem
        return ["limits.flows"]


class FakeTracer:
    """
    @ivar begun: with which arguments.
    """

    def __init__(self) -> None:
        self.begun: list[tuple[Any, ...]] = []

    def begin(self, *arguments: Any) -> None:
        if arguments[0] == "/full":
            raise OSError(28, "No space left on device")
        if self.begun:
            raise ValueError("a trace is running")
        self.begun.append(arguments)

    def end(self) -> None:
        if not self.begun:
            raise ValueError("no trace is running")
        self.begun.clear()

    def show(self) -> dict[str, object]:
        return {"state": "running" if self.begun else "none"}


class Scene:
    """
    A node, and what people order it through.
    """

    def __init__(self, reactor: IReactorTime | None = None) -> None:
        self.clock = Clock()
        self.node = FakeNode()
        self.tracer = FakeTracer()
        self.recent: list[dict[str, object]] = []
        around = HandlerContext(
            node=self.node,
            tracer=self.tracer,
            reactor=reactor or self.clock,
            clock=self.clock.seconds,
            recent=lambda: self.recent,
            about=lambda: {"node": "a", "version": "0"},
        )
        self.commands = CommandHandlers(around)


def joined(pieces: Iterator[bytes]) -> bytes:
    """
    All the pieces of an answer.
    """
    return b"".join(pieces)
