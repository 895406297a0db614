# SPDX-License-Identifier: MIT
"""
The commands of C{btcp} that speak to a node: every verb of the shell, the shell itself, C{top}.
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
    ["node", "n", None, "A node to speak to over TLS instead."],
    ["connect", "c", None, "Its ADDRESS:PORT; without, the configuration says."],
    ["certificate", "k", "~/.btcp", "The directory that btcp ca issue --operator made."],
    ["config", "f", "/etc/btcp/node.yaml", "The configuration that knows the nodes."],
]
"""Options that say which node, before the verb or after it."""

SHORTEST = 0.1
"""Seconds from one look of C{top} to the next; each costs the node some work."""


class Speaking(Command):
    """
    A command to a node.
    """

    optFlags: ClassVar = [["json", "j", "Print JSON."]]
    optParameters: ClassVar = WHERE

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """
        Take options among the words as well.
        """
        try:
            given, words = gnu_getopt(list(options or ()), self.shortOpt, self.longOpt)
        except GetoptError as error:
            raise usage.UsageError(error) from error
        self.said = {name.lstrip("-") for name, _ in given}
        super().parseOptions([*(part for pair in given for part in pair if part), "--", *words])

    def where(self, name: str) -> Any:
        """
        An option: said after the verb, or before it, or not at all.
        """
        shorts = {long: short for long, short, *_ in [*WHERE, ["json", "j"]]}
        if not self.said & {name, shorts[name]} and self.parent is not None:
            outer = self.parent.get(name)
            return self[name] if outer is None else outer
        return self[name]

    def connect(self) -> Connection:
        """
        @raise Unreachable: if the node does not answer.
        @raise usage.UsageError: if it is not clear which.
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
    One order.

    @cvar verb: its first word.
    """

    verb: ClassVar[str]

    def parseArgs(self, *words: str) -> None:
        """
        All the rest.
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
        The forms of the verb, beside the options.
        """
        forms = "\n".join(
            f"  {form.usage}\n      {form.summary}" for form in FORMS if form.words[0] == self.verb
        )
        return f"{super().getUsage(width)}\nOrders:\n{forms}\n"


class Talk(Speaking):
    """
    Orders one after the other: from a terminal with history and completion, or from a script
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
    A live view of a node and its cluster; one view of one interval if this is no terminal.
    """

    optParameters: ClassVar = [
        *WHERE,
        ["interval", "i", 1.0, "Seconds from one look to the next.", _seconds],
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
    "show": "Ask a node what it does.",
    "set": "Take a node out of service, or back; weigh it.",
    "shutdown": "Reset a connection.",
    "wait": "Wait until a node has drained.",
    "clear": "Set counters to zero.",
    "trace": "Write packets of chosen flows into a file.",
    "reload": "Have the configuration read again.",
    "help": "Explain the orders.",
}

VERBS: list[tuple[str, None, Callable[[], Command], str]] = [
    *(_verb(name) for name in _WHAT),
    ("shell", None, Talk, "Give one order after the other."),
    ("top", None, Top, "Show a node and its cluster, live."),
]
"""For C{btcp}."""
