# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.cli.shell}, L{btcp.cli.rendering} and L{btcp.cli.management}.
"""

from __future__ import annotations

import builtins
import json
import os
import readline
import sys
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from btcp.admin import client
from btcp.admin.client import Connection, Reply, Unreachable
from btcp.admin.protocol import Status
from btcp.admin.syntax import VERBS
from btcp.cli import management, shell
from btcp.cli.main import main
from btcp.cli.rendering import rendered, succeeded
from btcp.cli.shell import Shell
from tests.unit.admin_case import CONFIG

STATS = {"node": "a", "flows": {"front": 1}, "counters": {"x": 2}}
NAMES: dict[str, Any] = {"config": {"nodes": {"a": {}, "b": {}}, "listeners": {"web": {}}}}


class FakeConnection:
    """
    @ivar asked: lines, and how long they may take.
    """

    where = "/run/btcp.sock"

    def __init__(self, replies: dict[str, Reply]) -> None:
        self.replies = replies
        self.asked: list[tuple[str, float]] = []
        self.closed = False

    def __enter__(self) -> FakeConnection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, line: str, seconds: float = 0.0) -> Reply:
        if self.closed:
            raise Unreachable("closed")
        self.asked.append((line, seconds))
        return self.replies[line]

    def close(self) -> None:
        self.closed = True


class ShellCase(SynchronousTestCase):
    """
    A node that is never there twice.
    """

    def setUp(self) -> None:
        self.out, self.err = StringIO(), StringIO()
        self.patch(sys, "stdout", self.out)
        self.patch(sys, "stderr", self.err)
        self.made: list[FakeConnection] = []
        self.replies = {
            "show stats": Reply(Status.DONE, STATS),
            "show info": Reply(Status.DONE, {"info": {}}),
            "show config": Reply(Status.DONE, NAMES),
            "reload": Reply(
                Status.NOT_ALLOWED, {"error": "reload needs level admin; this session has user"}
            ),
            "wait drained b 5s": Reply(
                Status.FAILED,
                {"node": "b", "fronts": 0, "backs": 2, "drained": False, "seconds": 5.0},
            ),
        }

    def connect(self, *_: object) -> Connection:
        made: Any = FakeConnection(self.replies)
        self.made.append(made)
        connection: Connection = made
        return connection

    def shell(self, as_json: bool = False) -> Shell:
        return Shell(self.connect, self.out, self.err, as_json)

    def said(self) -> tuple[str, str]:
        """
        @return: what was printed since the last time, and what of it as an error.
        """
        said = self.out.getvalue(), self.err.getvalue()
        for each in (self.out, self.err):
            each.seek(0)
            each.truncate()
        return said


class RunTests(ShellCase):
    """
    Tests for L{Shell.run}.
    """

    def test_text(self) -> None:
        self.assertIs(self.shell().run("show stats"), Status.DONE)
        said = "name         value\nnode         a\nflows.front      1\ncounters.x       2\n"
        self.assertEqual(self.said()[0].split(), said.split())

    def test_json(self) -> None:
        self.shell(True).run("show stats")
        self.assertEqual(json.loads(self.said()[0]), STATS)

    def test_misunderstood(self) -> None:
        """
        The node is not bothered.
        """
        self.assertIs(self.shell().run("show stat"), Status.MISUSED)
        out, err = self.said()
        self.assertEqual(out, "")
        self.assertTrue(err.startswith("show stat\n     ^^^^ want nodes"), err)
        self.shell(True).run("show stat")
        self.assertEqual(json.loads(self.said()[0])["column"], 5)
        self.assertEqual(self.made, [])

    def test_refused(self) -> None:
        self.assertIs(self.shell().run("reload"), Status.NOT_ALLOWED)
        self.assertEqual(
            self.said(), ("", "btcp: reload needs level admin; this session has user\n")
        )

    def test_not_reached(self) -> None:
        """
        An answer, though not the one that was hoped for; and it is waited for.
        """
        self.assertIs(self.shell().run("wait drained b 5s"), Status.FAILED)
        out, err = self.said()
        self.assertTrue(out.startswith("b is not drained\nfronts  backs  seconds\n"), out)
        self.assertEqual(err, "")
        self.assertEqual(self.made[0].asked, [("wait drained b 5s", 5.0)])

    def test_unreachable(self) -> None:
        def connect() -> Connection:
            raise Unreachable("/s: nobody there")

        shell = Shell(connect, self.out, self.err, False)
        self.assertIs(shell.run("show stats"), Status.UNREACHABLE)
        self.assertEqual(self.said(), ("", "btcp: /s: nobody there\n"))

    def test_help(self) -> None:
        """
        Needs no node.
        """
        self.assertIs(self.shell().run("help wait"), Status.DONE)
        self.assertIn("wait drained NODE [TIME]\n", self.said()[0])
        self.assertEqual(self.made, [])

    def test_connection_is_kept(self) -> None:
        """
        Until the node has closed it, which is found out before anything is ordered.
        """
        shell = self.shell()
        for _ in range(2):
            shell.run("show stats")
        (connection,) = self.made
        connection.closed = True
        self.assertIs(shell.run("show stats"), Status.DONE)
        self.assertEqual(len(self.made), 2)
        self.assertEqual(self.made[1].asked, [("show stats", 0.0)])


class ScriptTests(ShellCase):
    """
    Tests for L{Shell.script}.
    """

    def test_until_one_fails(self) -> None:
        lines = ["# what", "", "show stats\n", "reload\n", "show stats\n"]
        self.assertIs(self.shell().script(iter(lines)), Status.NOT_ALLOWED)
        self.assertEqual(self.said()[0].count("counters.x"), 1)

    def test_quit(self) -> None:
        self.assertIs(self.shell().script(iter(["quit", "reload"])), Status.DONE)
        self.assertEqual(self.made, [])


class ConverseTests(ShellCase):
    """
    Tests for L{Shell.converse}.
    """

    def setUp(self) -> None:
        super().setUp()
        self.history = Path(self.mktemp())
        self.patch(shell, "HISTORY", self.history)
        self.prompts: list[str] = []

    def type(self, *lines: str | type[BaseException]) -> None:
        typed = iter(lines)

        def input(prompt: str) -> str:
            self.prompts.append(prompt)
            line = next(typed, EOFError)
            if isinstance(line, str):
                return line
            raise line

        self.patch(builtins, "input", input)

    def test_to_the_end(self) -> None:
        self.type("show stats", "", "nonsense", KeyboardInterrupt, "reload")
        self.assertIs(self.shell().converse("b> "), Status.DONE)
        out, err = self.said()
        self.assertEqual(out.count("counters.x"), 1)
        self.assertIn("nonsense\n^^^^^^^^ want show", err)
        self.assertIn("reload needs level admin", err)
        self.assertEqual(self.prompts, ["b> "] * 6)
        # an interrupted answer must not be taken for that to the next question
        self.assertTrue(self.made[0].closed)

    def test_quit(self) -> None:
        self.type("quit", "show stats")
        self.shell().converse("> ")
        self.assertEqual(len(self.prompts), 1)

    def test_history(self) -> None:
        """
        Is its owner's alone.
        """
        self.type("quit")
        self.shell().converse("> ")
        self.assertEqual(self.history.stat().st_mode & 0o777, 0o600)

    def test_completion(self) -> None:
        self.type("quit")
        self.shell().converse("> ")
        complete = readline.get_completer()
        assert complete is not None
        for line, offered in (("set node ", ["a ", "b "]), ("show st", ["stats "])):
            self.patch(readline, "get_line_buffer", lambda line=line: line)
            self.patch(readline, "get_endidx", lambda line=line: len(line))
            self.assertEqual(list(_offered(complete)), offered)

    def test_names_of_a_node_that_is_away(self) -> None:
        self.replies["show config"] = Reply(Status.FAILED, {"error": "x"})
        self.assertEqual(self.shell().names(), {})


def _offered(complete: Callable[[str, int], str | None]) -> Iterator[str]:
    for state in range(100):
        word = complete("", state)
        if word is None:
            return
        yield word


class RenderedTests(SynchronousTestCase):
    """
    Tests for L{rendered}.
    """

    def assert_rendered(self, value: dict[str, Any], *lines: str) -> None:
        reply = Reply(Status.DONE, value)
        self.assertTrue(succeeded(reply))
        self.assertEqual(rendered("", reply).splitlines(), list(lines))

    def test_flows(self) -> None:
        row = {"role": "front", "node": None, "age": 1.0000001}
        self.assert_rendered({"flows": [row], "cut": False}, "role   node  age", "front  -     1.0")
        self.assert_rendered(
            {"flows": [row], "cut": True},
            "role   node  age",
            "front  -     1.0",
            "(truncated: there may be more)",
        )
        self.assert_rendered({"flows": [], "cut": False}, "no flows")

    def test_lists_in_cells(self) -> None:
        self.assert_rendered(
            {"map": [{"path": "/", "nodes": ["a", "b"]}]}, "path  nodes", "/     a, b"
        )

    def test_errors(self) -> None:
        self.assert_rendered(
            {"counters": {}, "log": []},
            "no error counter has changed",
            "",
            "no warnings in the log",
        )
        self.assert_rendered(
            {"counters": {"dropped.x": 1}, "log": [{"text": "oh"}]},
            "counter    value",
            "dropped.x      1",
            "",
            "text",
            "oh",
        )

    def test_small_answers(self) -> None:
        self.assert_rendered({})
        self.assert_rendered({"changed": ["limits.flows", "policy"]}, "limits.flows, policy")
        self.assert_rendered({"changed": []}, "no changes")
        self.assert_rendered({"cleared": 3}, "3 counters reset to zero")
        self.assert_rendered({"client": "x:1", "shut": 1}, "reset x:1: 1")
        self.assert_rendered({"trace": {"state": "none"}}, "name   value", "state  none")


class VerbTests(ShellCase):
    """
    The commands of C{btcp}, and their options before and after the verb.
    """

    def setUp(self) -> None:
        super().setUp()
        self.opened: list[tuple[object, ...]] = []

        def opened(*arguments: object) -> Connection:
            self.opened.append(arguments)
            return self.connect()

        self.patch(client, "local", opened)
        self.patch(client, "remote", opened)

    def test_options_anywhere(self) -> None:
        for argv in (
            ["show", "stats", "--socket", "/s", "--json"],
            ["show", "--json", "--socket", "/s", "stats"],
            ["--socket", "/s", "--json", "show", "stats"],
            ["-s", "/s", "show", "-j", "stats"],
            ["-s", "/other", "show", "-j", "stats", "-s", "/s"],
        ):
            self.opened.clear()
            self.assertEqual(main(argv), 0, argv)
            self.assertEqual(self.opened, [("/s",)])
            self.assertEqual(json.loads(self.said()[0]), STATS)

    def test_default_socket(self) -> None:
        main(["show", "stats"])
        self.assertEqual(self.opened, [("/run/btcp/btcp.sock",)])

    def test_statuses(self) -> None:
        for argv, status in (
            (["show", "stats"], Status.DONE),
            (["wait", "drained", "b", "5s"], Status.FAILED),
            (["show", "stat"], Status.MISUSED),
            (["set", "node"], Status.MISUSED),
            (["reload"], Status.NOT_ALLOWED),
            (["help"], Status.DONE),
        ):
            self.assertEqual(main(argv), status, argv)

    def test_misuse_points(self) -> None:
        """
        At the word in the whole order, whatever the shell made of it.
        """
        main(["trace", "start", "/a b", "max", "x"])
        self.assertEqual(
            self.said()[1].splitlines()[:2],
            [
                'trace start "/a b" max x',
                "                       ^ want a size in octets such as 500000, 64k, 10M or 1G",
            ],
        )

    def test_remote(self) -> None:
        main(["--connect", "192.0.2.1:7312", "--certificate", "/x", "show", "stats"])
        main(["-c", "[2001:db8::1]:1", "-n", "b", "-k", "/x", "show", "stats"])
        self.assertEqual(
            self.opened,
            [
                (("192.0.2.1", 7312), Path("/x"), None),
                (("2001:db8::1", 1), Path("/x"), "b"),
            ],
        )

    def config(self, **nodes: str) -> str:
        text = CONFIG.replace("insecure: true", "certificate: /c, key: /k, authority: /a")
        for node, end in nodes.items():
            before = f'control: "192.0.2.1{1 + "ab".index(node)}:7311"'
            text = text.replace(before, f'{before}, manage: "{end}"')
        path = Path(self.mktemp())
        path.write_text(text)
        return str(path)

    def test_node_of_the_configuration(self) -> None:
        path = self.config(b="192.0.2.12:7312")
        main(["--node", "b", "show", "stats", "--config", path])
        self.assertEqual(self.opened, [(("192.0.2.12", 7312), Path("~/.btcp").expanduser(), "b")])

    def test_unknown_end(self) -> None:
        for argv, words in (
            (["--node", "a", "--config", self.config()], "has no nodes.a.manage"),
            (["--node", "x", "--config", self.config()], "unknown node 'x'"),
            (["--node", "a", "--config", "/nowhere"], "/nowhere: can not be read"),
            (["--connect", "b"], "want 'address:port'"),
        ):
            self.assertEqual(main([*argv, "show", "stats"]), Status.MISUSED)
            _, err = self.said()
            self.assertIn(words, err)
            self.assertEqual(err.count("\n"), 1)
        self.assertEqual(self.opened, [])

    def test_script(self) -> None:
        self.patch(os, "isatty", lambda descriptor: False)
        self.patch(sys, "stdin", StringIO("show stats\nreload\n"))
        self.assertEqual(main(["shell"]), Status.NOT_ALLOWED)

    def test_usage(self) -> None:
        self.assertRaises(SystemExit, main, ["set", "--help"])
        self.assertIn("set node NODE ready|drain|maint", self.said()[0])

    def test_every_verb(self) -> None:
        """
        What can be said in the shell can be said outside.
        """
        names = {name for name, _, _, _ in management.VERBS}
        known = set(VERBS) - {"quit"}
        self.assertEqual(names, known | {"shell", "top"})
