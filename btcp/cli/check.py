# SPDX-License-Identifier: MIT
"""
C{btcp check}: validation of a configuration file.
"""

from __future__ import annotations

import sys
from ipaddress import ip_address
from typing import ClassVar

from twisted.python import usage

from btcp.cli.options import FAILED, Command
from btcp.config import Config, ConfigErrors, load, load_cluster


class Check(Command):
    """
    Report all mistakes of a configuration, without starting anything.
    """

    synopsis = "[--node NAME] NODE.YAML"
    optParameters: ClassVar = [["node", "n", None, "Which of its nodes this host is."]]

    def parseArgs(self, path: str = "") -> None:
        if not path:
            raise usage.UsageError("the file to check is missing")
        self["path"] = path

    def run(self) -> int:
        """
        Check the file for one node, or for every node if neither the file nor an option names one.
        """
        path, node = self["path"], self["node"]
        try:
            configs = load_cluster(path) if node is None else (load(path, node),)
        except ConfigErrors as errors:
            print(errors, file=sys.stderr)
            return FAILED
        print("\n".join(dict.fromkeys(line for c in configs for line in summary(c).splitlines())))
        return 0


def summary(config: Config) -> str:
    """
    Summarise a configuration in a few lines: nodes and listeners.
    """
    addresses = ", ".join(str(ip_address(address)) for address in config.own.addresses)
    lines = [f"node {config.node} of {', '.join(config.nodes)}, at {addresses}"]
    for listener in config.listeners:
        content = f"{listener.content} at " if listener.content != "http" else ""
        lines.append(
            f"listener {listener.name}: {content}port {listener.port}, origin {listener.origin}"
        )
    return "\n".join(lines)
