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
from btcp.config import Config, ConfigErrors, load


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
        try:
            config = load(self["path"], self["node"])
        except ConfigErrors as errors:
            print(errors, file=sys.stderr)
            return FAILED
        print(summary(config))
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
