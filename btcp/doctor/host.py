# SPDX-License-Identifier: MIT
"""
Access to the state of this host, for the checks.  Tests use a fake with the same methods.
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
"""Seconds to wait for an answer from the network."""

_PATH = os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/local/sbin:/usr/sbin:/sbin"
_PARENTS = {"ingress": 0xFFFFFFF2, "egress": 0xFFFFFFF3}  # linux/pkt_sched.h
_ETHERNET = 1  # ARPHRD_ETHER


@frozen
class Device:
    """
    A network device.

    @ivar addresses: packed addresses of the device.
    """

    name: str
    mtu: int
    up: bool
    ethernet: bool
    addresses: frozenset[bytes]


@frozen
class Output:
    """
    Result of a program.

    @ivar status: its exit status; 127 if the program is missing, 126 if it could not run.
    @ivar text: its standard output, or its error output if it failed.
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
        Read a text file.

        @return: the content, stripped of white space; C{None} if it cannot be read.
        """
        try:
            return Path(path).read_text().strip()
        except (OSError, UnicodeDecodeError):
            return None

    def stat(self, path: str) -> os.stat_result | None:
        """
        Return a file's status; C{None} if it does not exist or is inaccessible.
        """
        try:
            return os.stat(path)
        except OSError:
            return None

    def run(self, argv: Sequence[str], stdin: str = "") -> Output:
        """
        Run a program for at most 10 s.
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
        Try to open a device for reading and writing.

        @return: the error; C{None} if it can be opened.
        """
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
        except OSError as problem:
            return problem.strerror or str(problem)
        return None

    # -- users and privileges

    def capabilities(self, pid: int | None = None) -> frozenset[int]:
        """
        Return the numbers of the capabilities that a process has.

        @param pid: the process; C{None} for this one.
        """
        return privileges.held(Path(f"/proc/{pid or 'self'}/status"))

    def account(self, user: str) -> tuple[int, int]:
        """
        Return a user's uid and gid.

        @raise PrivilegeError: if there is no such user.
        """
        return privileges.account(user)

    def open_files(self) -> int:
        """
        Return the hard limit of open files per process.
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
        Try to load the tc programs.

        @return: the reason why that is impossible; C{None} if it succeeds.
        """
        return _problem(programs.probe)

    def cookie(self) -> str | None:
        """
        Try to load the program for adoption by cookie.

        @return: the reason why that is impossible; C{None} if it succeeds.
        """
        return _problem(adoption.probe)

    def express(self) -> str | None:
        """
        Try to load the programs for handoffs by the kernel.

        @return: the reason why that is impossible; C{None} if it succeeds.
        """
        return _problem(express.probe)

    # -- the network

    def devices(self) -> Mapping[str, Device]:
        """
        List the network devices, by name.
        """
        # Imported here because the import takes longer than most commands.
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
        List a device's tc filters of kind bpf.

        @return: C{"ingress"} and C{"egress"} to pairs of priority and program name.
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
        Try to open a TCP connection.

        @param source: the source address; C{None} for the kernel's choice.
        @return: the error; C{None} if the connection was accepted.
        """
        try:
            self._connected(address, port, source).close()
        except OSError as problem:
            return _words(problem)
        return None

    def listen(self, address: str, port: int) -> str | None:
        """
        Try to listen on an address and port.

        @return: the error; C{None} if that is possible.
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
        Try to open a TLS connection to a node's control port.

        @param node: the name of the node that should answer.
        @return: the problem; C{None} if the handshake succeeds.
        """
        try:
            with self._connected(address, port, source) as connected:
                return handshake.problem(connected, loaded.context, node, PATIENCE)
        except OSError as problem:
            return _words(problem)

    def echo(self, address: str, size: int, source: str | None) -> icmp.Echo:
        """
        Send an ICMP echo request of C{size} octets that must not be fragmented.
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
