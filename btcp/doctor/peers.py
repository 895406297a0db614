# SPDX-License-Identifier: MIT
"""
Checks of the certificates and of the other nodes.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from ipaddress import ip_address

from btcp.admin.protocol import SOCKET
from btcp.config import Config, Node
from btcp.control.dialing import choose_source
from btcp.control.protection import ENDS_SOON
from btcp.doctor.finding import Finding, fail, fine, warn
from btcp.doctor.host import Host
from btcp.doctor.icmp import Echo
from btcp.doctor.network import facing
from btcp.pki.trust import Loaded, TrustError

_SKEW, _TOO_MUCH_SKEW = 5.0, 60.0
"""Seconds of clock difference that are a warning, and a failure."""

_SMALLEST = 576  # every host accepts that (RFC 791)
_SMALLEST6 = 1280  # the minimum MTU of IPv6 (RFC 8200, 5)


def others(config: Config) -> list[Node]:
    """
    Return all nodes but this one.
    """
    return [node for name, node in config.nodes.items() if name != config.node]


def _loaded(host: Host, config: Config) -> Loaded | None:
    if config.control.credentials is None:
        return None
    try:
        return host.trust(config.control.credentials, config.node)
    except TrustError:  # reported by L{check_certificates}
        return None


def check_certificates(host: Host, config: Config) -> Iterator[Finding]:
    """
    Check that certificate, key and authority match each other and this node, when the
    certificate expires, and who can read the key.
    """
    files = config.control.credentials
    if files is None:
        yield warn(
            "control.insecure: any host that reaches the control port can hijack connections",
            "btcp ca init /root/btcp-ca",
        )
        return
    yield from _key(host, files.key, config.user)
    try:
        ends = host.trust(files, config.node).ends
    except TrustError as problem:
        yield fail(str(problem), f"btcp ca issue DIRECTORY {config.node}  # where the authority is")
        return
    left = ends - datetime.now(UTC)
    renew = f"btcp ca renew DIRECTORY {config.node}  # where the authority is"
    if left < ENDS_SOON:
        yield warn(f"{files.certificate} expires in {left.days} days", renew)
    else:
        yield fine(f"for node {config.node}, {left.days} days left")


def _key(host: Host, path: str, user: str | None) -> Iterator[Finding]:
    found = host.stat(path)
    if found is None:
        return
    if found.st_mode & 0o077 & ~0o040:
        yield fail(f"{path} is accessible to other users", f"chmod 0600 {path}")
    elif user is not None:
        uid, gid = host.account(user)
        readable = uid in (0, found.st_uid) or (found.st_gid == gid and found.st_mode & 0o040)
        if not readable:
            yield fail(
                f"user {user} cannot read {path}: the daemon could not load a renewed key",
                f"chown {user} {path}",
            )


def check_peers(host: Host, config: Config) -> Iterator[Finding]:
    """
    Check that each peer accepts a connection at its control address and identifies itself.

    While the daemon of this host does not run, the cluster may be about to start for the first
    time: a peer that accepts no connection is then a warning.  A peer that answers with a wrong
    certificate is always a failure.
    """
    loaded = _loaded(host, config)
    unreachable = warn if host.daemon(f"{config.run}/{SOCKET}") is None else fail
    for node in others(config):
        address, port = node.control
        source = choose_source(address, config.own.addresses)
        where = f"node {node.name}, {address} port {port}"
        problem = host.connect(address, port, source)
        if problem is not None:
            yield unreachable(
                f"{where}: {problem}",
                f"ping -c 1 {address}",
                "# is twistd running there?  is there a firewall in between?",
            )
            continue
        if loaded is not None:
            problem = host.handshake(address, port, source, loaded, node.name)
        if problem is not None:
            yield fail(f"{where}: {problem}", f"btcp doctor  # on node {node.name}")
        else:
            proof = ", with its certificate" if loaded is not None else ""
            yield fine(f"node {node.name} answers at {address}{proof}")


def check_mtu(host: Host, config: Config) -> Iterator[Finding]:
    """
    Check that packets of the device's MTU reach the other nodes unfragmented: forwarded packets
    are as large as those that clients send.
    """
    device = facing(host, config)
    if device is None:
        return
    good = []
    for node in others(config):
        packed = node.addresses[0]
        address, source = str(ip_address(packed)), _source(config, packed)
        answer = host.echo(address, device.mtu, source)
        small = _SMALLEST if len(packed) == 4 else _SMALLEST6
        if answer is Echo.ANSWERED:
            good.append(node.name)
        elif answer is Echo.IMPOSSIBLE:
            yield warn("only root can test the path MTU", "sudo btcp doctor")
            return
        elif host.echo(address, small, source) is Echo.ANSWERED:
            yield fail(
                f"packets of {device.mtu} octets do not reach node {node.name} and come back",
                "ip link show  # all devices between the nodes need the same MTU",
            )
        else:
            yield warn(
                f"node {node.name} does not answer pings: the path MTU is unknown",
                f"ping -c 1 {address}",
            )
    if good:
        yield fine(f"packets of {device.mtu} octets reach {', '.join(good)} and come back")


def check_clock(host: Host, config: Config) -> Iterator[Finding]:
    """
    Check the kernel's clock source and the differences between the nodes' clocks, on which the
    validity of certificates depends.
    """
    clock = "/sys/devices/system/clocksource/clocksource0/current_clocksource"
    source = host.read(clock)
    if source in ("jiffies", "refined-jiffies", "acpi_pm", "pit"):
        yield warn(f"the kernel's clock is {source}, which is coarse or slow", f"cat {clock}")
    told = []
    for node in others(config):
        v4 = next((each for each in node.addresses if len(each) == 4), None)
        skew = None if v4 is None else host.skew(str(ip_address(v4)), _source(config, v4))
        if skew is None:
            continue
        told.append(f"{node.name} {round(skew, 1) or 0.0:+.1f} s")  # not -0.0
        if abs(skew) >= _SKEW:
            verdict = fail if abs(skew) >= _TOO_MUCH_SKEW else warn
            yield verdict(
                f"the clock of node {node.name} differs by {skew:+.1f} s",
                "timedatectl set-ntp true",
            )
    yield fine(
        f"clocks of other nodes: {', '.join(told)}" if told else "no node answers ICMP timestamps"
    )


def _source(config: Config, destination: bytes) -> str | None:
    return choose_source(str(ip_address(destination)), config.own.addresses)
