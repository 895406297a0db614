# SPDX-License-Identifier: MIT
"""
C{btcp ca}: the certificates of a cluster that has no authority of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from getopt import GetoptError, gnu_getopt
from pathlib import Path
from typing import ClassVar

from twisted.python import usage

from btcp.command import Command, Group
from btcp.control import authority


def _days(text: str) -> int:
    days = int(text)
    if days < 1:
        raise ValueError("at least 1")
    return days


def _validity(default: int) -> list[list[object]]:
    return [["days", "d", default, "For how many days the certificate is valid.", _days]]


class Making(Command):
    """
    A command that takes its options before and after its arguments.
    """

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        words = list(options or ())
        try:
            given, arguments = gnu_getopt(words, self.shortOpt, self.longOpt)
        except GetoptError as error:
            raise usage.UsageError(error) from error
        sorted_words = [word for name, value in given for word in (name, value) if word]
        super().parseOptions([*sorted_words, "--", *arguments])


class Init(Making):
    """
    Make an authority: the certificate that every node knows, and its key.
    """

    synopsis = "DIR [--days N]"
    optParameters: ClassVar = _validity(authority.AUTHORITY_DAYS)

    def parseArgs(self, directory: str = "") -> None:
        if not directory:
            raise usage.UsageError("say in which directory")
        self["directory"] = directory

    def run(self) -> int:
        directory = Path(self["directory"])
        ends = authority.create(directory, self["days"], datetime.now(UTC))
        print(
            f"{directory / 'ca.crt'}: the authority, valid until {ends:%Y-%m-%d}\n"
            f"{directory / 'ca.key'}: its key; it belongs on no node\n"
            f"next, for each node: btcp ca issue {directory} NODE"
        )
        return 0


class ForNode(Making):
    """
    What issuing and renewing have in common.
    """

    synopsis = "DIR NODE [--days N]"
    optParameters: ClassVar = _validity(authority.NODE_DAYS)
    make: ClassVar[Callable[[Path, str, int, datetime], datetime]]

    def parseArgs(self, directory: str = "", node: str = "") -> None:
        if not node:
            raise usage.UsageError("say in which directory and for which node")
        self["directory"], self["node"] = directory, node

    def run(self) -> int:
        directory, node = Path(self["directory"]), self["node"]
        ends = type(self).make(directory, node, self["days"], datetime.now(UTC))
        print(f"{directory / node / 'node.crt'}: for node {node}, valid until {ends:%Y-%m-%d}")
        print(self.advice(directory / node))
        return 0

    def advice(self, home: Path) -> str:
        """
        @param home: the directory of the node's files.
        @return: what to do next.
        """
        raise NotImplementedError


class Issue(ForNode):
    """
    Make a node's key and certificate.
    """

    make = authority.issue

    def advice(self, home: Path) -> str:
        names = ", ".join(("node.crt", "node.key", "ca.crt"))
        return f"copy {names} from {home} to that host, readable by root only"


class Renew(ForNode):
    """
    Make a new certificate for the key that a node has.
    """

    make = authority.renew

    def advice(self, home: Path) -> str:
        return f"copy {home / 'node.crt'} to that host; the daemon takes it within a minute"


class Ca(Group):
    """
    A small authority for the control channel's certificates.
    """

    subCommands = [
        ("init", None, Init, "Make an authority."),
        ("issue", None, Issue, "Make a node's key and certificate."),
        ("renew", None, Renew, "Make a new certificate for a node's key."),
    ]
