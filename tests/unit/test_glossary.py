# SPDX-License-Identifier: MIT
"""
Tests of docs/glossary.md against the code.
"""

import ast
from collections import Counter

from twisted.trial.unittest import SynchronousTestCase

from tools.glossary import GLOSSARY, ROOT, public_names, read_glossary

_SHARED = frozenset(
    "Blame Check Choice Express Handoff Identity Load Malformed Membership Node Patience Reply"
    " Report Sequence Settings Shell Status Subject Surroundings Terminate Verdict Word".split()
)
"""Names that more than one class has.  No name may be added."""


class GlossaryTests(SynchronousTestCase):
    """
    The glossary names what the code has, and each word once.
    """

    def setUp(self) -> None:
        self.terms = read_glossary(GLOSSARY.read_text())

    def test_names_in_the_code_are_defined_there(self) -> None:
        """
        Each name of the column I{in the code} is defined somewhere in C{btcp/}.
        """
        defined = public_names((ROOT / "btcp").rglob("*.py"))
        named = [name for term in self.terms for name in term.in_code]
        self.assertEqual([name for name in named if name not in defined], [])

    def test_words_are_in_one_row_only(self) -> None:
        """
        A term, a name in the code and a retired word each belong to one row.
        """
        words: Counter[str] = Counter()
        for term in self.terms:
            words.update({term.name, *term.in_code})
            words.update(term.retired)
        self.assertEqual([word for word, times in words.items() if times > 1], [])

    def test_every_term_has_a_meaning(self) -> None:
        self.assertEqual([term.name for term in self.terms if not term.meaning], [])

    def test_row_with_missing_column_is_refused(self) -> None:
        self.assertRaises(ValueError, read_glossary, "| term | meaning | retired |\n| a | b | c |")

    def test_name_of_a_class_has_one_meaning(self) -> None:
        """
        No name but those of L{_SHARED} is that of public classes in two modules.
        """
        classes = Counter(
            node.name
            for path in (ROOT / "btcp").rglob("*.py")
            for node in ast.parse(path.read_text()).body
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
        )
        shared = {name for name, times in classes.items() if times > 1}
        self.assertEqual(shared - _SHARED, set())
