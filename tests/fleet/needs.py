# SPDX-License-Identifier: MIT
"""
Tables of what single things cost, and what a fleet of them needs.
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from btcp.datapath.ebpf import abi
from tests.fleet import links, tables
from tests.fleet.decisions import arrivals
from tests.fleet.page import micro, octets, share, table
from tests.fleet.scale import Scale
from tests.fleet.secured import secured
from tests.fleet.sizing import RESULTS, USED, Link, channel, measured, most, needed


@frozen
class Costs:
    """
    What single things cost here.

    @ivar beat: of an idle link, one end of it, a second.
    @ivar link: the same with TLS and memory.
    @ivar handshake: seconds of CPU, one end.
    """

    front: tables.Cost
    back: tables.Cost
    beat: links.Idle
    call: links.Connection
    link: Link
    handshake: float


def costs(scale: Scale) -> Costs:
    """
    Measure.
    """
    tls = secured(scale.links)
    beat, call = links.idle(2, 200), links.connection(200)
    boxes = 2 * beat.boxes  # those that are sent and those that come
    link = Link(
        beat.boxes,
        beat.octets,
        beat.seconds + boxes * tls.record / 2,
        links.memory(10) + tls.octets,
    )
    front, back = tables.front_end(scale.flows), tables.back_end(scale.flows)
    return Costs(front, back, beat, call, link, tls.handshake)


def links_of(costs: Costs) -> Iterator[str]:
    """
    All to all.
    """
    beat, call = costs.beat, costs.call
    yield "### The control channel"
    yield ""
    yield (
        f"An idle link: each end sends {beat.boxes:g} boxes and {beat.octets:.0f} octets a"
        f" second; it costs each end {micro(costs.link.seconds)} of CPU a second with TLS,"
        f" {octets(costs.link.octets)} of memory and, once, {micro(costs.handshake)} of CPU to"
        f" make (measured). A handed-off connection adds {call.boxes:.1f} boxes and"
        f" {call.octets:.0f} octets with a request of {call.request} octets, both directions"
        " together."
    )
    yield ""
    yield (
        "What each node sends in a second, if it accepts 200 connections in it"
        " and all nodes hold equally much:"
    )
    yield ""
    rows = []
    for nodes in (3, 10, 100, 300, 1000, 3000):
        one = channel(nodes, 200.0, costs.link)
        rows.append(
            (
                f"{nodes:,}",
                f"{one.idle:,.0f}",
                f"{one.handoffs:,.0f}",
                f"{one.terminations:,.0f}",
                f"{one.batch:.2f}",
                share(one.cpu),
                octets(one.octets),
                f"{costs.handshake * one.links:.1f} s",
                f"{arrivals(one.links):.2f} s",
            )
        )
    heads = ("nodes", "idle links", "handoffs", "terminations", "in a batch")
    costly = ("CPU of idle links", "memory of links", "CPU to link all", "and to know them")
    yield from table((*heads, *costly), rows)


def memory(costs: Costs) -> Iterator[str]:
    """
    Of flow tables.
    """
    yield "### Flow tables"
    yield ""
    front, back = costs.front, costs.back
    both = front.octets + back.octets
    kernel = abi.KEY.size + abi.ROUTE.size
    yield (
        f"A spliced connection takes {octets(front.octets)} of its front-end's daemon and"
        f" {octets(back.octets)} of its back-end's (measured, a request of few octets); a route in"
        f" the kernel has {kernel} octets of key and value. The core's own CPU for one, packets"
        f" made and read but not sent: {micro(front.seconds)} and {micro(back.seconds)}"
        " (measured)."
    )
    yield ""
    yield from table(
        ("connections at a time, a node", "daemon, as front-end and back-end of as many"),
        ((f"{count:,}", octets(count * both)) for count in (1_000, 10_000, 100_000)),
    )


def sizes(costs: Costs) -> Iterator[str]:
    """
    What a fleet needs.
    """
    yield "### What a fleet needs"
    yield ""
    core = costs.front.seconds + costs.back.seconds
    ways = {"the core alone": core, **measured(RESULTS)}
    yield (
        f"Nodes for so many new connections in a second, at {USED:.0%} of one processor each,"
        " heartbeats included. The core alone is what is measured above; the modes are what"
        " `make bench` measured that a connection costs all hosts beyond a direct one, if it"
        " was run."
    )
    yield ""
    rates = (1_000, 10_000, 100_000, 1_000_000)
    rows = []
    for name, cost in ways.items():
        counts = (needed(rate, cost, costs.link) for rate in rates)
        nodes, rate = most(cost, costs.link)
        most_of = f"{rate:,.0f}/s by {nodes:,}"
        rows.append((name, micro(cost), *(f"{n:,}" if n else "none" for n in counts), most_of))
    heads = ("", "CPU", *(f"{rate:,}/s" for rate in rates), "the most")
    yield from table(heads, rows)
