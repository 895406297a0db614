# SPDX-License-Identifier: MIT
"""
C{btcp unload}: removal of everything that a stopped daemon left on this host.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import ClassVar

from twisted.python import usage

from btcp.admin.endpoints import SocketInUse, remove_stale
from btcp.admin.protocol import SOCKET
from btcp.cli.options import FAILED, Command
from btcp.config import Config, ConfigErrors, load
from btcp.datapath.choice import clear
from btcp.datapath.interface import DatapathError
from btcp.datapath.raw.datapath import TAP
from btcp.datapath.raw.device import Tap
from btcp.datapath.raw.host import device_of


class Unload(Command):
    """
    Remove what a daemon left on this host: its kernel programs, and thereby the connections
    that they still forward.
    """

    synopsis = "[--node NAME] [--force] NODE.YAML"
    optFlags: ClassVar = [["force", "f", "Although a daemon runs; one that works restores all."]]
    optParameters: ClassVar = [["node", "n", None, "Which of its nodes this host is."]]

    def parseArgs(self, path: str = "") -> None:
        if not path:
            raise usage.UsageError("the daemon's configuration file is missing")
        self["path"] = path

    def run(self) -> int:
        try:
            config = load(self["path"], self["node"])
            if os.geteuid() != 0:
                raise DatapathError("only root can do this")
            if not self["force"]:
                _require_no_daemon()
            removed = [*clear(config.device or device_of(config.own.addresses)), *_files(config)]
        except (ConfigErrors, DatapathError) as problem:
            print(f"btcp: {problem}", file=sys.stderr)
            return FAILED
        print("\n".join(f"removed {each}" for each in removed) or "nothing to remove")
        return 0


def _require_no_daemon() -> None:
    """
    Make sure that no daemon runs, by taking its TAP device for a moment.

    @raise DatapathError: if a daemon has the device, or the device cannot be made.
    """
    try:
        Tap(TAP).close()
    except DatapathError as problem:
        raise DatapathError(f"{problem} Stop it first, or use --force") from None


def _files(config: Config) -> list[str]:
    """
    Remove the management socket of a dead daemon.

    @return: its path if it existed.
    """
    path = Path(config.run) / SOCKET
    try:
        there = path.exists()
        remove_stale(str(path))
    except SocketInUse:  # a running daemon's, which --force ignores
        return []
    return [str(path)] if there else []
