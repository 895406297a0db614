# SPDX-License-Identifier: MIT
"""
Checks of the kernel's features and the daemon's privileges.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import btcp
from btcp.admin.protocol import SOCKET
from btcp.config import Config
from btcp.daemon import privileges
from btcp.datapath.ebpf.objects import REMEDY
from btcp.datapath.raw.guard import TABLE
from btcp.doctor.finding import Finding, fail, fine, warn
from btcp.doctor.host import Host

_EGRESS_PROBE = """
table netdev btcp_probe {
    chain egress { type filter hook egress device lo priority 0; }
}
"""
_TUN = "/dev/net/tun"
_BTF = "/sys/kernel/btf/vmlinux"
_OPEN_FILES = 1024


def check_tun(host: Host, config: Config | None) -> Iterator[Finding]:
    """
    Check that C{/dev/net/tun}, which creates the TAP device, exists and can be opened.
    """
    if host.stat(_TUN) is None:
        yield fail(f"{_TUN} is missing", "modprobe tun", "echo tun >/etc/modules-load.d/btcp.conf")
        return
    problem = host.opens(_TUN)
    found = host.stat(_TUN)
    user = config.user if config is not None else None
    if problem is not None:
        yield fail(f"{_TUN}: {problem}", f"chmod 0666 {_TUN}")
    elif user not in (None, "root") and found is not None and found.st_mode & 0o006 != 0o006:
        yield fail(f"{_TUN} is not for user {user}", f"chmod 0666 {_TUN}")
    else:
        yield fine(_TUN)


def check_nftables(host: Host, config: Config | None) -> Iterator[Finding]:
    """
    Check for nft and for the ingress and egress hooks that the raw datapath's table needs.
    """
    tables = host.run(["nft", "list", "tables", "netdev"])
    if tables.status == 127:
        yield fail("the program nft is missing", "apt-get install nftables")
        return
    if f"table netdev {TABLE}" in tables.text:
        yield fine("nft, with ingress and egress hooks: the table of btcp is there")
        return
    tried = host.run(["nft", "--check", "-f", "-"], _EGRESS_PROBE)
    if tried.status == 0:
        yield fine("nft, with ingress and egress hooks")
    else:
        said = tried.text.splitlines()[0] if tried.text else "no reason given"
        yield fail(
            f"no egress hook of the netdev family (Linux 5.16): {said}",
            "# boot a kernel with CONFIG_NETFILTER_EGRESS, and run this as root",
        )


def check_ebpf(host: Host, config: Config | None) -> Iterator[Finding]:
    """
    Check for what the eBPF datapath needs: BTF, bpf(2), tc with clsact.
    """
    wanted = config.datapath if config is not None else "auto"
    if wanted == "raw":
        yield fine("not needed: the datapath is raw")
        return
    problem = host.ebpf()
    if problem is None:
        yield fine("tc programs load and attach")
        return
    if host.missing_objects():
        remedy = [f"# {REMEDY}"]
    else:
        remedy = [] if host.stat(_BTF) else ["# boot a kernel with CONFIG_DEBUG_INFO_BTF"]
    if "libbpf" in problem:
        remedy.append("apt-get install libbpf1")
    remedy.append("# or configure 'datapath: raw', which is slower")
    yield (fail if wanted == "ebpf" else warn)(problem, *remedy)


def check_cookie(host: Host, config: Config | None) -> Iterator[Finding]:
    """
    Check for adoption by cookie (bpf_sk_assign_tcp_reqsk) and for what C{express} needs.
    """
    wanted = config.adoption if config is not None else "auto"
    if wanted == "replay" or (config is not None and config.datapath == "raw"):
        yield fine("not needed: adoption is by replay")
        return
    express = config is not None and config.express
    problem = host.cookie() or (host.express() if express else None)
    if problem is None:
        yield fine("adoption by cookie" + ", and handoffs by the kernel" * express)
        return
    remedy = REMEDY if host.missing_objects() else "boot Linux 6.9 or later"
    otherwise = "express: false" if express else "adoption: replay"
    yield (fail if express or wanted == "cookie" else warn)(
        problem, f"# {remedy}", f"# or configure '{otherwise}', which is slower"
    )


def check_capabilities(host: Host, config: Config | None) -> Iterator[Finding]:
    """
    Check the capabilities of the daemon, or of this process if no daemon runs, and the limit of
    open files.
    """
    pid = None if config is None else host.daemon(f"{config.run}/{SOCKET}")
    datapath, adoption = ("auto", "auto") if config is None else config.ways
    having = host.capabilities(pid)
    whose = "this process" if pid is None else f"twistd, pid {pid},"
    lacking = privileges.lacking(privileges.needed(datapath, adoption), having)
    useful = [each for each in privileges.lacking(privileges.ALL, having) if each not in lacking]
    if lacking:
        yield fail(
            f"{whose} has no {', '.join(lacking)}",
            "# run it as root, or by conf/systemd/btcp.service",
        )
    elif useful and datapath == "auto":
        yield warn(
            f"{whose} has no {', '.join(useful)}: only the slower modes are available",
            f"# AmbientCapabilities={' '.join(each.name for each in privileges.ALL)}",
        )
    else:
        yield fine(f"{whose} has {', '.join(each.name for each in privileges.ALL)}")
    files = host.open_files()
    if files < _OPEN_FILES:
        yield warn(f"a process may open {files} files only", "ulimit -n 4096")


def check_user(host: Host, config: Config) -> Iterator[Finding]:
    """
    Check that the user that the daemon changes to exists and can read the program, parts of
    which are loaded only when they are needed.
    """
    if config.user is None:
        yield fine("the daemon runs as the invoking user")
        return
    try:
        host.account(config.user)
    except privileges.PrivilegeError as problem:
        yield fail(str(problem), f"adduser --system --group --no-create-home {config.user}")
        return
    for path in (Path(btcp.__file__).resolve(), Path(sys.executable).resolve()):
        closed = [each for each in reversed(path.parents) if _closed(host, each, 0o001)]
        closed += [path] if _closed(host, path, 0o004) else []
        if closed:
            yield fail(
                f"user {config.user} cannot read {path}: {closed[0]} is closed to others",
                f"chmod o+{'r' if closed[0] == path else 'x'} {closed[0]}",
                "# or install BTCP elsewhere, such as in /opt",
            )
            return
    yield fine(f"the daemon changes to user {config.user}")


def _closed(host: Host, path: Path, mode: int) -> bool:
    found = host.stat(str(path))
    return found is not None and not found.st_mode & mode
