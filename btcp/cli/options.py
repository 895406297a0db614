# SPDX-License-Identifier: MIT
"""
Base classes of the commands of C{btcp}.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from twisted.python import usage

# exit statuses, beside 0
FAILED = 1
MISUSED = 2
INTERRUPTED = 130
BROKEN_PIPE = 141
"""As a shell reports the ends by SIGINT and SIGPIPE."""


class Command(usage.Options):
    """
    A command, or a group of commands.

    @cvar problems: exceptions that L{run} may raise; each line of their text is one problem.
    """

    problems: ClassVar[tuple[type[Exception], ...]] = ()

    def run(self) -> int:
        """
        Run the command.

        @return: the exit status.
        """
        raise NotImplementedError

    def chosen(self) -> Command:
        """
        Return the command to run: this one, or the subcommand that the arguments chose.
        """
        inner: Command | None = getattr(self, "subOptions", None)
        return self if inner is None else inner.chosen()


class Group(Command):
    """
    A command that consists of subcommands.

    @cvar subCommands: name, shortcut, factory and description of each subcommand.
    """

    subCommands: ClassVar[list[tuple[str, None, Callable[[], Command], str]]]

    def run(self) -> int:
        names = ", ".join(name for name, _, _, _ in self.subCommands)
        raise usage.UsageError(f"a command is missing; want one of: {names}")
