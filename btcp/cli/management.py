# SPDX-License-Identifier: MIT
"""
The subcommands of C{btcp} that are sent to a node: each verb of the shell, the shell, and C{top}.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from getopt import GetoptError, gnu_getopt
from pathlib import Path
from typing import Any, ClassVar

from twisted.python import usage

from btcp.admin import client
from btcp.admin.client import Connection, Unreachable
from btcp.admin.grammar import quoted
from btcp.admin.protocol import Status
from btcp.admin.syntax import FORMS
from btcp.cli import top
from btcp.cli.options import Command
from btcp.cli.shell import Shell
from btcp.config import ConfigErrors, load
from btcp.config.document import Scalar
from btcp.config.reading import Reading

WHERE: list[list[Any]] = [
    ["socket", "s", "/run/btcp/btcp.sock", "The management socket of the node on this host."],
    ["node", "n", None, "Connect to this node over TLS instead."],
    ["connect", "c", None, "Its ADDRESS:PORT; by default from the configuration."],
    ["certificate", "k", "~/.btcp", "The directory that btcp ca issue --operator made."],
    ["config", "f", "/etc/btcp/node.yaml", "The configuration with the nodes' addresses."],
]
"""Options that select the node; accepted before and after the verb."""

SHORTEST = 0.1
"""Minimum interval of C{top} in seconds; each update costs the node some work."""


class Speaking(Command):
    """
    Base of the commands that connect to a node.
    """

    optFlags: ClassVar = [["json", "j", "Print JSON."]]
    optParameters: ClassVar = WHERE

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """
        Parse options before, between and after the words of the command.
        """
        try:
            given, words = gnu_getopt(list(options or ()), self.shortOpt, self.longOpt)
        except GetoptError as error:
            raise usage.UsageError(error) from error
        self.said = {name.lstrip("-") for name, _ in given}
        super().parseOptions([*(part for pair in given for part in pair if part), "--", *words])

    def where(self, name: str) -> Any:
        """
        Return an option's value: as given after the verb, else before the verb, else the default.
        """
        shorts = {long: short for long, short, *_ in [*WHERE, ["json", "j"]]}
        if not self.said & {name, shorts[name]} and self.parent is not None:
            outer = self.parent.get(name)
            return self[name] if outer is None else outer
        return self[name]

    def connect(self) -> Connection:
        """
        Connect to the selected node.

        @raise Unreachable: if the node does not answer.
        @raise usage.UsageError: if the options or the configuration select no node.
        """
        node, end = self.where("node"), self.where("connect")
        if node is None and end is None:
            return client.local(self.where("socket"))
        found = _end(end) if end is not None else self._configured(node)
        return client.remote(found, Path(self.where("certificate")).expanduser(), node)

    def _configured(self, node: str) -> tuple[str, int]:
        path = self.where("config")
        try:
            end = load(path, node).own.manage
        except ConfigErrors as errors:
            first, *others = str(errors).splitlines()
            raise usage.UsageError(first + (" ..." if others else "")) from errors
        if end is None:
            raise usage.UsageError(f"{path} has no nodes.{node}.manage: it listens on no TLS port")
        return end


def _end(text: str) -> tuple[str, int]:
    reading = Reading("--connect")
    end = reading.endpoint(Scalar(text, True, 0, 0), "address")
    if end is None:
        raise usage.UsageError(str(reading.problems[0]))
    return end


class Verb(Speaking):
    """
    A command to a node, given on the command line.

    @cvar verb: the command's first word.
    """

    verb: ClassVar[str]

    def parseArgs(self, *words: str) -> None:
        """
        Compose the command from the verb and the remaining words.
        """
        try:
            self["line"] = quoted([self.verb, *words])
        except ValueError as error:
            raise usage.UsageError(str(error)) from None

    def run(self) -> int:
        shell = Shell(self.connect, sys.stdout, sys.stderr, bool(self.where("json")))
        try:
            return shell.run(self["line"])
        finally:
            shell.close()

    def getUsage(self, width: int | None = None) -> str:
        """
        Describe the options and the verb's commands.
        """
        forms = "\n".join(
            f"  {form.usage}\n      {form.summary}" for form in FORMS if form.words[0] == self.verb
        )
        return f"{super().getUsage(width)}\nCommands:\n{forms}\n"


class Talk(Speaking):
    """
    Read commands line by line: from a terminal, with history and completion, or from a script,
    until one fails.
    """

    def run(self) -> int:
        shell = Shell(self.connect, sys.stdout, sys.stderr, bool(self.where("json")))
        try:
            if os.isatty(0):
                return shell.converse(f"btcp {self.where('node') or ''}".strip() + "> ")
            return shell.script(iter(sys.stdin))
        finally:
            shell.close()


def _seconds(text: str) -> float:
    seconds = float(text)
    if not SHORTEST <= seconds <= 3600:
        raise ValueError(f"want {SHORTEST} to 3600 seconds")
    return seconds


class Top(Speaking):
    """
    Show a live view of a node and its cluster; a single view if the output is not a terminal.
    """

    optParameters: ClassVar = [
        *WHERE,
        ["interval", "i", 1.0, "Seconds between updates.", _seconds],
    ]

    def run(self) -> int:
        try:
            with self.connect() as connection:
                show = top.live if sys.stdout.isatty() else top.once
                show(connection, self["interval"], sys.stdout)
        except KeyboardInterrupt:
            pass
        except Unreachable as error:
            print(f"btcp: {error}", file=sys.stderr)
            return Status.UNREACHABLE
        return Status.DONE


def _verb(name: str) -> tuple[str, None, Callable[[], Command], str]:
    summaries = [form.summary for form in FORMS if form.words[0] == name]
    kind = type(name.capitalize(), (Verb,), {"verb": name, "__doc__": summaries[0]})
    return name, None, kind, _WHAT[name]


_WHAT = {
    "show": "Show the state of a node.",
    "set": "Drain a node or put it back into service; set its weight.",
    "shutdown": "Reset a connection.",
    "wait": "Wait until a node has drained.",
    "clear": "Set counters to zero.",
    "trace": "Write packets of selected flows to a file.",
    "reload": "Reload the configuration.",
    "help": "Explain the commands.",
}

VERBS: list[tuple[str, None, Callable[[], Command], str]] = [
    *(_verb(name) for name in _WHAT),
    ("shell", None, Talk, "Read commands line by line."),
    ("top", None, Top, "Show a node and its cluster, live."),
]
"""The subcommands of C{btcp}: name, no shortcut, factory and description."""
