# SPDX-License-Identifier: MIT
"""
Derivation of active and passive health checks from the configuration.
"""

from __future__ import annotations

from ipaddress import ip_address

from btcp.cluster.ejection import EjectionThreshold
from btcp.config import Config, Listener
from btcp.health.checks import CHECK_FUNCTIONS, CheckFunction, Origin
from btcp.health.scheduler import CheckedOrigin


def checked_origins(config: Config, handoff: CheckFunction) -> list[CheckedOrigin]:
    """
    List the origins of this node that the configuration wants checked.

    @param handoff: the check function for checks by handoff.
    """
    askings = {**CHECK_FUNCTIONS, "handoff": handoff}
    found = []
    for listener in config.listeners:
        check = listener.health
        if check is not None:
            found += [
                CheckedOrigin(
                    Origin(listener.name, str(ip_address(at)), listener.origin), check, ask
                )
                for at in _addresses(config, listener)
                for ask in (askings[check.kind],)
            ]
    return found


def _addresses(config: Config, listener: Listener) -> list[bytes]:
    """
    Select the addresses at which to check a listener's origin: this node's first address of
    each family that clients can use, or of the synthetic client's family for checks by handoff.
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
    List the ejection thresholds of the listeners that have health checks.

    @return: listener names to thresholds.
    """
    return {
        listener.name: EjectionThreshold(listener.health.fall, listener.health.window)
        for listener in config.listeners
        if listener.health is not None
    }
