# SPDX-License-Identifier: MIT
"""
C{btcp unload}: a host without a trace of a daemon that is gone.
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
    Take from this host what a daemon left: its programs, and with them the connections
    that they go on moving.
    """

    synopsis = "[--node NAME] [--force] NODE.YAML"
    optFlags: ClassVar = [["force", "f", "Even if a daemon runs: it will see no more packets."]]
    optParameters: ClassVar = [["node", "n", None, "Which of its nodes this host is."]]

    def parseArgs(self, path: str = "") -> None:
        if not path:
            raise usage.UsageError("say with which file the daemon was started")
        self["path"] = path

    def run(self) -> int:
        try:
            config = load(self["path"], self["node"])
            if os.geteuid() != 0:
                raise DatapathError("only root can")
            if not self["force"]:
                _require_no_daemon()
            removed = [*clear(config.device or device_of(config.own.addresses)), *_files(config)]
        except (ConfigErrors, DatapathError) as problem:
            print(f"btcp: {problem}", file=sys.stderr)
            return FAILED
        print("\n".join(f"removed {each}" for each in removed) or "there was nothing")
        return 0


def _require_no_daemon() -> None:
    """
    @raise DatapathError: there is one, or there can be none: its device cannot be had.
    """
    try:
        Tap(TAP).close()
    except DatapathError as problem:
        raise DatapathError(f"{problem} Stop it first, or say --force") from None


def _files(config: Config) -> list[str]:
    """
    Remove the socket that a dead daemon left.

    @return: its name, if it was there.
    """
    path = Path(config.run) / SOCKET
    try:
        there = path.exists()
        remove_stale(str(path))
    except SocketInUse:  # of one that runs, and was not to keep us from it
        return []
    return [str(path)] if there else []
