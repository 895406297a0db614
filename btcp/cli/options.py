# SPDX-License-Identifier: MIT
"""
What every command of C{btcp} is made of.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from twisted.python import usage

# exit statuses, beside 0
FAILED = 1
MISUSED = 2


class Command(usage.Options):
    """
    A command, or a group of them.

    @cvar problems: what L{run} may raise; each line of the message says one reason.
    """

    problems: ClassVar[tuple[type[Exception], ...]] = ()

    def run(self) -> int:
        """
        Do it.

        @return: the exit status.
        """
        raise NotImplementedError

    def chosen(self) -> Command:
        """
        The command itself, or that of the group that was asked for.
        """
        inner: Command | None = getattr(self, "subOptions", None)
        return self if inner is None else inner.chosen()


class Group(Command):
    """
    Commands to choose from.

    @cvar subCommands: name, shortcut, what makes it and description of each.
    """

    subCommands: ClassVar[list[tuple[str, None, Callable[[], Command], str]]]

    def run(self) -> int:
        names = ", ".join(name for name, _, _, _ in self.subCommands)
        raise usage.UsageError(f"say what to do: {names}")
