# SPDX-License-Identifier: MIT
"""
What is compared: ways for a client to get at what one of three origins has.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from attrs import frozen

from btcp.lab.topology import LISTEN_PORT, ORIGIN_PORT, addresses
from tests import modes

FRONT = "a"
"""Clients connect to this node, whichever has the content."""

HOLDERS = ("b", "c")
"""And these have it: what FRONT holds itself would not have to be handed off."""

_PEERS = Path(__file__).with_name("peers")


@frozen
class System:
    """
    @ivar config: what the nodes of BTCP are told; C{None} if it is not BTCP.
    @ivar port: that clients connect to.
    @ivar command: of the proxy that runs on L{FRONT}, in the foreground.
    """

    name: str
    config: Mapping[str, object] | None = None
    port: int = LISTEN_PORT
    command: tuple[str, ...] = ()

    @property
    def direct(self) -> bool:
        """
        Whether clients connect to the origins themselves.
        """
        return self.config is None and not self.command

    def target(self, holder: str, path: str) -> tuple[str, int, str]:
        """
        @param holder: the node that has the content.
        @param path: below the node's part, such as C{1k}.
        @return: address, port and path to ask for.
        """
        node = holder if self.direct else FRONT
        return addresses(node)[0], self.port, f"/{holder}/{path}"


PEERS = (
    System("direct", port=ORIGIN_PORT),
    System(
        "nginx", port=8081, command=("nginx", "-c", f"{_PEERS}/nginx.conf", "-g", "daemon off;")
    ),
    System("haproxy", port=8082, command=("haproxy", "-db", "-f", f"{_PEERS}/haproxy.cfg")),
    System(
        "haproxy-default",
        port=8083,
        command=("haproxy", "-db", "-f", f"{_PEERS}/haproxy-default.cfg"),
    ),
)

_QUIET = {"log": {"connections": "errors"}}
"""Nobody of them writes a line for each request."""

_MODES = (*modes.MODES, modes.EXPRESS)
MODES = tuple(System(str(mode), config={**mode.config, **_QUIET}) for mode in _MODES)
"""A further mode is a further line there."""

SYSTEMS = (*PEERS, *MODES)
ORIGIN = (_PEERS / "origin.conf").read_text()


def lacking() -> dict[str, list[str]]:
    """
    @return: by name of those modes that this machine cannot do, what it lacks.
    """
    found = {str(mode): mode.lacks() for mode in _MODES}
    return {name: lacks for name, lacks in found.items() if lacks}
