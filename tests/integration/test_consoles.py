# SPDX-License-Identifier: MIT
"""
What C{docs/} says that commands print, they print.
"""

from __future__ import annotations

from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from btcp.admin.syntax import FORMS
from btcp.lab.programs import missing
from tests.integration.consoles import ROOT, Step, made_lab, masked, pages, replayed, stand

_LOCAL = {"quit"}
"""Orders that are no commands of C{btcp}."""


class PageTests(SynchronousTestCase):
    """
    The pages with consoles, each in a lab of its own.
    """

    def setUp(self) -> None:
        lacks = missing()
        if lacks:
            raise SkipTest("; ".join(lacks))

    def check(self, name: str) -> None:
        """
        Every command prints what the page says, but for numbers.
        """
        page, lab, differ = ROOT / "docs" / name, made_lab(), []
        self.addCleanup(lab.down)
        stand(lab, page)

        def compare(step: Step) -> None:
            if masked(step.said) != masked(step.printed):
                differ.append(f"{step.prompt}\n{step.printed}\nand not\n{step.said}")

        replayed(page, lab, compare)
        self.assertEqual(differ, [], "\n".join(differ))

    def test_shell(self) -> None:
        self.check("shell.md")

    def test_transcript(self) -> None:
        self.check("transcript.md")


class CompleteTests(SynchronousTestCase):
    def test_every_order(self) -> None:
        """
        C{docs/shell.md} has an example of each.
        """
        said = " ".join(step.command for step in pages(ROOT / "docs" / "shell.md"))
        for form in FORMS:
            words = form.name if form.name in _LOCAL else f"btcp {form.name}"
            self.assertIn(words, said)

    def test_every_usage(self) -> None:
        """
        And says how each is used.
        """
        text = (ROOT / "docs" / "shell.md").read_text()
        for form in FORMS:
            for option in form.options:
                self.assertIn(f"[{option.name} {option.kind.metavar}]", text)
            self.assertIn(form.name, text)


class MaskedTests(SynchronousTestCase):
    def test_numbers(self) -> None:
        self.assertEqual(masked("a  1.5  up   12:30:00"), masked("a  22  up  1:2:3"))
        self.assertEqual(masked("rtt  -"), masked("rtt 0.01"))

    def test_words(self) -> None:
        """
        Names with digits in them are no numbers, and words are compared.
        """
        self.assertNotEqual(masked("a  up"), masked("a  down"))
        self.assertNotEqual(masked("/b/1k"), masked("/b/2k"))

    def test_statuses(self) -> None:
        """
        Of commands and of HTTP.
        """
        for one, other in (("0", "1"), ("200", "503"), ("200 from b", "404 from b")):
            self.assertNotEqual(masked(one), masked(other))
