# SPDX-License-Identifier: MIT
"""
What stands in a lab, as text for people.
"""

from __future__ import annotations

from collections.abc import Mapping

from btcp.lab.cluster import Lab
from btcp.lab.programs import LabError
from btcp.lab.topology import addresses
from btcp.table import flat, table


def status(lab: Lab) -> str:
    """
    A table of the hosts, and one of the counters of those nodes that answer.
    """
    hosts = [("host", "IPv4", "IPv6", "origin", "twistd btcp")]
    for host in lab.network.hosts:
        pids = _pids(lab, host) if host in lab.nodes else ("", "")
        hosts.append((host, *addresses(host), *pids))
    counters = {node: found for node in lab.nodes if (found := _counters(lab, node))}
    return "\n\n".join([table(hosts), *([_compared(counters)] if counters else [])])


def _pids(lab: Lab, node: str) -> tuple[str, str]:
    return _running(lab.origin_pid(node)), _running(lab.daemon_pid(node))


def _running(pid: int | None) -> str:
    return "does not run" if pid is None else f"runs, pid {pid}"


def _counters(lab: Lab, node: str) -> dict[str, object]:
    if lab.daemon_pid(node) is None:
        return {}
    try:
        stats = flat(lab.query(node, "stats"))
    except LabError:
        return {}
    return {name: value for name, value in stats.items() if isinstance(value, (int, float))}


def _compared(counters: Mapping[str, Mapping[str, object]]) -> str:
    """
    A row for each counter that has moved on any node, a column for each node.
    """
    names = dict.fromkeys(name for found in counters.values() for name in found)
    moved = [name for name in names if any(found.get(name) for found in counters.values())]
    rows = [[name, *(found.get(name, 0) for found in counters.values())] for name in moved]
    return table([["counter", *counters], *rows])
