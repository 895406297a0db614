# SPDX-License-Identifier: MIT
"""
C{twistd btcp}: command-line options, and construction of the service.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Mapping
from functools import partial
from ipaddress import ip_address
from typing import Any

from twisted.application.service import IService
from twisted.python import usage

from btcp import logs
from btcp.admin.build import About, manage
from btcp.config import Config, ConfigErrors, load
from btcp.control.commands import Ways
from btcp.daemon import files, privileges
from btcp.daemon.monotonic import use_monotonic_clock
from btcp.daemon.notify import Notify
from btcp.daemon.process import Daemon, Surroundings, status
from btcp.daemon.startup import print_start_errors_plainly
from btcp.datapath.choice import decide, inherit, make, survives
from btcp.datapath.interface import DatapathError, DeviceMissing, Identity
from btcp.datapath.raw.datapath import TAP
from btcp.datapath.raw.device import Tap, hardware_address, index, mtu, require_loose_source_check
from btcp.datapath.raw.host import capabilities, device_of, syncookies
from btcp.datapath.trace import TraceDatapath
from btcp.node.host_watch import HostFacts
from btcp.node.service import Node
from btcp.pki.trust import TrustError


class Options(usage.Options):
    """
    Options of C{twistd btcp}.
    """

    synopsis = "[options]"
    longdesc = "Runs one node of a BTCP cluster: front-end and back-end at once."
    optParameters = [  # noqa: RUF012
        ["config", "c", "/etc/btcp/node.yaml", "The configuration."],
        ["node", "n", None, "The name of this host's node; overrides the file."],
    ]

    def postOptions(self) -> None:
        """
        Read the configuration, so that mistakes are reported before anything starts.
        """
        self._path = os.path.abspath(self["config"])  # twistd changes the working directory
        try:
            self.configuration = load(self["config"], self["node"])
        except ConfigErrors as problems:
            raise usage.UsageError(f"the configuration has errors\n{problems}") from problems
        self._check_privileges(self.configuration)
        self.log_path = _twistd_log(self.parent or {})
        self._check_files(self.configuration, self.parent or {})

    def _check_privileges(self, config: Config) -> None:
        if self.parent is not None and (self.parent["uid"], self.parent["gid"]) != (None, None):
            raise usage.UsageError("--uid and --gid also drop capabilities: use 'user:' instead")
        lacking = privileges.lacking(privileges.needed(*config.ways))
        if lacking:
            raise usage.UsageError(
                f"btcp works below the kernel's TCP and needs {', '.join(lacking)}:"
                " start it as root, or see 'Without root' in docs/operations.md"
            )
        if config.user is None:
            return
        try:
            uid, _ = privileges.account(config.user)
        except privileges.PrivilegeError as problem:
            raise usage.UsageError(str(problem)) from problem
        if os.geteuid() not in (0, uid):
            raise usage.UsageError(f"user: only root can become {config.user!r}")

    def _check_files(self, config: Config, options: Mapping[str, Any]) -> None:
        """
        C{twistd} opens its files as root, and follows links that others may have made.
        """
        if files.owner_of(config.user) is None:
            return
        pidfile = options.get("pidfile")
        written = [
            ("--pidfile", pidfile and os.path.abspath(pidfile)),
            ("--logfile", None if config.log.own else self.log_path),
        ]
        for option, path in written:
            if path and not files.is_roots(os.path.dirname(path)):
                raise usage.UsageError(
                    f"{option} {path}: root would write to a directory in which others can make"
                    " links. Choose a directory that only root can write to"
                    + (", or say log.file" if option == "--logfile" else ", such as /run")
                )

    def read(self) -> Config:
        """
        Read the configuration file again.

        @raise ConfigErrors: if it has errors.
        """
        return load(self._path, self["node"])


def makeService(options: Options) -> IService:
    """
    Make the service of one node.

    @raise SystemExit: if the host cannot run this configuration; the text is the reason.
    """
    from twisted.internet import reactor

    use_monotonic_clock(reactor)
    _collect_garbage_seldom()
    try:
        node, management = make_node(reactor, options.configuration)
    except (DatapathError, TrustError) as problem:
        raise SystemExit(f"btcp: {problem}") from None
    try:
        owner = files.owner_of(options.configuration.user)
        opener = None if owner is None else files.opener(owner)
        writer = logs.writer(options.configuration.log, options.log_path, sys.stdout, opener)
    except OSError as problem:
        raise SystemExit(f"btcp: log: {problem}") from None
    node.source = options.read
    around = Surroundings(writer, Notify(), partial(status, node))
    service = Daemon(reactor, node, around)
    print_start_errors_plainly()
    # The node last: if a management port is occupied, nothing is attached to the host yet.
    management.setServiceParent(service)
    node.setServiceParent(service)
    return service


def _collect_garbage_seldom() -> None:
    """
    Let the garbage collector run less often.

    Flows have no reference cycles, so reference counting frees them.  The collector would find
    nothing, and scanning tens of thousands of them would delay packets by milliseconds.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def _twistd_log(options: Mapping[str, Any]) -> str | None:
    """
    Determine the file that C{twistd} would log to.

    @param options: the options of C{twistd}.
    @return: an absolute path; L{None} for standard output.
    """
    path: str | None = options.get("logfile")
    if path == "-" or (not path and options.get("nodaemon")):
        return None
    return os.path.abspath(path or "twistd.log")


def make_node(reactor: Any, config: Config) -> tuple[Node, IService]:
    """
    Make the node and its management service, with a datapath that this host supports.

    @raise DatapathError: if the host cannot run this configuration.
    @raise TrustError: if the node's certificates cannot be used.
    """
    own = config.own
    device = _device(config)
    listeners = [
        (address, listener.port)
        for listener in config.listeners
        for address in config.listener_addresses(listener, own)
    ]
    origins = [(at, listener.origin) for listener in config.listeners for at in own.addresses]
    can = capabilities(mtu(device))
    flows = config.limits.flows
    choice = decide(config.datapath, config.adoption, config.express)
    inheritance = inherit(choice, device)
    if inheritance is not None:
        identity = inheritance.identity
    else:
        # Random, not the time: a host without a real-time clock starts at the same time again.
        epoch = int.from_bytes(os.urandom(8), "big")
        identity = Identity(epoch, 0, os.urandom(32))
    own_addresses = frozenset(address for address, _ in (*listeners, *origins))
    origin_ports = {
        (address, listener.port): listener.origin
        for listener in config.listeners
        if listener.content == "http"
        for address in config.listener_addresses(listener, own)
    }
    inner, express = make(
        choice, reactor, device, listeners, origins, flows, identity, inheritance, origin_ports
    )
    datapath = TraceDatapath(inner, own_addresses, time.time_ns)
    resumes = survives(choice)
    node = Node(
        reactor,
        time.monotonic,
        config,
        datapath,
        can,
        identity.epoch,
        identity.secret,
        admits=choice.admits,
        reports=choice.ebpf,
        starts=identity.starts,
        ways=Ways(
            datapath="ebpf" if choice.ebpf else "raw",
            adoption="cookie" if choice.admits else "replay",
            resumes=resumes,
            express=choice.express,
        ),
        express=express,
        facts=partial(_facts, config, device),
    )
    about = About(config.node, identity.epoch, choice.ebpf, choice.admits, resumes, time.monotonic)
    return node, manage(reactor, node, datapath, about)


def _facts(config: Config, device: str) -> HostFacts:
    """
    @return: what the host is like now.
    @raise DatapathError: if the node has to be started anew to work on it.
    @raise DeviceMissing: if the device is not there at present.
    """
    try:
        index(device)
    except DeviceMissing:
        if config.device is None:
            _require_home(config.own.addresses[0], device)
        raise
    return HostFacts(capabilities(mtu(device)), syncookies())


def _require_home(address: bytes, device: str) -> None:
    try:
        holder = device_of([address])
    except DatapathError:
        return
    if holder != device:
        raise DatapathError(f"{ip_address(address)} is on device {holder} now, not on {device}")


def _device(config: Config) -> str:
    """
    Check the host's devices before C{twistd} detaches, so that errors appear on the terminal.

    @return: the name of the device that clients and nodes are reached through.
    @raise DatapathError: if the host cannot run this configuration.
    """
    holders = [device_of([address]) for address in config.own.addresses]
    device = config.device or holders[0]
    hardware_address(device)
    require_loose_source_check()
    Tap(TAP).close()
    return device
