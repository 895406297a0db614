# SPDX-License-Identifier: MIT
"""
C{twistd btcp}: options, and the service they make.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from twisted.application.service import IService, MultiService
from twisted.python import usage

from btcp.config import Config, ConfigErrors, load
from btcp.datapath.choice import choose
from btcp.datapath.interface import DatapathError
from btcp.datapath.raw.device import mtu
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
    """
    from twisted.internet import reactor

    return node_service(reactor, options.configuration)


def node_service(reactor: Any, config: Config) -> IService:
    """
    @raise usage.UsageError: if the host cannot run this configuration.
    """
    own = config.own
    listeners = [
        (address, listener.port)
        for listener in config.listeners
        for address in config.listener_addresses(listener, own)
    ]
    origins = [(at, listener.origin) for listener in config.listeners for at in own.addresses]
    try:
        device = config.device or device_of(own.addresses)
        can = capabilities(mtu(device))
        flows = config.limits.flows
        datapath = choose(config.datapath, reactor, device, listeners, origins, flows)
    except DatapathError as problem:
        raise usage.UsageError(str(problem)) from problem
    epoch = time.time_ns() // 1000
    node = Node(reactor, time.monotonic, config, datapath, can, epoch, os.urandom(32))
    Path(config.run).mkdir(mode=0o755, parents=True, exist_ok=True)
    service = MultiService()
    node.setServiceParent(service)
    socket = str(Path(config.run) / "btcp.sock")
    ManageService(socket, node, reactor).setServiceParent(service)
    return service
