# SPDX-License-Identifier: MIT
"""
The daemon, or what one has left behind.
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
    Whether it runs, and whom it is linked to.
    """
    path = f"{config.run}/{SOCKET}"
    pid = host.daemon(path)
    if pid is None:
        yield warn("twistd does not run", "systemctl start btcp")
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
        yield fine(f"twistd, pid {pid}, is linked to all {len(peers)} others")


def check_remains(host: Host, config: Config) -> Iterator[Finding]:
    """
    What a daemon that was killed could not undo.
    """
    path = f"{config.run}/{SOCKET}"
    if host.daemon(path) is not None:
        yield fine("what is there belongs to the daemon that runs")
        return
    found = list(_remains(host, config, path))
    yield from found
    if not found:
        yield fine("nothing")


def _remains(host: Host, config: Config, path: str) -> Iterator[Finding]:
    again = "# or start the daemon, which takes it away"
    if f"table netdev {TABLE}" in host.run(["nft", "list", "tables", "netdev"]).text:
        yield warn(
            f"table netdev {TABLE}: nobody answers at the ports of listeners and origins",
            f"nft delete table netdev {TABLE}",
            again,
        )
    device = facing(host, config)
    filters = {} if device is None else host.filters(device.name)
    for direction, entries in filters.items():
        for priority, name in entries:
            if device is not None and name.startswith("btcp_"):
                yield warn(
                    f"tc program {name} on {device.name}: clients of the listeners reach nobody",
                    f"tc filter del dev {device.name} {direction} pref {priority}",
                    again,
                )
    if TAP in host.devices():
        yield fail(
            f"device {TAP} is there: another twistd runs, with another 'run:'", "pgrep -af twistd"
        )
    if host.stat(path) is not None:
        yield warn(f"{path} is a dead socket", f"rm {path}", again)
