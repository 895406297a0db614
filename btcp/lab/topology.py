# SPDX-License-Identifier: MIT
"""
Who is in a lab, at which address, and what each node is told in its C{node.yaml}.

Addresses are those RFC 5737 and RFC 3849 set aside for documentation::

    client ─ 198.51.100.0/24, 2001:db8:1::/64 ─ router ─ 192.0.2.0/24, 2001:db8:2::/64 ─ a, b, c
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from string import ascii_lowercase

import yaml

CLIENT = "client"
ROUTER = "router"
# A node is one letter; eight of them are as many as two cores can make any use of.
NODES = ascii_lowercase[:8]
# The whole of a replicated part's content is on every node.
SHARED = "shared"

CLIENT_NET = ("198.51.100.", "2001:db8:1::")
NODE_NET = ("192.0.2.", "2001:db8:2::")
# Further addresses of the client, for tests that need more ports than one address has.
CLIENT_EXTRA = range(11, 21)

LISTEN_PORT = 80
ORIGIN_PORT = 8080
CONTROL_PORT = 7311


def addresses(host: str) -> tuple[str, str]:
    """
    @param host: C{client}, C{router} (its leg on the nodes' network) or a node.
    @return: the host's IPv4 and IPv6 address.
    """
    if host == CLIENT:
        return _pair(CLIENT_NET, 10)
    if host == ROUTER:
        return _pair(NODE_NET, 1)
    return _pair(NODE_NET, 11 + NODES.index(host))


def _pair(net: tuple[str, str], number: int) -> tuple[str, str]:
    return f"{net[0]}{number}", f"{net[1]}{number}"


def url(host: str, family: int, path: str, port: int = LISTEN_PORT) -> str:
    """
    @param family: 4 or 6.
    @param path: begins with a slash.
    @return: such as C{http://[2001:db8:2::11]/a/1k}.
    """
    v4, v6 = addresses(host)
    authority = v4 if family == 4 else f"[{v6}]"
    return f"http://{authority}{'' if port == 80 else f':{port}'}{path}"


def node_yaml(
    node: str, run: Path, nodes: Iterable[str], overrides: Mapping[str, object] | None = None
) -> str:
    """
    The configuration of one node of a lab.

    @param run: the directory for the node's management socket.
    @param nodes: all nodes of the cluster.
    @param overrides: top-level keys that replace, or with C{None} remove, those made here.
    """
    nodes = list(nodes)
    made: dict[str, object] = {
        "node": node,
        "run": str(run),
        "state": str(run),
        "nodes": {name: settings(name) for name in nodes},
        "listeners": {"web": {"port": LISTEN_PORT, "origin": ORIGIN_PORT}},
        "partition": [
            *({"path": f"/{name}/", "nodes": [name]} for name in nodes),
            {"path": f"/{SHARED}/", "nodes": nodes},
        ],
        "control": {"insecure": True, "heartbeat": 1.0},
        "datapath": "raw",
    }
    made |= overrides or {}
    made = {key: value for key, value in made.items() if value is not None}
    return yaml.safe_dump(made, sort_keys=False, default_flow_style=None)


def settings(node: str) -> dict[str, object]:
    """
    What every node is told of C{node}.
    """
    v4, v6 = addresses(node)
    return {"addresses": [v4, v6], "control": f"{v4}:{CONTROL_PORT}"}
