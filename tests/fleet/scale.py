# SPDX-License-Identifier: MIT
"""
How large all is.
"""

from __future__ import annotations

from attrs import frozen


@frozen(kw_only=True)
class Scale:
    """
    What is computed.

    @ivar nodes: of the large fleet.
    @ivar requests: that it places in all.
    @ivar contents: that there are.
    @ivar busy: of the fleets in which connections last: nodes, and front-ends among them.
    @ivar mean: connections of a node there, in the mean.
    @ivar seconds: that these are looked at.
    @ivar cores: nodes of the clusters of cores in which one dies.
    @ivar clients: that come to each of these in a second.
    @ivar flows: connections whose memory is measured.
    @ivar links: over TLS that are made to measure them.
    """

    nodes: int = 1000
    requests: int = 10**8
    contents: int = 300_000
    busy: tuple[tuple[int, int], ...] = ((10, 10), (100, 100), (300, 300))
    mean: float = 10.0
    seconds: float = 3.0
    cores: tuple[int, ...] = (24, 240)
    clients: float = 200.0
    flows: int = 1000
    links: int = 300


FULL = Scale()

QUICK = Scale(
    nodes=50,
    requests=10**5,
    contents=2000,
    busy=((10, 5),),
    seconds=1.0,
    cores=(8,),
    clients=20.0,
    flows=50,
    links=20,
)
"""Proves nothing but that all of it runs."""
