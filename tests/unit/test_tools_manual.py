# SPDX-License-Identifier: MIT
"""
Tests for L{tools.manual}.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from btcp.admin.syntax import FORMS
from btcp.cli.main import Btcp
from btcp.cli.options import Command
from tools.manual import bash_completion, man_page, read_pages, zsh_completion

_ASK = """
. "$1"; shift
COMP_WORDS=(btcp "$@"); COMP_CWORD=$#; _btcp; echo "${COMPREPLY[@]}"
"""


def _chosen(path: tuple[str, ...]) -> Command:
    command: Command = Btcp()
    for word in path:
        make = {name: make for name, _, make, _ in getattr(command, "subCommands", [])}[word]
        command = make()
    return command


class ManPageTests(SynchronousTestCase):
    def test_every_command_and_option(self) -> None:
        """
        Each option that C{--help} prints is in the page of its command.
        """
        pages = read_pages()
        for page in pages:
            text = man_page(page).replace("\\-", "-")
            usage = _chosen(page.path).getUsage()
            options = re.findall(r"^ +(?:-\w, )?(--[a-z-]+)", usage, re.MULTILINE)
            self.assertIn("--help", options, page.path)
            for option in options:
                self.assertIn(f"\\fB{option}\\fR", text, page.path)
        commands = {page.path for page in pages}
        for name, _, _, _ in Btcp.subCommands:
            self.assertIn((name,), commands)

    def test_every_command_to_a_node(self) -> None:
        texts = "".join(man_page(page) for page in read_pages()).replace("\\-", "-")
        for form in FORMS:
            if form.words != ("quit",):
                self.assertIn(f".B {form.usage}", texts)

    def test_roff(self) -> None:
        """
        C{man} formats each page without a warning.
        """
        if shutil.which("man") is None:
            raise SkipTest("man is missing: apt-get install man-db")
        for page in read_pages():
            command = ["man", "--warnings", "--local-file", "--encoding=utf8", "-"]
            done = subprocess.run(command, input=man_page(page), capture_output=True, text=True)
            self.assertEqual((done.returncode, done.stderr), (0, ""), page.path)


class CompletionTests(SynchronousTestCase):
    def ask(self, *words: str) -> list[str]:
        """
        Return what bash offers for the last word.
        """
        script = Path(self.mktemp())
        script.write_text(bash_completion(read_pages()))
        command = ["bash", "-euc", _ASK, "bash", str(script), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()

    def test_commands(self) -> None:
        names = [name for name, _, _, _ in Btcp.subCommands]
        self.assertEqual([w for w in self.ask("") if w[0] != "-"], sorted(names))
        self.assertEqual(self.ask("doc"), ["doctor"])

    def test_commands_of_a_group(self) -> None:
        self.assertEqual([w for w in self.ask("ca", "") if w[0] != "-"], ["init", "issue", "renew"])

    def test_options(self) -> None:
        self.assertEqual(self.ask("doctor", "--j"), ["--json"])
        self.assertEqual(self.ask("ca", "issue", "--op"), ["--operator"])

    def test_words_to_a_node(self) -> None:
        self.assertEqual(self.ask("--json", "show", "fl"), ["flows"])
        self.assertEqual(self.ask("show", "flows", "li"), ["limit", "listener"])

    def test_zsh_takes_it(self) -> None:
        if shutil.which("zsh") is None:
            raise SkipTest("zsh is missing: apt-get install zsh")
        script = zsh_completion(read_pages())
        done = subprocess.run(["zsh", "-n"], input=script, capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
