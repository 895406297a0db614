# SPDX-License-Identifier: MIT
"""
What every command of C{btcp} is made of.
"""

from __future__ import annotations

from typing import ClassVar

from twisted.python import usage

# exit statuses, beside 0
FAILED = 1
MISUSED = 2


class Command(usage.Options):
    """
    A command, or a group of them.
    """

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

    @cvar subCommands: name, shortcut, class and description of each.
    """

    subCommands: ClassVar[list[tuple[str, None, type[Command], str]]]

    def run(self) -> int:
        names = ", ".join(name for name, _, _, _ in self.subCommands)
        raise usage.UsageError(f"say what to do: {names}")
