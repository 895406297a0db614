# SPDX-License-Identifier: MIT
"""
Checks of the host's network settings.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import ip_address

from attrs import frozen

from btcp.config import Config
from btcp.doctor.finding import Finding, fail, fine, warn
from btcp.doctor.host import Device, Host

_BACKLOG = 1024


def sysctl(host: Host, name: str) -> str | None:
    """
    Read a sysctl.

    @param name: in the dotted form; no component may itself contain a dot.
    @return: the value; C{None} if it does not exist.
    """
    return host.read("/proc/sys/" + name.replace(".", "/"))


def _set(name: str, value: int) -> tuple[str, str]:
    return f"sysctl -w {name}={value}", f"echo {name}={value} >>/etc/sysctl.d/90-btcp.conf"


def check_sysctls(host: Host, config: Config | None) -> Iterator[Finding]:
    """
    Check the global sysctls that affect handed-off connections.
    """
    found = list(_sysctls(host))
    yield from found
    if not found:
        yield fine("rp_filter, TIME-WAIT, TCP options and backlog have suitable values")


def _sysctls(host: Host) -> Iterator[Finding]:
    name = "net.ipv4.conf.all.rp_filter"
    if sysctl(host, name) == "1":
        yield fail(
            f"{name} is 1: the kernel drops the packets of handed-off connections", *_set(name, 2)
        )
    name = "net.ipv4.tcp_syncookies"
    cookies = sysctl(host, name)
    if cookies == "0":
        yield warn(
            f"{name} is 0: no adoption by cookie, and no defence against SYN floods",
            *_set(name, 1),
        )
    elif cookies == "2":
        yield warn(f"{name} is 2: replayed handshakes lose TCP options", *_set(name, 1))
    name = "net.ipv4.tcp_rfc1337"
    if sysctl(host, name) == "1":
        yield warn(f"{name} is 1: a client that reuses a port stalls in TIME-WAIT", *_set(name, 0))
    for name in ("tcp_timestamps", "tcp_sack", "tcp_window_scaling"):
        if sysctl(host, f"net.ipv4.{name}") == "0":
            yield warn(
                f"net.ipv4.{name} is 0: no node of the cluster can offer it to clients",
                *_set(f"net.ipv4.{name}", 1),
            )
    name = "net.core.somaxconn"
    backlog = sysctl(host, name)
    if backlog is not None and int(backlog) < _BACKLOG:
        yield warn(
            f"{name} is {backlog}: an origin's accept queue cannot be longer",
            *_set(name, 4096),
        )


def facing(host: Host, config: Config) -> Device | None:
    """
    Find the device that clients and other nodes are reached through: the configured one, or the
    one with the node's first address.
    """
    devices = host.devices()
    if config.device is not None:
        return devices.get(config.device)
    first = config.own.addresses[0]
    return next((each for each in devices.values() if first in each.addresses), None)


def check_device(host: Host, config: Config) -> Iterator[Finding]:
    """
    Check the cluster-facing device and that the host has all addresses of the node.
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
        yield fail(
            f"{device.name} is not an Ethernet device", "# set 'device:' in the configuration"
        )
    elif not device.up:
        yield fail(f"{device.name} is down", f"ip link set {device.name} up")
    elif not missing:
        yield fine(f"{device.name}, MTU {device.mtu}, has all addresses of node {config.node}")


def check_offloads(host: Host, config: Config) -> Iterator[Finding]:
    """
    Check the device's offloads: LRO must be off, segmentation and checksumming should be on.
    """
    device = facing(host, config)
    if device is None:
        return
    said = host.run(["ethtool", "-k", device.name])
    if said.status:
        yield warn(
            f"cannot read the offloads of {device.name}: {said.text}", "apt-get install ethtool"
        )
        return
    features = dict(line.strip().split(": ", 1) for line in said.text.splitlines() if ": " in line)
    if features.get("large-receive-offload", "").startswith("on"):
        yield fail(
            f"{device.name} merges packets irreversibly (LRO)",
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
            f"{device.name} is slower without {', '.join(off)}",
            f"ethtool -K {device.name} {' '.join(f'{each} on' for each in off)}",
        )
    else:
        yield fine(f"{device.name}: segmentation and checksumming on, LRO off")


def check_shared(host: Host, config: Config) -> Iterator[Finding]:
    """
    Check addresses of listeners that belong to no node.  They move between hosts, and only one
    host at a time may announce them.
    """
    own = {address for node in config.nodes.values() for address in node.addresses}
    shared = {each for listener in config.listeners for each in listener.addresses} - own
    if not shared:
        yield fine("no listener has an address that does not belong to a node")
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
            yield fine(f"{text} is on {', '.join(holding)}: this host announces it")


def _quiet(host: Host, address: str, device: Device | None) -> Iterator[Finding]:
    """
    Check that ARP does not announce an address of C{lo}, which is for local programs only.
    """
    name = "all" if device is None else device.name
    loud = []
    for key, least in (("arp_ignore", 1), ("arp_announce", 2)):
        names = [f"net/ipv4/conf/{where}/{key}" for where in ("all", name)]
        values = [int(host.read(f"/proc/sys/{each}") or 0) for each in names]
        if max(values) < least:
            loud.append(f"sysctl -w net.ipv4.conf.all.{key}={least}")
    if loud:
        yield fail(f"{address} is on lo, and this host announces it by ARP", *loud)
    else:
        yield fine(f"{address} is on lo, and ARP does not announce it")


def check_firewall(host: Host, config: Config | None) -> Iterator[Finding]:
    """
    Check that no stateful rule of the packet filter drops the packets of handed-off connections.

    The host's connection tracking saw no handshake of these, so their first packet is new without
    being a SYN.  The doctor recommends to exempt the origins' ports from it.
    """
    said = host.run(["nft", "list", "ruleset"])
    if said.status:
        return  # nft is missing or this is not root: other checks report that
    ports = sorted({each.origin for each in config.listeners}) if config is not None else []
    exempt = f"table inet {_EXEMPT}" in said.text
    raw = config is not None and config.datapath == "raw"
    dropping = [
        chain
        for chain in _dropping(said.text)
        if not (exempt and chain.untracked) and not (raw and chain.tap)
    ]
    for chain in dropping:
        yield warn(
            f"chain {chain.name} of table {chain.table} drops packets of handed-off connections:"
            " the host's connection tracking has not seen their handshakes",
            *origin_rules(ports, (chain.table, chain.name)),
        )
    if not dropping:
        yield fine("no chain of the packet filter drops packets of handed-off connections")


_EXEMPT = "btcp-notrack"
"""The table that exempts the origins' ports from connection tracking."""


def origin_rules(ports: Iterable[int], chain: tuple[str, str]) -> list[str]:
    """
    Make the commands that exempt the origins' ports from connection tracking, and have a chain
    accept what is exempt.

    @param ports: of the origins; none if they are not known.
    @param chain: the names of its table, family included, and of the chain.
    """
    which = "{ " + (", ".join(map(str, ports)) or "PORT") + " }"
    table, name = chain
    hook = "type filter hook {} priority raw;"
    chains = (("prerouting", "dport"), ("output", "sport"))
    return [
        f"nft add table inet {_EXEMPT}",
        *(
            f"nft 'add chain inet {_EXEMPT} {direction} {{ {hook.format(direction)} }}'"
            for direction, _ in chains
        ),
        *(
            f"nft 'add rule inet {_EXEMPT} {direction} tcp {port} {which} notrack'"
            for direction, port in chains
        ),
        f"nft 'insert rule {table} {name} tcp dport {which} ct state untracked accept'",
    ]


@frozen
class _Chain:
    """
    An input chain that drops unknown packets.

    @ivar table: family and name.
    @ivar untracked: it accepts packets that are exempt from connection tracking.
    @ivar tap: it accepts all packets from device btcp0; with the raw datapath, all packets of
        handed-off connections arrive there.
    """

    table: str
    name: str
    untracked: bool
    tap: bool


def _dropping(ruleset: str) -> Iterator[_Chain]:
    """
    Find input chains that drop unknown packets in the output of C{nft list ruleset}: by their
    policy, or by a rule for what is new and no SYN.
    """
    for table, name, lines in _chains(ruleset):
        text = "\n".join(lines)
        if "hook input" not in text:
            continue
        closed = "policy drop" in text or _drops_all(lines)
        if closed or any(_drops_not_syn(line) for line in lines):
            tap = 'iifname "btcp0" accept' in lines
            yield _Chain(table, name, not closed or "untracked" in text, tap)


def _drops_not_syn(line: str) -> bool:
    """
    Tell whether a rule drops, or rejects, new connections that do not begin with a SYN.
    """
    words = line.split()
    drops = "drop" in words or "reject" in words
    return drops and "ct state" in line and "new" in line and "!= syn" in line


def _drops_all(lines: Sequence[str]) -> bool:
    """
    Tell whether the last rule of a chain drops, or rejects, whatever reaches it.
    """
    last = lines[-1].split() if lines else []
    return last[:1] in (["drop"], ["reject"]) or (
        last[:1] == ["counter"] and last[-1] in ("drop", "reject")
    )


def _chains(ruleset: str) -> Iterator[tuple[str, str, list[str]]]:
    """
    Split the output of C{nft list ruleset}.

    @return: of each chain its table, its name and its lines.
    """
    table, name, lines = "", "", list[str]()
    for line in map(str.strip, ruleset.splitlines()):
        words = line.split()
        if words[:1] == ["table"]:
            table = " ".join(words[1:-1])
        elif words[:1] == ["chain"]:
            name, lines = words[1], []
        elif line == "}":
            if name:
                yield table, name, lines
            name = ""
        elif name and line:
            lines.append(line)
