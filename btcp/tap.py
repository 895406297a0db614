# SPDX-License-Identifier: MIT
"""
C{twistd btcp}: options, and the service they make.
"""

from __future__ import annotations

import gc
import os
import time
from pathlib import Path
from typing import Any

from twisted.application.service import IService, MultiService
from twisted.python import usage

from btcp.config import Config, ConfigErrors, load
from btcp.control.trust import TrustError
from btcp.datapath.choice import decide, make
from btcp.datapath.interface import DatapathError
from btcp.datapath.raw.datapath import TAP
from btcp.datapath.raw.device import Tap, hardware_address, mtu, require_loose_source_check
from btcp.datapath.raw.host import capabilities, device_of
from btcp.manage.server import ManageService
from btcp.node import Node


class Options(usage.Options):
    """
    Options of C{twistd btcp}.
    """

    synopsis = "[options]"
    longdesc = "Runs one node of a BTCP cluster: front-end and back-end at once."
    optParameters = [  # noqa: RUF012
        ["config", "c", "/etc/btcp/node.yaml", "The configuration."],
        ["node", "n", None, "Which of its nodes this host is; overrides the file."],
    ]

    def postOptions(self) -> None:
        """
        Read the configuration, so that mistakes are reported before anything starts.
        """
        try:
            self.configuration = load(self["config"], self["node"])
        except ConfigErrors as problems:
            raise usage.UsageError(f"the configuration has errors\n{problems}") from problems
        if os.geteuid() != 0:
            raise usage.UsageError("btcp works below the kernel's TCP and has to be run by root")


def makeService(options: Options) -> IService:
    """
    @return: the service of one node.
    @raise SystemExit: if the host cannot run this configuration; says why.
    """
    from twisted.internet import reactor

    _collect_garbage_seldom()
    try:
        return node_service(reactor, options.configuration)
    except (DatapathError, TrustError) as problem:
        raise SystemExit(f"btcp: {problem}") from None


def _collect_garbage_seldom() -> None:
    """
    Flows are freed by their reference counts; the collector finds nothing in them,
    and looking through ten thousands of them stops the packets for milliseconds.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def node_service(reactor: Any, config: Config) -> IService:
    """
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
    choice = decide(config.datapath, config.adoption)
    datapath = make(choice, reactor, device, listeners, origins, flows)
    epoch = time.time_ns() // 1000
    node = Node(
        reactor,
        time.monotonic,
        config,
        datapath,
        can,
        epoch,
        os.urandom(32),
        admits=choice.admits,
        reports=choice.ebpf,
    )
    Path(config.run).mkdir(mode=0o755, parents=True, exist_ok=True)
    service = MultiService()
    node.setServiceParent(service)
    socket = str(Path(config.run) / "btcp.sock")
    ManageService(socket, node, reactor).setServiceParent(service)
    return service


def _device(config: Config) -> str:
    """
    Look at the host while there is a terminal to complain to; a daemon that starts
    has its log only.

    @return: the device that faces the cluster.
    @raise DatapathError: if the host cannot run this configuration.
    """
    holders = [device_of([address]) for address in config.own.addresses]
    device = config.device or holders[0]
    hardware_address(device)
    require_loose_source_check()
    Tap(TAP).close()
    return device
