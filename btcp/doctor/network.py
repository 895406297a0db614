# SPDX-License-Identifier: MIT
"""
What the host's network is set to.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from btcp.config import Config
from btcp.doctor.finding import Finding, fail, fine, warn
from btcp.doctor.host import Device, Host

_BACKLOG = 1024


def sysctl(host: Host, name: str) -> str | None:
    """
    @param name: with dots; the only one in it may be between words.
    """
    return host.read("/proc/sys/" + name.replace(".", "/"))


def _set(name: str, value: int) -> tuple[str, str]:
    return f"sysctl -w {name}={value}", f"echo {name}={value} >>/etc/sysctl.d/90-btcp.conf"


def check_sysctls(host: Host, config: Config | None) -> Iterator[Finding]:
    """
    Those of the whole host that decide what its TCP does with a handed-off connection.
    """
    found = list(_sysctls(host))
    yield from found
    if not found:
        yield fine("source check, TIME-WAIT, TCP options and backlog are as they should be")


def _sysctls(host: Host) -> Iterator[Finding]:
    name = "net.ipv4.conf.all.rp_filter"
    if sysctl(host, name) == "1":
        yield fail(
            f"{name} is 1: the local TCP would not see handed-off connections", *_set(name, 2)
        )
    name = "net.ipv4.tcp_syncookies"
    cookies = sysctl(host, name)
    if cookies == "0":
        yield warn(f"{name} is 0: no adoption by cookie, and SYN floods hurt", *_set(name, 1))
    elif cookies == "2":
        yield warn(f"{name} is 2: replayed handshakes lose TCP options", *_set(name, 1))
    name = "net.ipv4.tcp_rfc1337"
    if sysctl(host, name) == "1":
        yield warn(
            f"{name} is 1: a client's port that is used again stalls in TIME-WAIT", *_set(name, 0)
        )
    for name in ("tcp_timestamps", "tcp_sack", "tcp_window_scaling"):
        if sysctl(host, f"net.ipv4.{name}") == "0":
            yield warn(
                f"net.ipv4.{name} is 0: no node can promise it to clients any more",
                *_set(f"net.ipv4.{name}", 1),
            )
    name = "net.core.somaxconn"
    backlog = sysctl(host, name)
    if backlog is not None and int(backlog) < _BACKLOG:
        yield warn(
            f"{name} is {backlog}: an origin's queue of connections is not longer",
            *_set(name, 4096),
        )


def facing(host: Host, config: Config) -> Device | None:
    """
    @return: the device that faces the cluster.
    """
    devices = host.devices()
    if config.device is not None:
        return devices.get(config.device)
    first = config.own.addresses[0]
    return next((each for each in devices.values() if first in each.addresses), None)


def check_device(host: Host, config: Config) -> Iterator[Finding]:
    """
    The device that faces the cluster, and this node's addresses.
    """
    held = {address for each in host.devices().values() for address in each.addresses}
    missing = [str(ip_address(each)) for each in config.own.addresses if each not in held]
    for address in missing:
        yield fail(
            f"no device has {address}, an address of node {config.node}: is this the right node?",
            f"ip address add {address}/PREFIX dev DEVICE",
        )
    device = facing(host, config)
    if device is None:
        if config.device is not None:
            yield fail(f"there is no device {config.device}", "ip -brief link")
    elif not device.ethernet:
        yield fail(f"{device.name} is no Ethernet device", "# say 'device:' in the configuration")
    elif not device.up:
        yield fail(f"{device.name} is down", f"ip link set {device.name} up")
    elif not missing:
        yield fine(f"{device.name}, MTU {device.mtu}, has all addresses of node {config.node}")


def check_offloads(host: Host, config: Config) -> Iterator[Finding]:
    """
    What a device joins, somebody has to take apart again.
    """
    device = facing(host, config)
    if device is None:
        return
    said = host.run(["ethtool", "-k", device.name])
    if said.status:
        yield warn(f"cannot see what {device.name} does: {said.text}", "apt-get install ethtool")
        return
    features = dict(line.strip().split(": ", 1) for line in said.text.splitlines() if ": " in line)
    if features.get("large-receive-offload", "").startswith("on"):
        yield fail(
            f"{device.name} joins packets in a way that cannot be undone (LRO)",
            f"ethtool -K {device.name} lro off",
        )
        return
    off = [
        short
        for short, long in (("tso", "tcp-segmentation-offload"), ("tx", "tx-checksumming"))
        if features.get(long, "on").startswith("off")
    ]
    if off:
        yield warn(
            f"{device.name} is slower than it need be without {', '.join(off)}",
            f"ethtool -K {device.name} {' '.join(f'{each} on' for each in off)}",
        )
    else:
        yield fine(f"{device.name} segments and checksums, and does no LRO")


def check_shared(host: Host, config: Config) -> Iterator[Finding]:
    """
    Listeners' addresses that are no node's own move between hosts; only one of these may
    answer for them.
    """
    own = {address for node in config.nodes.values() for address in node.addresses}
    shared = {each for listener in config.listeners for each in listener.addresses} - own
    if not shared:
        yield fine("no listener has an address that moves between hosts")
        return
    devices = host.devices()
    for address in sorted(shared):
        text = str(ip_address(address))
        holding = [each.name for each in devices.values() if address in each.addresses]
        if not holding:
            yield fine(f"{text} is not on this host")
        elif "lo" in holding and len(address) == 4:
            yield from _quiet(host, text, facing(host, config))
        else:
            yield fine(f"{text} is on {', '.join(holding)}: this host answers for it")


def _quiet(host: Host, address: str, device: Device | None) -> Iterator[Finding]:
    """
    An address on lo is there for the local programs; the network must not hear of it.
    """
    name = "all" if device is None else device.name
    loud = []
    for key, least in (("arp_ignore", 1), ("arp_announce", 2)):
        names = [f"net/ipv4/conf/{where}/{key}" for where in ("all", name)]
        values = [int(host.read(f"/proc/sys/{each}") or 0) for each in names]
        if max(values) < least:
            loud.append(f"sysctl -w net.ipv4.conf.all.{key}={least}")
    if loud:
        yield fail(f"{address} is on lo, and this host tells the network that it has it", *loud)
    else:
        yield fine(f"{address} is on lo, and ARP does not tell of it")


def check_firewall(host: Host, config: Config | None) -> Iterator[Finding]:
    """
    What clients send comes to the origin by the device btcp0.
    """
    said = host.run(["nft", "list", "ruleset"])
    if said.status:
        return  # without nft, or not by root: said elsewhere
    dropping = [chain for chain in _inputs(said.text) if "btcp0" not in said.text]
    for table, chain in dropping:
        yield warn(
            f"chain {chain} of table {table} drops what no rule accepts; btcp0 is in none",
            f"nft insert rule {table} {chain} iifname btcp0 accept",
        )
    if not dropping:
        yield fine("no chain of the packet filter drops what comes in by btcp0")


def _inputs(ruleset: str) -> Iterator[tuple[str, str]]:
    """
    @return: table and chain of each that drops at input.
    """
    table = chain = ""
    for line in ruleset.splitlines():
        words = line.split()
        if line.startswith("table "):
            table = " ".join(words[1:-1])
        elif words[:1] == ["chain"]:
            chain = words[1]
        elif "hook input" in line and "policy drop" in line:
            yield table, chain
