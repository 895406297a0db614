# SPDX-License-Identifier: MIT
"""
Derivation of the core's settings from the configuration.
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
"""Bits of a handoff number that count the handoffs of one daemon; the bits above them count the
earlier daemons that had the same epoch."""


def first_number(starts: int) -> int:
    """
    Compute the number of the daemon's first handoff.

    @param starts: how many earlier daemons had the same epoch.
    @return: C{first_number} of L{Settings}.
    """
    return (starts << _NUMBERS) + 1


def settings(
    config: Config,
    placement: Placement,
    silence: Callable[[str], float],
    secret: bytes,
    admits: Callable[[], bool],
    reports: bool,
    remembers: bool,
    first_number: int,
    draining: Callable[[], bool],
    elsewhere: Callable[[bytes], Route | None],
    replace: Callable[[bytes, Endpoint, int], None],
) -> Settings:
    """
    Make the core's settings.  Parameters that are not listed have the meaning that they have in
    L{Settings}.

    @param config: the configuration.
    @param placement: ranks nodes for requests.
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
        admits=admits(),
        reports=reports,
        remembers=remembers,
        first_number=first_number,
        draining=draining,
        elsewhere=elsewhere,
        replace=replace,
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
    Return the names of the listeners that are routed by TLS ClientHello.
    """
    return frozenset(each.name for each in config.listeners if each.content == "tls")


def _origins(config: Config) -> dict[tuple[str, int], tuple[bytes, int]]:
    return {
        (listener.name, 4 if len(address) == 4 else 6): (address, listener.origin)
        for listener in config.listeners
        for address in reversed(
            config.own.addresses
        )  # reversed, so that the first of a family wins
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
    Find the endpoint at which clients of a listener connect to this node.

    @param listener: the listener's name.
    @param size: octets of an address of the wanted family: 4 or 16.
    """
    found = next(each for each in config.listeners if each.name == listener)
    addresses = config.listener_addresses(found, config.own)
    return Endpoint(next(at for at in addresses if len(at) == size), found.port)
