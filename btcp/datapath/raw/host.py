# SPDX-License-Identifier: MIT
"""
Properties of the host: the devices of addresses, and the options of its TCP.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

from btcp.datapath.interface import DatapathError
from btcp.handoff.messages import Capabilities

_SYSCTL = Path("/proc/sys/net/ipv4")


def device_of(addresses: Sequence[bytes]) -> str:
    """
    Find the device that has the first of some addresses.

    @param addresses: packed addresses.
    @return: the name of the device.
    @raise DatapathError: if no device has it.
    """
    # Imported here because the import takes longer than most commands.
    from pyroute2 import IPRoute

    wanted = str(ip_address(addresses[0]))
    family = socket.AF_INET if len(addresses[0]) == 4 else socket.AF_INET6
    with IPRoute() as route:
        for entry in route.get_addr(family=family, address=wanted):
            link = route.get_links(entry["index"])[0]
            return str(link.get_attr("IFLA_IFNAME"))
    raise DatapathError(f"no network device has the address {wanted}; is this the right node?")


def capabilities(mtu: int) -> Capabilities:
    """
    Read the features of the host's TCP from its sysctls.

    @param mtu: the MTU of the cluster-facing device.
    """
    return Capabilities(
        mtu=mtu,
        sack=_set("tcp_sack"),
        timestamps=_set("tcp_timestamps"),
        window_scaling=_set("tcp_window_scaling"),
    )


def syncookies() -> bool:
    """
    Return whether SYN cookies are enabled, which adoption by cookie needs.
    """
    return _set("tcp_syncookies")


def _set(name: str) -> bool:
    return (_SYSCTL / name).read_text().strip() != "0"
