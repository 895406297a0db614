# SPDX-License-Identifier: MIT
"""
A lab's network: one namespace for each host, joined by veth pairs.

Namespaces are entered with C{nsenter --net}: C{ip netns exec} mounts C{/sys} anew, and
what is pinned below it vanishes inside.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

from btcp.lab.programs import LabError, run
from btcp.lab.topology import (
    CLIENT,
    CLIENT_EXTRA,
    CLIENT_NET,
    NODE_NET,
    NODES,
    ROUTER,
    addresses,
)

_NAMESPACES = Path("/run/netns")
_BRIDGE = Path("/proc/sys/net/bridge")
_BUFFERS = ("net.ipv4.tcp_rmem=4096 131072 6291456", "net.ipv4.tcp_wmem=4096 16384 4194304")
"""As Linux has them by default: with what some machines are given instead, a slow client has all
of a download before it has read any."""

_BRIDGE_ADDRESS = "02:00:00:00:00:01"
_LOSS_TABLE = "inet btcp_loss"

OUTWARD, INWARD = "far-client", "far-nodes"
"""The router's devices that delay packets to the client, and to the nodes; see
L{btcp.lab.distance}."""

_DELAYED = {INWARD: (CLIENT, 101), OUTWARD: ("br0", 102)}
"""Where the packets of each come from, and the number of a routing table."""

_QUEUE = 20_000
"""Packets that such a device keeps for a program that waits for a processor."""


@frozen
class Network:
    """
    The namespaces C{PREFIX-HOST} of one lab.

    @ivar prefix: letters and digits, so that no other lab's names begin with it and a dash.
    @ivar nodes: the nodes' names, one letter each.
    """

    prefix: str
    nodes: tuple[str, ...]

    @property
    def hosts(self) -> tuple[str, ...]:
        """
        Every host, client and router first.
        """
        return (CLIENT, ROUTER, *self.nodes)

    def namespace(self, host: str) -> Path:
        """
        Where the host's namespace is named, whether or not it exists.

        @raise LabError: a lab has no such host.
        """
        if host not in (CLIENT, ROUTER, *NODES):
            raise LabError(f"there is no host {host!r}: {', '.join(self.hosts)} are in this lab")
        return _NAMESPACES / f"{self.prefix}-{host}"

    def inside(self, host: str, command: Sequence[str]) -> list[str]:
        """
        The command line that runs a command in a host's namespace.

        @raise LabError: the namespace is not there.
        """
        namespace = self.namespace(host)
        if not namespace.exists():
            raise LabError(f"host {host} is not up in lab {self.prefix!r}")
        return ["nsenter", f"--net={namespace}", *command]

    def standing(self) -> list[str]:
        """
        The hosts of any lab with this prefix, whichever nodes it was built with.
        """
        return [host for host in (CLIENT, ROUTER, *NODES) if self.namespace(host).exists()]

    def build(self) -> None:
        """
        Make the namespaces and wire them up.

        @raise LabError: the machine cannot; what was made so far is left to L{remove}.
        """
        _ip([f"netns add {self.prefix}-{host}" for host in self.hosts])
        for host in self.hosts:
            # No duplicate address detection: an address must be usable at once.  Devices take the
            # setting when they are made.
            conf = "net.ipv6.conf"
            self._sysctl(host, f"{conf}.all.accept_dad=0", f"{conf}.default.accept_dad=0")
            self._sysctl(host, *_BUFFERS)
        _ip([self._cable(host) for host in (CLIENT, *self.nodes)])
        self._sysctl(ROUTER, "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        self._ip(ROUTER, self._router())
        self._only_switch()
        self._ip(CLIENT, _leaf(addresses(CLIENT), CLIENT_NET) + _further_addresses())
        for node in self.nodes:
            self._ip(node, _leaf(addresses(node), NODE_NET))

    def _only_switch(self) -> None:
        """
        Whatever else this machine's bridges do, such as filter IP packets, a switch does not.
        """
        if _BRIDGE.exists():
            kinds = ("iptables", "ip6tables", "arptables")
            self._sysctl(ROUTER, *(f"net.bridge.bridge-nf-call-{kind}=0" for kind in kinds))

    def renew(self, node: str) -> None:
        """
        Delete a node's C{eth0} and make it again, with its addresses and routes.

        It keeps its hardware address, as when a driver is loaded again.
        """
        shown = run(self.inside(node, ["ip", "-json", "link", "show", "dev", "eth0"]))
        address = json.loads(shown)[0]["address"]
        self._ip(node, ["link delete dev eth0"])
        _ip([self._cable(node)])
        self._ip(ROUTER, [f"link set dev {node} master br0 up"])
        self._ip(node, [f"link set dev eth0 address {address}"])
        self._ip(node, _leaf(addresses(node), NODE_NET))

    def remove(self) -> None:
        """
        Delete every namespace of the lab; the processes in them must have ended.
        """
        _ip([f"netns delete {self.prefix}-{host}" for host in self.standing()])

    def lose(self, percent: float) -> None:
        """
        Drop TCP packets between client and nodes at random, each direction alike.

        @param percent: 0-100, in steps of 0.01; 0 ends it.
        """
        if not 0 <= percent <= 100:
            raise LabError(f"{percent} % of the packets cannot be lost")
        share = round(percent * 100)
        rule = f"""
            table {_LOSS_TABLE} {{
                chain forward {{
                    type filter hook forward priority 0;
                    meta l4proto tcp oifname != "far-*" numgen random mod 10000 0-{share - 1} drop
                }}
            }}"""
        # An empty table first, so that there is one to delete; all in one transaction.
        script = f"table {_LOSS_TABLE} {{ }}\ndelete table {_LOSS_TABLE}\n{rule if share else ''}\n"
        run(self.inside(ROUTER, ["nft", "-f", "-"]), script.encode())

    def detour(self) -> None:
        """
        Route what passes between client and nodes through the devices that delay it, which are
        there; as soon as they are not, packets take the direct way again.
        """
        for device, (source, number) in _DELAYED.items():
            lines = [f"link set dev {device} mtu 65535 txqueuelen {_QUEUE} up"]
            self._ip(ROUTER, lines)
            for family in ("-4", "-6"):
                rules = self.inside(ROUTER, ["ip", family, "rule", "show", "iif", source])
                if b"lookup" not in run(rules):
                    self._ip(ROUTER, [f"rule add iif {source} lookup {number}"], family)
                self._ip(ROUTER, [f"route replace default dev {device} table {number}"], family)

    def offload(self, segmentation: bool, checksums: bool = True) -> None:
        """
        Let or forbid the hosts' devices to take what real ones do in hardware.

        @param segmentation: false makes every packet of a new connection MTU-sized.
        @param checksums: false makes the kernel compute every checksum itself; it comes
            with C{segmentation}, which cannot do without it.
        @raise LabError: C{segmentation} was asked for without C{checksums}.
        """
        if segmentation and not checksums:
            raise LabError("segmentation offload needs checksum offload")
        features = {"tso": segmentation, "gso": segmentation, "gro": segmentation, "tx": checksums}
        settings = [word for name, on in features.items() for word in (name, "on" if on else "off")]
        for host, device in self._devices():
            run(self.inside(host, ["ethtool", "-K", device, *settings]))
            # A socket asks the device, not its features, how many segments it may hand over.
            segments = 65535 if segmentation else 1
            self._ip(host, [f"link set dev {device} gso_max_segs {segments}"])

    def _devices(self) -> list[tuple[str, str]]:
        leaves = (CLIENT, *self.nodes)
        return [(host, "eth0") for host in leaves] + [(ROUTER, port) for port in leaves]

    def _cable(self, host: str) -> str:
        ends = f"netns {self.prefix}-{host} type veth peer name {host} netns {self.prefix}-{ROUTER}"
        return f"link add name eth0 {ends}"

    def _router(self) -> list[str]:
        # Without snooping the bridge needs no querier for neighbour discovery to get through.
        # A bridge without an address of its own takes that of a port, and it changes with them.
        bridge = f"link add name br0 address {_BRIDGE_ADDRESS} type bridge mcast_snooping 0"
        lines = ["link set dev lo up", bridge]
        lines += [f"link set dev {node} master br0 up" for node in self.nodes]
        lines += ["link set dev br0 up", f"link set dev {CLIENT} up"]
        for device, (v4, v6) in (("br0", NODE_NET), (CLIENT, CLIENT_NET)):
            lines.append(f"address add {v4}1/24 dev {device}")
            lines.append(f"address add {v6}1/64 dev {device} nodad")
        return lines

    def _ip(self, host: str, lines: Sequence[str], *options: str) -> None:
        _ip(lines, *options, "-n", f"{self.prefix}-{host}")

    def _sysctl(self, host: str, *settings: str) -> None:
        run(self.inside(host, ["sysctl", "-q", *settings]))


def _ip(lines: Sequence[str], *options: str) -> None:
    run(["ip", *options, "-batch", "-"], "\n".join(lines).encode())


def _leaf(own: tuple[str, str], net: tuple[str, str]) -> list[str]:
    (v4, v6), (net4, net6) = own, net
    return [
        "link set dev lo up",
        "link set dev eth0 up",
        f"address add {v4}/24 dev eth0",
        f"address add {v6}/64 dev eth0 nodad",
        f"route add default via {net4}1 src {v4}",
        f"route add ::/0 via {net6}1 src {v6}",
    ]


def _further_addresses() -> list[str]:
    v4, v6 = CLIENT_NET
    return [
        line
        for number in CLIENT_EXTRA
        for line in (
            f"address add {v4}{number}/24 dev eth0",
            f"address add {v6}{number}/64 dev eth0 nodad",
        )
    ]
