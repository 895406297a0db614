# SPDX-License-Identifier: MIT
"""
What can be seen of a host.  Tests have one of their own.
"""

from __future__ import annotations

import os
import platform
import resource
import shutil
import socket
import struct
import subprocess
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from attrs import frozen

from btcp.admin.client import query_now
from btcp.config import Credentials
from btcp.daemon import privileges
from btcp.datapath.ebpf import adoption, express, objects, programs
from btcp.datapath.interface import DatapathError
from btcp.doctor import handshake, icmp
from btcp.pki.trust import Loaded, load

PATIENCE = 2.0
"""Seconds that somebody else on the network may take."""

_PATH = os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/local/sbin:/usr/sbin:/sbin"
_PARENTS = {"ingress": 0xFFFFFFF2, "egress": 0xFFFFFFF3}  # linux/pkt_sched.h
_ETHERNET = 1  # ARPHRD_ETHER


@frozen
class Device:
    """
    @ivar addresses: packed.
    """

    name: str
    mtu: int
    up: bool
    ethernet: bool
    addresses: frozenset[bytes]


@frozen
class Output:
    """
    @ivar status: of a program; 127 if it is not there.
    """

    status: int
    text: str


class Host:
    """
    This host.
    """

    release = platform.release()

    # -- files and programs

    def read(self, path: str) -> str | None:
        """
        @return: what a file says, without white space around it; C{None} if it cannot
            be read.
        """
        try:
            return Path(path).read_text().strip()
        except (OSError, UnicodeDecodeError):
            return None

    def stat(self, path: str) -> os.stat_result | None:
        """
        @return: C{None} if it is not there.
        """
        try:
            return os.stat(path)
        except OSError:
            return None

    def run(self, argv: Sequence[str], stdin: str = "") -> Output:
        """
        Run a program.

        @return: and what it printed; what it complained of, if it failed.
        """
        program = shutil.which(argv[0], path=_PATH)
        if program is None:
            return Output(127, f"{argv[0]} is missing")
        try:
            done = subprocess.run(
                [program, *argv[1:]],
                input=stdin,
                capture_output=True,
                text=True,
                timeout=10,
                env={**os.environ, "PATH": _PATH, "LC_ALL": "C"},
            )
        except (OSError, subprocess.TimeoutExpired) as problem:
            return Output(126, str(problem))
        return Output(
            done.returncode, (done.stdout if not done.returncode else done.stderr).strip()
        )

    def opens(self, path: str) -> str | None:
        """
        @return: why a device cannot be opened; C{None} if it can.
        """
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
        except OSError as problem:
            return problem.strerror or str(problem)
        return None

    # -- who we are

    def capabilities(self, pid: int | None = None) -> frozenset[int]:
        """
        @param pid: of a process; C{None} for this one.
        """
        return privileges.held(Path(f"/proc/{pid or 'self'}/status"))

    def account(self, user: str) -> tuple[int, int]:
        """
        @raise PrivilegeError: if there is no such user.
        """
        return privileges.account(user)

    def open_files(self) -> int:
        """
        @return: how many a process may have.
        """
        return resource.getrlimit(resource.RLIMIT_NOFILE)[1]

    # -- the installation

    def missing_objects(self) -> Sequence[str]:
        """
        Return the names of compiled BPF programs that this installation lacks.
        """
        return [name for name in objects.NAMES if not objects.path(name).exists()]

    # -- the kernel

    def ebpf(self) -> str | None:
        """
        @return: why the tc programs cannot be had; C{None} if they can.
        """
        return _problem(programs.probe)

    def cookie(self) -> str | None:
        """
        @return: why adoption by cookie cannot be had; C{None} if it can.
        """
        return _problem(adoption.probe)

    def express(self) -> str | None:
        """
        @return: why the kernel cannot hand connections off; C{None} if it can.
        """
        return _problem(express.probe)

    # -- the network

    def devices(self) -> Mapping[str, Device]:
        """
        @return: by name.
        """
        # Imported when it is needed: that takes longer than all of most commands.
        from pyroute2 import IPRoute

        with IPRoute() as route:
            held: dict[int, set[bytes]] = {}
            for entry in route.get_addr():
                text = entry.get_attr("IFA_LOCAL") or entry.get_attr("IFA_ADDRESS")
                if text is not None:
                    held.setdefault(entry["index"], set()).add(ip_address(text).packed)
            return {device.name: device for device in (_device(e, held) for e in route.get_links())}

    def filters(self, device: str) -> Mapping[str, Sequence[tuple[int, str]]]:
        """
        @return: by direction, priority and name of each bpf filter.
        """
        from pyroute2 import IPRoute
        from pyroute2.netlink.exceptions import NetlinkError

        found: dict[str, list[tuple[int, str]]] = {}
        try:
            index = socket.if_nametoindex(device)
            with IPRoute() as route:
                for direction, parent in _PARENTS.items():
                    for each in route.get_filters(index=index, parent=parent):
                        options = each.get_attr("TCA_OPTIONS")
                        name = options.get_attr("TCA_BPF_NAME") if options is not None else None
                        if name is not None:
                            found.setdefault(direction, []).append((each["info"] >> 16, str(name)))
        except (OSError, NetlinkError):  # no such device, or no hook
            pass
        return found

    def connect(self, address: str, port: int, source: str | None = None) -> str | None:
        """
        @return: why there is no TCP connection; C{None} if there is one.
        """
        try:
            self._connected(address, port, source).close()
        except OSError as problem:
            return _words(problem)
        return None

    def listen(self, address: str, port: int) -> str | None:
        """
        @return: why nobody can listen there; C{None} if we could.
        """
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tried.bind((address, port))
                tried.listen()
            except OSError as problem:
                return _words(problem)
        return None

    def handshake(
        self, address: str, port: int, source: str | None, loaded: Loaded, node: str
    ) -> str | None:
        """
        @param node: who should answer.
        @return: why there is no TLS connection with it; C{None} if there is one.
        """
        try:
            with self._connected(address, port, source) as connected:
                return handshake.problem(connected, loaded.context, node, PATIENCE)
        except OSError as problem:
            return _words(problem)

    def echo(self, address: str, size: int, source: str | None) -> icmp.Echo:
        """
        Have a host answer a packet of C{size} octets that must not be cut.
        """
        return icmp.echo(address, size, source, PATIENCE)

    def skew(self, address: str, source: str | None) -> float | None:
        """
        @return: seconds that a host's clock is ahead of ours; C{None} if it does not say.
        """
        return icmp.skew(address, source, PATIENCE)

    def _connected(self, address: str, port: int, source: str | None) -> socket.socket:
        end = (source, 0) if source is not None else None
        return socket.create_connection((address, port), PATIENCE, end)

    # -- BTCP

    def trust(self, files: Credentials, node: str) -> Loaded:
        """
        @raise TrustError: they cannot be used.
        """
        return load(files, node)

    def daemon(self, path: str) -> int | None:
        """
        @param path: of the management socket.
        @return: the pid of who listens there, if anybody does.
        """
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
            asking.settimeout(PATIENCE)
            try:
                asking.connect(path)
                credentials = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            except OSError:
                return None
        return int(struct.unpack("iII", credentials)[0])

    def query(self, path: str, what: str) -> Any:
        """
        Ask the daemon.

        @raise OSError: it does not answer.
        @raise ValueError: its answer makes no sense.
        """
        return query_now(path, what)


def _problem(probe: Any) -> str | None:
    try:
        probe()
    except DatapathError as problem:
        return str(problem)
    return None


def _words(problem: OSError) -> str:
    if isinstance(problem, TimeoutError):
        return "no answer"
    return problem.strerror or str(problem)


def _device(entry: Any, held: Mapping[int, set[bytes]]) -> Device:
    return Device(
        str(entry.get_attr("IFLA_IFNAME")),
        int(entry.get_attr("IFLA_MTU")),
        bool(entry["flags"] & 1),
        entry["ifi_type"] == _ETHERNET,
        frozenset(held.get(entry["index"], ())),
    )
