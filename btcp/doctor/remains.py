# SPDX-License-Identifier: MIT
"""
Checks of the running daemon, and for what a killed one left behind.
"""

from __future__ import annotations

from collections.abc import Iterator

from btcp.admin.protocol import SOCKET
from btcp.config import Config
from btcp.datapath.raw.datapath import TAP
from btcp.datapath.raw.guard import TABLE
from btcp.doctor.finding import Finding, fail, fine, warn
from btcp.doctor.host import Host
from btcp.doctor.network import facing


def check_daemon(host: Host, config: Config) -> Iterator[Finding]:
    """
    Check that the daemon runs, answers, and has links to all other nodes.
    """
    path = f"{config.run}/{SOCKET}"
    pid = host.daemon(path)
    if pid is None:
        yield warn("twistd is not running", "systemctl start btcp")
        return
    try:
        peers = host.query(path, "peers")["peers"]
    except (OSError, ValueError) as problem:
        yield fail(f"twistd, pid {pid}, does not answer: {problem}", f"kill -9 {pid}")
        return
    down = [str(peer["node"]) for peer in peers if peer["state"] != "up"]
    if down:
        yield warn(f"twistd, pid {pid}: no link to {', '.join(down)}", "btcp show peers")
    else:
        yield fine(f"twistd, pid {pid}, has links to all {len(peers)} other nodes")


def check_remains(host: Host, config: Config) -> Iterator[Finding]:
    """
    Check for the table, programs, device and socket of a daemon that was killed.
    """
    path = f"{config.run}/{SOCKET}"
    if host.daemon(path) is not None:
        yield fine("everything belongs to the running daemon")
        return
    found = list(_remains(host, config, path))
    yield from found
    if not found:
        yield fine("no remains of a killed daemon")


def _remains(host: Host, config: Config, path: str) -> Iterator[Finding]:
    again = "# or start the daemon, which removes it"
    if f"table netdev {TABLE}" in host.run(["nft", "list", "tables", "netdev"]).text:
        yield warn(
            f"table netdev {TABLE} is left: the ports of listeners and origins are unreachable",
            f"nft delete table netdev {TABLE}",
            again,
        )
    device = facing(host, config)
    filters = {} if device is None else host.filters(device.name)
    for direction, entries in filters.items():
        for priority, name in entries:
            if device is not None and name.startswith("btcp_"):
                yield warn(
                    f"tc program {name} is left on {device.name}: the listeners are unreachable",
                    f"tc filter del dev {device.name} {direction} pref {priority}",
                    again,
                )
    if TAP in host.devices():
        yield fail(
            f"device {TAP} exists: another twistd runs, with another 'run:'", "pgrep -af twistd"
        )
    if host.stat(path) is not None:
        yield warn(f"{path} is the socket of a dead daemon", f"rm {path}", again)
