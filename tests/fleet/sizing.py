# SPDX-License-Identifier: MIT
"""
From what one thing costs to what a fleet needs.  Arithmetic only.
"""

from __future__ import annotations

import json
from pathlib import Path

from attrs import frozen

from btcp.control.peer import BATCH_TIME

RESULTS = Path("docs/performance/results.json")
"""What C{make bench} leaves."""

USED = 0.7
"""Share of a processor that a daemon is to use at most: what is left is for bursts."""

_MOST = 100_000


@frozen
class Link:
    """
    What one node has to do for one link; in a second, but for C{octets}.

    @ivar boxes: that it sends.
    @ivar wire: octets that it sends.
    @ivar seconds: of CPU.
    @ivar octets: of memory.
    """

    boxes: float
    wire: float
    seconds: float
    octets: float


@frozen
class Channel:
    """
    What one node sends over the control channel in a second.
    """

    links: int
    idle: float
    handoffs: float
    terminations: float
    batch: float
    cpu: float
    octets: float


def channel(nodes: int, rate: float, link: Link) -> Channel:
    """
    @param rate: connections that each node accepts in a second; all nodes hold equally much.
    """
    links = nodes - 1
    remote = rate * links / nodes
    # A batch is opened by one termination and takes all that come within its time.
    batch = 1 + remote / links * BATCH_TIME if links else 1.0
    return Channel(
        links=links,
        idle=links * link.boxes,
        handoffs=2 * remote,
        terminations=2 * remote / batch,
        batch=batch,
        cpu=links * link.seconds,
        octets=links * link.octets,
    )


def needed(rate: float, cost: float, link: Link) -> int | None:
    """
    @param rate: connections of the whole fleet in a second.
    @param cost: seconds of CPU for each, of all nodes together.
    @return: the least number of nodes; C{None} if none is enough: each further node
        then costs the others more than it gives.
    """
    for nodes in range(1, _MOST):
        left = USED - (nodes - 1) * link.seconds
        if left <= 0:
            return None
        if nodes * left >= rate * cost:
            return nodes
    return None


def most(cost: float, link: Link) -> tuple[int, float]:
    """
    @return: the number of nodes that can accept most, and how much in a second.
    """
    nodes = max(round((USED + link.seconds) / (2 * link.seconds)), 1)
    return nodes, nodes * (USED - (nodes - 1) * link.seconds) / cost


def measured(path: Path) -> dict[str, float]:
    """
    @return: by BTCP's mode the seconds of CPU that a handed-off connection costs all hosts
        together beyond what a direct one does; empty if nobody has measured it.
    @raise ValueError: it is no result of C{make bench}.
    """
    if not path.exists():
        return {}
    document = json.loads(path.read_text())
    try:
        short = document["works"]["short"]
        spent = {
            system: outcome["metrics"]["machine_us"]["median"] / 1e6
            for system, outcome in short.items()
            if "machine_us" in outcome["metrics"]
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not what make bench writes: {error!r}") from error
    direct = spent.get("direct")
    if direct is None:
        return {}
    return {mode: cost - direct for mode, cost in spent.items() if "+" in mode and cost > direct}
