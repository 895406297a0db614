# SPDX-License-Identifier: MIT
"""
From the configuration to what the core needs to know.
"""

from __future__ import annotations

from collections.abc import Callable

from btcp.cluster.placement import Placement
from btcp.config import Config
from btcp.content.contract import ContentReader
from btcp.content.tls import TlsReader
from btcp.control.link import MISSED_HEARTBEATS
from btcp.handoff.context import Periods, Settings
from btcp.handoff.messages import Endpoint
from btcp.handoff.route import Route

_NUMBERS = 40
"""Bits for the flows of one daemon; above them is how many daemons there were before."""


def first_number(starts: int) -> int:
    """
    @param starts: how many daemons had the flows before.
    @return: see L{Settings}.
    """
    return (starts << _NUMBERS) + 1


def settings(
    config: Config,
    placement: Placement,
    silence: Callable[[str], float],
    secret: bytes,
    admits: bool,
    reports: bool,
    remembers: bool,
    first_number: int,
    draining: Callable[[], bool],
    elsewhere: Callable[[bytes], Route | None],
) -> Settings:
    """
    @return: what the core needs to know of the configuration; the other arguments are as
        in L{Settings}.
    """
    limits = config.limits
    return Settings(
        node=config.node,
        listeners=_listeners(config),
        readers=_readers(config),
        origins=_origins(config),
        retries={each.name: each.retry for each in config.listeners},
        place=placement.place,
        rule=placement.rule,
        periods=_periods(config),
        max_flows=limits.flows,
        max_half_open=limits.half_open,
        max_request=limits.request,
        window_scale=config.window_scale,
        silence=silence,
        lease=MISSED_HEARTBEATS * config.control.heartbeat,
        admits=admits,
        reports=reports,
        remembers=remembers,
        first_number=first_number,
        draining=draining,
        elsewhere=elsewhere,
        secret=secret,
    )


def _listeners(config: Config) -> dict[bytes, str]:
    return {
        address + listener.port.to_bytes(2, "big"): listener.name
        for listener in config.listeners
        for address in config.listener_addresses(listener, config.own)
    }


def _readers(config: Config) -> dict[str, Callable[[int], ContentReader]]:
    return dict.fromkeys(secured(config), TlsReader)


def secured(config: Config) -> frozenset[str]:
    """
    @return: the listeners whose origins speak TLS.
    """
    return frozenset(each.name for each in config.listeners if each.content == "tls")


def _origins(config: Config) -> dict[tuple[str, int], tuple[bytes, int]]:
    return {
        (listener.name, 4 if len(address) == 4 else 6): (address, listener.origin)
        for listener in config.listeners
        for address in reversed(config.own.addresses)  # the first of a family is to stay
    }


def _periods(config: Config) -> Periods:
    timeouts = config.timeouts
    return Periods(
        handshake=timeouts.handshake,
        request=timeouts.request,
        handoff=timeouts.handoff,
        established=timeouts.established,
        half_closed=timeouts.half_closed,
        linger=timeouts.linger,
    )


def front_of(config: Config, listener: str, size: int) -> Endpoint:
    """
    @param size: octets of an address: 4 or 16.
    @return: where clients of a listener can connect to this node.
    """
    found = next(each for each in config.listeners if each.name == listener)
    addresses = config.listener_addresses(found, config.own)
    return Endpoint(next(at for at in addresses if len(at) == size), found.port)
