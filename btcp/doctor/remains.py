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

_PROGRAMS = {"ingress": "btcp_ingress", "egress": "btcp_egress"}

_RULES = 8
"""Rules of L{btcp.datapath.raw.guard} that bring packets to the daemon."""

_REPAIRED = "host.repaired."


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
        info = host.query(path, "info")["info"]
    except (OSError, ValueError) as problem:
        yield fail(f"twistd, pid {pid}, does not answer: {problem}", f"kill -9 {pid}")
        return
    down = [str(peer["node"]) for peer in peers if peer["state"] != "up"]
    if down:
        yield warn(f"twistd, pid {pid}: no link to {', '.join(down)}", "btcp show peers")
    else:
        yield fine(f"twistd, pid {pid}, has links to all {len(peers)} other nodes")
    # A daemon of an earlier version does not report it.
    if info["datapath"] == "ebpf" and not info.get("resumes", True):
        yield warn(
            f"twistd, pid {pid}: a restart resets its connections, for it had no CAP_SYS_ADMIN",
            "# add it to AmbientCapabilities= and CapabilityBoundingSet=, as the shipped unit does",
        )


def check_remains(host: Host, config: Config) -> Iterator[Finding]:
    """
    Check that a running daemon has all its parts in the host, and that a daemon that was killed
    has left none: table or programs, device, socket.
    """
    path = f"{config.run}/{SOCKET}"
    if host.daemon(path) is not None:
        missing = list(_missing(host, config))
        yield from missing
        if not missing:
            yield fine("all parts of the running daemon are in place")
        yield from _repairs(host, path)
        return
    found = list(_remains(host, config, path))
    yield from found
    if not found:
        yield fine("no remains of a killed daemon")


def _missing(host: Host, config: Config) -> Iterator[Finding]:
    """
    Compare the host with what a running daemon put into it.  The daemon repairs it within a second,
    so what is found here is what it cannot repair.
    """
    remedy = "systemctl restart btcp", "journalctl -u btcp | grep 'cannot be repaired'"
    devices = host.devices()
    if TAP not in devices:
        yield fail(f"device {TAP} of the running daemon does not exist", *remedy)
    elif not devices[TAP].up:
        yield fail(f"device {TAP} of the running daemon is down", *remedy)
    device = facing(host, config)
    if device is None:
        return  # the check of the device reports it
    lost = [
        direction
        for direction, name in _PROGRAMS.items()
        if name not in (each for _, each in host.filters(device.name).get(direction, ()))
    ]
    if not lost:
        return
    table = host.run(["nft", "list", "table", "netdev", TABLE])
    if table.status == 0 and table.text.count("fwd to") == _RULES:
        return
    if config.datapath == "raw" or len(lost) == len(_PROGRAMS):
        yield fail(
            f"no traffic reaches the running daemon: table netdev {TABLE} is not there or changed,"
            f" and no tc programs are on {device.name}",
            *remedy,
        )
    else:
        names = ", ".join(_PROGRAMS[direction] for direction in lost)
        yield fail(f"tc program {names} of the running daemon is not on {device.name}", *remedy)


def _repairs(host: Host, path: str) -> Iterator[Finding]:
    """
    Report what the running daemon had to repair.
    """
    try:
        counters = host.query(path, "stats")["counters"]
    except (OSError, ValueError, KeyError):
        return  # the check of the daemon reports it
    repairs = {
        name.removeprefix(_REPAIRED): count
        for name, count in counters.items()
        if name.startswith(_REPAIRED) and count
    }
    if repairs:
        parts = ", ".join(f"{part} {count}" for part, count in sorted(repairs.items()))
        yield warn(
            f"other programs removed or changed parts of the daemon, which repaired them: {parts}",
            "journalctl -u btcp | grep 'repaired the host'",
        )


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
