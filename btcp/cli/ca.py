# SPDX-License-Identifier: MIT
"""
C{btcp ca}: a certificate authority for clusters that have none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from getopt import GetoptError, gnu_getopt
from pathlib import Path
from typing import ClassVar

from twisted.python import usage

from btcp.admin.levels import LEVELS
from btcp.cli.options import Command, Group
from btcp.pki import authority
from btcp.pki.authority import AuthorityError


def _days(text: str) -> int:
    days = int(text)
    if days < 1:
        raise ValueError("at least 1")
    return days


def _validity(default: int) -> list[list[object]]:
    return [["days", "d", default, "For how many days the certificate is valid.", _days]]


def _level(text: str) -> str:
    if text not in LEVELS:
        raise ValueError(f"one of {', '.join(LEVELS)}")
    return text


class Making(Command):
    """
    A subcommand of C{btcp ca}: accepts options before and after arguments.
    """

    problems = (AuthorityError,)

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
    Make an authority: a certificate that every node trusts, and its key.
    """

    synopsis = "DIR [--days N]"
    optParameters: ClassVar = _validity(authority.AUTHORITY_DAYS)

    def parseArgs(self, directory: str = "") -> None:
        if not directory:
            raise usage.UsageError("the directory is missing")
        self["directory"] = directory

    def run(self) -> int:
        directory = Path(self["directory"])
        ends = authority.create(directory, self["days"], datetime.now(UTC))
        print(
            f"{directory / 'ca.crt'}: the authority, valid until {ends:%Y-%m-%d}\n"
            f"{directory / 'ca.key'}: its key; keep it off the nodes\n"
            f"next, for each node: btcp ca issue {directory} NODE"
        )
        return 0


class ForSomebody(Making):
    """
    Base of C{issue} and C{renew}.

    @cvar operating: makes an operator's certificate, given directory, name, level, days of
        validity and the current time.
    @cvar make: makes a node's certificate, given directory, name, days of validity and the
        current time.
    """

    synopsis = "DIR NODE | DIR --operator NAME [--level LEVEL]  [--days N]"
    optParameters: ClassVar = [
        *_validity(authority.NODE_DAYS),
        ["operator", "o", None, "For an operator, not for a node."],
        ["level", "l", None, "What the operator may do: user, operator, admin.", _level],
    ]
    make: ClassVar[Callable[[Path, str, int, datetime], datetime]]
    operating: ClassVar[Callable[[Path, str, str | None, int, datetime], datetime]]

    def parseArgs(self, directory: str = "", node: str = "") -> None:
        if not directory or bool(node) is (self["operator"] is not None):
            raise usage.UsageError("want a directory, and either a node or --operator")
        if node and self["level"] is not None:
            raise usage.UsageError("--level is for operators")
        self["directory"], self["node"] = directory, node

    def run(self) -> int:
        directory, now = Path(self["directory"]), datetime.now(UTC)
        if self["operator"] is not None:
            return self._operate(directory, self["operator"], now)
        node = self["node"]
        ends = type(self).make(directory, node, self["days"], now)
        print(f"{directory / node / 'node.crt'}: for node {node}, valid until {ends:%Y-%m-%d}")
        print(self.advice(directory / node))
        return 0

    def _operate(self, directory: Path, name: str, now: datetime) -> int:
        ends = type(self).operating(directory, name, self["level"], self["days"], now)
        home = directory / "operators" / name
        print(
            f"{home / 'operator.crt'}: for operator {name}, valid until {ends:%Y-%m-%d}\n"
            f"copy {home}/* to ~/.btcp of that operator, readable by the operator only"
        )
        return 0

    def advice(self, home: Path) -> str:
        """
        Describe the next step for the administrator.

        @param home: the directory of the node's files.
        """
        raise NotImplementedError


class Issue(ForSomebody):
    """
    Make a node's key and certificate, or an operator's.
    """

    make = authority.issue
    operating = authority.issue_operator

    def advice(self, home: Path) -> str:
        names = ", ".join(("node.crt", "node.key", "ca.crt"))
        return f"copy {names} from {home} to that host, readable by root only"


class Renew(ForSomebody):
    """
    Make a new certificate for the key that a node or an operator has.
    """

    make = authority.renew
    operating = authority.renew_operator

    def advice(self, home: Path) -> str:
        return f"copy {home / 'node.crt'} to that host; the daemon loads it within a minute"


class Ca(Group):
    """
    A small authority for the control channel's certificates.
    """

    subCommands = [
        ("init", None, Init, "Make an authority."),
        ("issue", None, Issue, "Make a node's or operator's key and certificate."),
        ("renew", None, Renew, "Make a new certificate for such a key."),
    ]
