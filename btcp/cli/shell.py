# SPDX-License-Identifier: MIT
"""
The interactive shell, which also runs scripts.
"""

from __future__ import annotations

import contextlib
import json
import os
import readline
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

from btcp.admin.client import Connection, Reply, Unreachable
from btcp.admin.grammar import ParsedCommand, SyntaxProblem
from btcp.admin.protocol import Status
from btcp.admin.syntax import candidates, explained, read
from btcp.cli.rendering import rendered, succeeded

HISTORY = Path("~/.btcp_history")

MOST_HISTORY = 1000
"""Lines of history that are kept."""


class Shell:
    """
    An interpreter of command lines: sends them to the node and prints the answers.
    """

    def __init__(
        self, connect: Callable[[], Connection], out: IO[str], err: IO[str], as_json: bool
    ) -> None:
        """
        @param connect: connects to the node; called whenever there is no usable connection.
        @param out: receives results.
        @param err: receives errors.
        @param as_json: print answers as JSON instead of text.
        """
        self._connect = connect
        self._connection: Connection | None = None
        self._out = out
        self._err = err
        self._as_json = as_json

    def run(self, line: str) -> Status:
        """
        Run one line and print the answer.
        """
        try:
            reply = self._reply(line)
        except Unreachable as error:
            self.close()
            reply = Reply(Status.UNREACHABLE, {"error": str(error)})
        self._print(line, reply)
        return reply.status

    def _reply(self, line: str) -> Reply:
        try:
            command = read(line)
        except SyntaxProblem as error:
            said = {"error": str(error), "column": error.column, "length": error.length}
            return Reply(Status.MISUSED, said)
        if command.form.name == "help":
            return Reply(Status.DONE, explained(command.values.get("verb")))
        return self._ask(line, command)

    def _ask(self, line: str, command: ParsedCommand) -> Reply:
        """
        Send a command to the node, over a new connection if the node has closed the last one.
        """
        waits = command.values.get("seconds", 0.0)
        seconds = waits if isinstance(waits, float) else 0.0
        if self._connection is None or not self._alive(self._connection):
            self.close()
            self._connection = self._connect()
        return self._connection.ask(line, seconds)

    def _alive(self, connection: Connection) -> bool:
        """
        Test the connection with a harmless command, because a command that failed on a dead
        connection must not be repeated blindly.
        """
        try:
            connection.ask("show info")
        except Unreachable:
            return False
        return True

    def _print(self, line: str, reply: Reply) -> None:
        if self._as_json:
            print(json.dumps(reply.value), file=self._out)
            return
        text = rendered(line, reply)
        if text:
            print(text, file=self._out if succeeded(reply) else self._err)

    def close(self) -> None:
        """
        Close the connection to the node.
        """
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # -- lines ----------------------------------------------------------------

    def script(self, lines: Iterator[str]) -> Status:
        """
        Run lines until one fails; empty lines and comments are skipped.

        @return: the status of the last line.
        """
        for line in lines:
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            if line.split() == ["quit"]:
                break
            status = self.run(line.rstrip("\n"))
            if status is not Status.DONE:
                return status
        return Status.DONE

    def converse(self, prompt: str) -> Status:
        """
        Run the lines that an operator enters at a terminal.
        """
        _prepare(self.names())
        try:
            while True:
                try:
                    line = input(prompt)
                    if line.split() == ["quit"]:
                        break
                    if line.strip():
                        self.run(line)
                except KeyboardInterrupt:
                    self.close()  # the answer to the interrupted command may still arrive
                    print(file=self._out)
        except EOFError:
            print(file=self._out)
        finally:
            _keep_history()
        return Status.DONE

    def names(self) -> dict[str, Sequence[str]]:
        """
        Fetch the names that completion offers, by kind of argument.
        """
        try:
            self._connection = self._connection or self._connect()
            config = self._connection.ask("show config").value["config"]
        except (Unreachable, KeyError):
            return {}
        return {"NODE": list(config["nodes"]), "LISTENER": list(config["listeners"])}


def _prepare(names: dict[str, Sequence[str]]) -> None:
    """
    Set up history and completion of the terminal.
    """

    def complete(text: str, state: int) -> str | None:
        found = candidates(readline.get_line_buffer()[: readline.get_endidx()], names)
        return f"{found[state]} " if state < len(found) else None

    readline.set_completer(complete)
    readline.set_completer_delims(" \t")
    readline.parse_and_bind("tab: complete")
    with contextlib.suppress(OSError):
        readline.read_history_file(HISTORY.expanduser())


def _keep_history() -> None:
    path = HISTORY.expanduser()
    readline.set_history_length(MOST_HISTORY)
    with contextlib.suppress(OSError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
        readline.write_history_file(path)
