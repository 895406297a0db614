# SPDX-License-Identifier: MIT
"""
Construction of the management service.
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
from btcp.admin.handlers import CommandHandlers, HandlerContext, Managed, Tracer
from btcp.admin.protocol import SOCKET
from btcp.admin.recent_errors import RecentErrors
from btcp.admin.server import SecuredSession, Session, Sessions


@frozen
class About:
    """
    Facts about the running node for C{show info}.

    @ivar node: its name.
    @ivar epoch: the number of the daemon's incarnation.
    @ivar ebpf: whether the datapath is C{ebpf}.
    @ivar admits: whether connections are adopted by cookie.
    @ivar resumes: whether the next daemon takes this one's connections over.
    @ivar clock: returns monotonic seconds.
    @ivar started: when the daemon started, in seconds of C{clock}.
    """

    node: str
    epoch: int
    ebpf: bool
    admits: bool
    resumes: bool
    clock: Callable[[], float]
    started: float = field(init=False)

    @started.default
    def _start(self) -> float:
        return self.clock()

    def __call__(self) -> dict[str, object]:
        """
        Return the answer to C{show info}, without the operator's level.
        """
        return {
            "node": self.node,
            "version": version("btcp"),
            "pid": os.getpid(),
            "uptime": round(self.clock() - self.started, 1),
            "epoch": self.epoch,
            "datapath": "ebpf" if self.ebpf else "raw",
            "adoption": "cookie" if self.admits else "replay",
            "resumes": self.resumes,
        }


class ManagedNode(Managed, Protocol):
    """
    The part of L{btcp.node.service.Node} that the management service uses.
    """

    @property
    def protection(self) -> Protected: ...


def manage(reactor: Any, node: ManagedNode, tracer: Tracer, about: About) -> MultiService:
    """
    Make the service that listens on the management socket, and on the TLS port if one is
    configured.
    """
    service, recent = MultiService(), RecentErrors()
    recent.setServiceParent(service)
    commands = CommandHandlers(
        HandlerContext(
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
    sessions = Sessions(Session, commands, reactor, counters)
    SocketService(path, sessions, reactor).setServiceParent(service)
    end = node.config.own.manage
    if end is not None:
        secured = Sessions(SecuredSession, commands, reactor, counters)
        TlsService(end, secured, node.protection, reactor).setServiceParent(service)
    return service
