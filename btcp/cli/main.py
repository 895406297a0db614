# SPDX-License-Identifier: MIT
"""
The command C{btcp}: C{check}, C{doctor}, C{unload}, C{ca}, C{lab}, and the orders to a node.
The daemon itself is C{twistd btcp}.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import ClassVar

from twisted.python import usage

from btcp.cli.management import VERBS, WHERE
from btcp.cli.options import FAILED, MISUSED, Command, Group

# Each of these needs much that the others do not, and who gives an order to a node waits for
# none of it.


def _check() -> Command:
    from btcp.cli.check import Check

    return Check()


def _doctor() -> Command:
    from btcp.cli.doctor import Doctor

    return Doctor()


def _unload() -> Command:
    from btcp.cli.unload import Unload

    return Unload()


def _ca() -> Command:
    from btcp.cli.ca import Ca

    return Ca()


def _lab() -> Command:
    from btcp.cli.lab import Labs

    return Labs()


class Btcp(Group):
    """
    Content-aware load balancing that moves connections instead of bytes.
    """

    optFlags: ClassVar = [["json", "j", "Print JSON."]]
    optParameters: ClassVar = WHERE
    subCommands = [
        ("check", None, _check, "Validate a configuration."),
        *VERBS,
        ("doctor", None, _doctor, "Look at this host; tell what is wrong."),
        ("unload", None, _unload, "Take from this host what a daemon left."),
        ("ca", None, _ca, "Make the certificates of a cluster."),
        ("lab", None, _lab, "A cluster on this one machine."),
    ]

    def opt_version(self) -> None:
        """
        Print the version and exit.
        """
        from importlib.metadata import version

        print(f"btcp {version('btcp')}")
        raise SystemExit(0)


def main(argv: Sequence[str] | None = None) -> int:
    """
    @param argv: the arguments; those of the process unless given.
    @return: the exit status.
    """
    options = Btcp()
    try:
        options.parseOptions(sys.argv[1:] if argv is None else list(argv))
        command = options.chosen()
        try:
            return command.run()
        except command.problems as error:
            for line in str(error).splitlines():
                print(f"btcp: {line}", file=sys.stderr)
            return FAILED
    except usage.UsageError as error:
        print(f"btcp: {error}", file=sys.stderr)
        return MISUSED
