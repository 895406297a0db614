# SPDX-License-Identifier: MIT
"""
All that lets people manage a node, put together.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

from attrs import field, frozen
from twisted.application.service import MultiService

from btcp.admin.endpoints import Protected, SocketService, TlsService
from btcp.admin.handlers import Managed, Orders, Surroundings, Tracer
from btcp.admin.protocol import SOCKET
from btcp.admin.recent_errors import Recent
from btcp.admin.server import SecuredSession, Session, Sessions


@frozen
class About:
    """
    What a node is, beside its configuration.

    @ivar ebpf: the kernel moves the packets of spliced flows.
    @ivar admits: connections are adopted by cookie.
    @ivar clock: monotonic seconds.
    """

    node: str
    epoch: int
    ebpf: bool
    admits: bool
    clock: Callable[[], float]
    started: float = field(init=False)

    @started.default
    def _start(self) -> float:
        return self.clock()

    def __call__(self) -> dict[str, object]:
        """
        @return: what C{show info} shows.
        """
        return {
            "node": self.node,
            "version": version("btcp"),
            "pid": os.getpid(),
            "uptime": round(self.clock() - self.started, 1),
            "epoch": self.epoch,
            "datapath": "ebpf" if self.ebpf else "raw",
            "adoption": "cookie" if self.admits else "replay",
        }


class ManagedNode(Managed, Protocol):
    """
    What of L{btcp.node.service.Node} is used here.
    """

    @property
    def protection(self) -> Protected: ...


def manage(reactor: Any, node: ManagedNode, tracer: Tracer, about: About) -> MultiService:
    """
    @return: a service that listens on the management socket, and on the TLS port if there is
        to be one.
    """
    service, recent = MultiService(), Recent()
    recent.setServiceParent(service)
    orders = Orders(
        Surroundings(
            node=node,
            tracer=tracer,
            reactor=reactor,
            clock=about.clock,
            recent=recent.show,
            about=about,
        )
    )
    counters = node.core.counters
    path = str(Path(node.config.run) / SOCKET)
    sessions = Sessions(Session, orders, reactor, counters)
    SocketService(path, sessions, reactor).setServiceParent(service)
    end = node.config.own.manage
    if end is not None:
        secured = Sessions(SecuredSession, orders, reactor, counters)
        TlsService(end, secured, node.protection, reactor).setServiceParent(service)
    return service
