# SPDX-License-Identifier: MIT
"""
The command C{btcp}: the subcommands C{check}, C{doctor}, C{unload}, C{ca} and C{lab}, and the
commands that are sent to a node.  The daemon itself is C{twistd btcp}.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import ClassVar

from twisted.python import usage

from btcp.cli.management import VERBS, WHERE
from btcp.cli.options import BROKEN_PIPE, FAILED, INTERRUPTED, MISUSED, Command, Group

# Subcommands are imported when they are chosen: some imports take longer than a command to a
# node.


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
        ("doctor", None, _doctor, "Examine this host; report problems."),
        ("unload", None, _unload, "Remove what a daemon left on this host."),
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
    Parse the arguments and run the chosen command.

    @param argv: the arguments; by default those of the process.
    @return: the exit status.
    """
    try:
        status = _run(sys.argv[1:] if argv is None else list(argv))
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # The reader of a pipe, such as head, has left.  The interpreter flushes at exit, too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except KeyboardInterrupt:
        return INTERRUPTED


def _run(argv: list[str]) -> int:
    options = Btcp()
    try:
        options.parseOptions(argv)
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
