# SPDX-License-Identifier: MIT
"""
The programs a lab is made with, and what this machine lacks of them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence

# What a plain C{su} leaves out of PATH, and where C{ip}, C{nft} and C{nginx} live.
ENVIRONMENT = {
    **os.environ,
    "PATH": os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/local/sbin:/usr/sbin:/sbin",
}

# program -> the Debian package that has it
PROGRAMS = {
    "curl": "curl",
    "ethtool": "ethtool",
    "ip": "iproute2",
    "nft": "nftables",
    "nginx": "nginx-light",
    "nsenter": "util-linux",
    "sysctl": "procps",
    "tcpdump": "tcpdump",
}

NO_ROOT = "root is missing: the lab makes network namespaces"
_EGRESS_PROBE = b"""
table netdev probe {
    chain egress { type filter hook egress device lo priority 0; }
}
"""


class LabError(Exception):
    """
    The lab cannot do what it was asked; each line of the message says one reason.
    """


def run(argv: Sequence[str], stdin: bytes = b"") -> bytes:
    """
    Run a program to its end.

    @return: what it wrote to its standard output.
    @raise LabError: it is not there, or failed; the message is its standard error.
    """
    try:
        done = subprocess.run(argv, input=stdin, capture_output=True, env=ENVIRONMENT)
    except FileNotFoundError:
        raise LabError(f"{argv[0]} is missing") from None
    if done.returncode:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise LabError(f"{' '.join(argv)}: {said or f'exit status {done.returncode}'}")
    return done.stdout


def missing(daemons: bool = True) -> list[str]:
    """
    What keeps a lab from standing on this machine, one clear line each.

    @param daemons: whether C{twistd btcp} is to run in the lab as well.
    @return: empty where a lab can stand.
    """
    if sys.platform != "linux":
        return ["Linux is missing: the lab is made of network namespaces"]
    if os.geteuid() != 0:
        return [NO_ROOT]
    lacks = [
        f"{program} is missing: apt-get install {package}"
        for program, package in PROGRAMS.items()
        if shutil.which(program, path=ENVIRONMENT["PATH"]) is None
    ]
    return lacks or _kernel_lacks(daemons)


def _kernel_lacks(daemons: bool) -> list[str]:
    if not _works(["unshare", "--net", "true"]):
        return ["network namespaces are missing: the kernel or the container refuses to make one"]
    if not daemons:
        return []
    lacks = []
    if not os.path.exists("/dev/net/tun"):
        lacks.append("/dev/net/tun is missing: modprobe tun, or give the container that device")
    if not _works(["unshare", "--net", "nft", "-f", "-"], _EGRESS_PROBE):
        lacks.append("the nftables netdev egress hook is missing: Linux 5.16 or newer has it")
    return lacks


def _works(argv: Sequence[str], stdin: bytes = b"") -> bool:
    try:
        run(argv, stdin)
    except LabError:
        return False
    return True
