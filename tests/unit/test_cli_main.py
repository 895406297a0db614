# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.cli.main}.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from io import StringIO
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from btcp.admin.protocol import Status
from btcp.cli import main as module
from btcp.cli.main import main
from btcp.cli.options import BROKEN_PIPE, FAILED, INTERRUPTED, MISUSED
from btcp.lab.cluster import Lab
from btcp.lab.topology import node_yaml


class CommandTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.out, self.err = StringIO(), StringIO()
        self.patch(sys, "stdout", self.out)
        self.patch(sys, "stderr", self.err)

    def write(self, text: str) -> str:
        path = Path(self.mktemp())
        path.write_text(text)
        return str(path)


class EndTests(SynchronousTestCase):
    """
    Ends that come from outside: no traceback.
    """

    def ends(self, argv: str) -> tuple[int, str]:
        script = f'"$0" -c "from btcp.cli.main import main; raise SystemExit(main())" {argv}'
        shell = f"exec 3>&1; {{ {script} 2>&3; echo status $? >&3; }} | true"
        command = ["sh", "-c", shell, sys.executable]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        *lines, status = said.splitlines()
        return int(status.split()[1]), "".join(lines)

    def test_reader_has_left(self) -> None:
        """
        With a reader that reads nothing, after long output and after output that stays buffered.
        """
        for argv in ("--help", "help show", "ca --help"):
            status, said = self.ends(argv)
            self.assertEqual(said, "", argv)
            self.assertIn(status, (0, FAILED, BROKEN_PIPE, Status.UNREACHABLE), argv)

    def test_interrupted(self) -> None:
        def interrupt(argv: list[str]) -> int:
            raise KeyboardInterrupt

        self.patch(module, "_run", interrupt)
        self.assertEqual(main(["help"]), INTERRUPTED)


class MisuseTests(CommandTestCase):
    def test_one_line_and_status(self) -> None:
        for argv in (
            [],
            ["lab"],
            ["nonsense"],
            ["check"],
            ["check", "a", "b"],
            ["unload"],
            ["show"],
            ["show", "nonsense"],
            ["lab", "exec", "client"],
            ["lab", "up", "--nonsense"],
        ):
            self.err.truncate(0)
            self.assertEqual(main(argv), MISUSED, argv)
            # An order comes with a line that points at what is wrong with it.
            lines = 2 if argv[:1] == ["show"] else 1
            self.assertEqual(self.err.getvalue().count("\n"), lines, argv)

    def test_version(self) -> None:
        self.patch(metadata, "version", lambda package: f"1.2 of {package}")
        self.assertRaises(SystemExit, main, ["--version"])
        self.assertEqual(self.out.getvalue(), "btcp 1.2 of btcp\n")


class CheckTests(CommandTestCase):
    def test_good(self) -> None:
        path = self.write(node_yaml("a", Path("/run/x"), "abc"))
        self.assertEqual(main(["check", path]), 0)
        self.assertEqual(
            self.out.getvalue(),
            "node a of a, b, c, at 192.0.2.11, 2001:db8:2::11\n"
            "listener web: port 80, origin 8080\n",
        )

    def test_whole_cluster(self) -> None:
        """
        A file for every host, with no line C{node:}, is checked for each of its nodes.
        """
        conf = Path(__file__).parents[2] / "conf" / "minimal.yaml"
        self.assertEqual(main(["check", str(conf)]), 0, self.err.getvalue())
        self.assertEqual(
            self.out.getvalue(),
            "node a of a, b, at 192.0.2.11\n"
            "listener web: port 80, origin 80\n"
            "node b of a, b, at 192.0.2.12\n",
        )

    def test_every_problem_of_a_cluster_once(self) -> None:
        text = node_yaml("a", Path("/run/x"), "abc", {"window-scale": 99, "node": None})
        self.assertEqual(main(["check", self.write(text)]), FAILED)
        self.assertEqual(self.err.getvalue().count("\n"), 1)
        self.assertIn("window-scale", self.err.getvalue())

    def test_no_nodes(self) -> None:
        for text in ("nodes: {}", "nodes:", "[]", "", "listeners: {}"):
            self.assertEqual(main(["check", self.write(text)]), FAILED, text)

    def test_node_option(self) -> None:
        path = self.write(node_yaml("a", Path("/run/x"), "abc"))
        self.assertEqual(main(["check", "--node", "b", path]), 0)
        self.assertIn("node b of", self.out.getvalue())

    def test_every_problem(self) -> None:
        text = node_yaml("a", Path("/run/x"), "abc", {"window-scale": 99, "nonsense": 1})
        path = self.write(text)
        self.assertEqual(main(["check", path]), FAILED)
        lines = self.err.getvalue().splitlines()
        self.assertEqual(len(lines), 2)
        for line in lines:
            self.assertTrue(line.startswith(f"{path}:"), line)
        self.assertEqual(self.out.getvalue(), "")

    def test_no_such_file(self) -> None:
        self.assertEqual(main(["check", "/does/not/exist"]), FAILED)
        self.assertEqual(self.err.getvalue().count("\n"), 1)


class LabTests(CommandTestCase):
    def test_refusal_is_one_line(self) -> None:
        self.patch(os, "geteuid", lambda: 1000)
        self.assertEqual(main(["lab", "up", "--prefix", "unittest"]), FAILED)
        self.assertEqual(
            self.err.getvalue(), "btcp: root is missing: the lab makes network namespaces\n"
        )

    def test_exec_becomes_the_command(self) -> None:
        self.patch(Lab, "standing", Lab)
        self.patch(Lab, "command", lambda lab, host, command: [lab.prefix, host, *command])
        became: list[object] = []
        self.patch(os, "execvpe", lambda *arguments: became.extend(arguments[:2]))
        main(["lab", "exec", "--prefix", "x", "client", "curl", "-s", "--prefix", "y"])
        self.assertEqual(became, ["x", ["x", "client", "curl", "-s", "--prefix", "y"]])
