# SPDX-License-Identifier: MIT
"""
From the configuration to what is to be watched.
"""

from __future__ import annotations

from ipaddress import ip_address

from btcp.cluster.ejection import EjectionThreshold
from btcp.config import Config, Listener
from btcp.health.asking import ASKINGS, Asking, Origin
from btcp.health.watch import Watch


def watches(config: Config, handoff: Asking) -> list[Watch]:
    """
    @param handoff: asks by handing off.
    @return: each of this node's origins that is to be checked.
    """
    askings = {**ASKINGS, "handoff": handoff}
    found = []
    for listener in config.listeners:
        check = listener.health
        if check is not None:
            found += [
                Watch(Origin(listener.name, str(ip_address(at)), listener.origin), check, ask)
                for at in _addresses(config, listener)
                for ask in (askings[check.kind],)
            ]
    return found


def _addresses(config: Config, listener: Listener) -> list[bytes]:
    """
    @return: one of a family, where clients of the listener can come from that.
    """
    check = listener.health
    assert check is not None
    sizes = {len(at) for at in config.listener_addresses(listener, config.own)}
    if check.client is not None:
        sizes = {len(ip_address(check.client).packed)}
    firsts: dict[int, bytes] = {}
    for address in config.own.addresses:
        if len(address) in sizes:
            firsts.setdefault(len(address), address)
    return list(firsts.values())


def ejection_thresholds(config: Config) -> dict[str, EjectionThreshold]:
    """
    @return: what refusals take a node out, for each listener whose origins are checked.
    """
    return {
        listener.name: EjectionThreshold(listener.health.fall, listener.health.window)
        for listener in config.listeners
        if listener.health is not None
    }
