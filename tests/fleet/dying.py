# SPDX-License-Identifier: MIT
"""
The table of what clients see when a node dies.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.fleet.links import detection
from tests.fleet.page import table
from tests.fleet.recovery import REPLICAS, Fleet, Recovery
from tests.fleet.scale import Scale

AT_ONCE = 0.0, 0.001
"""Seconds until peers notice the death of a daemon."""


def deaths(scale: Scale) -> Iterator[str]:
    """
    A host dies, or its daemon.
    """
    noticed = detection()
    yield "### A node dies"
    yield ""
    yield (
        f"A peer notices that a host is dead after {noticed[0]:.1f} to {noticed[1]:.1f} s (three"
        " heartbeats of one second unanswered), that a daemon is at once: its host closes its"
        f" links. Each content is on {REPLICAS} nodes, half of the clients want what the dying"
        " node holds, and a response takes its server 0.2 s; half of the connections ask twice."
        " Clients of the dead front-end itself are not in the table: see below."
    )
    yield ""
    rows, said = [], []
    for nodes in scale.cores:
        for what, span in (("host", noticed), ("daemon", AT_ONCE)):
            fleet = Fleet(nodes, scale.clients, span)
            rows.append((f"{what}, {nodes} nodes", *_row(fleet.run())))
            kinds = ", ".join(f"{n:,} {kind}" for kind, n in sorted(fleet.cluster.said.items()))
            said.append(f"- {what}, {nodes} nodes: {kinds} for {len(fleet.visits):,} connections")
    heads = ("dies", "connections", "slow", "the slowest", "the last until")
    yield from table((*heads, "reset", "by", "forgotten by"), rows)
    yield "Messages between the cores meanwhile:"
    yield ""
    yield from said
    yield ""


def _row(found: Recovery) -> tuple[str, ...]:
    return (
        f"{found.visits:,}",
        str(found.slow),
        f"{found.slowest:.1f} s" if found.slow else "-",
        f"{found.last:.1f} s" if found.slow else "-",
        str(found.broken),
        f"{found.told:.1f} s" if found.broken else "-",
        f"{found.freed:.1f} s",
    )
