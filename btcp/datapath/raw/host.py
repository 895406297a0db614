# SPDX-License-Identifier: MIT
"""
What the host can do: its devices' addresses, its TCP's options.
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
    @param addresses: packed.
    @return: the name of the device that holds the first of them.
    @raise DatapathError: if none does.
    """
    # Imported when it is needed: that takes longer than all of most commands.
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
    @param mtu: of the cluster-facing device.
    @return: what the host's TCP answers, as its sysctls say.
    """
    return Capabilities(
        mtu=mtu,
        sack=_set("tcp_sack"),
        timestamps=_set("tcp_timestamps"),
        window_scaling=_set("tcp_window_scaling"),
    )


def syncookies() -> bool:
    """
    @return: whether the host's TCP accepts connections by cookie, as adoption by cookie needs.
    """
    return _set("tcp_syncookies")


def _set(name: str) -> bool:
    return (_SYSCTL / name).read_text().strip() != "0"
