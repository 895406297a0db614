# SPDX-License-Identifier: MIT
"""
What passes between BTCP and a node's TCP.

The raw datapath takes it all over its TAP device, where it can be captured.  The tc programs of
the other one rewrite packets in place; but the kernel runs netfilter's hooks of a device on the
inner side of them, so two rules there can have a copy of each packet sent to another device: as
TCP made it, before the programs, and as TCP gets it, after them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from btcp.datapath.raw.datapath import TAP
from btcp.lab.cluster import Lab
from btcp.lab.programs import run
from btcp.lab.topology import ORIGIN_PORT
from tests.modes import Mode

MIRROR = "mirror0"
_BEHIND = "mirror1"

_RULES = f"""
table netdev mirror {{
    chain said {{
        type filter hook egress device eth0 priority -300;
        tcp sport {ORIGIN_PORT} dup to "{MIRROR}";
    }}
    chain heard {{
        type filter hook ingress device eth0 priority 300;
        tcp dport {ORIGIN_PORT} dup to "{MIRROR}";
    }}
}}
"""


def below_tcp(mode: Mode) -> str:
    """
    @return: the device to capture on, on a back-end.
    """
    return MIRROR if mode.in_kernel else TAP


@contextmanager
def mirrored(lab: Lab, nodes: Iterable[str]) -> Iterator[None]:
    """
    Nodes have a L{MIRROR} while the body runs.
    """
    nodes = list(nodes)
    try:
        for node in nodes:
            _set_up(lab, node)
        yield
    finally:
        for node in nodes:
            lab.exec(node, ["nft", "delete", "table", "netdev", "mirror"])
            lab.exec(node, ["ip", "link", "delete", MIRROR])


def _set_up(lab: Lab, node: str) -> None:
    def there(*command: str, stdin: str = "") -> None:
        run(lab.command(node, command), stdin.encode())

    there(*f"ip link add {MIRROR} type veth peer name {_BEHIND}".split())
    for device in (MIRROR, _BEHIND):
        # What is not for it a host passes over in silence; nor is it to say anything itself.
        there(*f"ip link set dev {device} arp off addrgenmode none up".split())
    # TCP leaves checksums to the device: then they are computed before a capture sees them.
    there("ethtool", "-K", MIRROR, "tx", "off")
    there("nft", "-f", "-", stdin=_RULES)
