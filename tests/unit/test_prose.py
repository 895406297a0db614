# SPDX-License-Identifier: MIT
"""
Tests of the linter for language.
"""

from twisted.trial.unittest import SynchronousTestCase

from tools.prose import Finding, ProseRules, excess, read_ratchet, write_ratchet

_RULES = ProseRules({"relic": "inherited entry"})


def _python(source: str) -> list[tuple[int, str]]:
    return [(each.line, each.problem) for each in sorted(_RULES.check_python("a.py", source))]


class PythonTests(SynchronousTestCase):
    """
    Findings in Python.
    """

    def test_docstring_that_opens_with_question_word_is_found(self) -> None:
        for word in "What", "Who", "Whose", "How", "Whether", "When", "Where":
            findings = _python(f'def f():\n    """\n    {word} it is.\n    """\n')
            self.assertEqual([line for line, _ in findings], [2])
            self.assertIn(repr(word), findings[0][1])

    def test_noun_phrase_and_imperative_are_accepted(self) -> None:
        for opening in "Address of the peer.", "Send it.", "Whatsapp client.":
            self.assertEqual(_python(f'class C:\n    """\n    {opening}\n    """\n'), [])

    def test_module_docstring_is_checked(self) -> None:
        self.assertEqual(len(_python('"""\nHow it works.\n"""\n')), 1)

    def test_retired_word_in_docstring_has_its_own_line(self) -> None:
        self.assertEqual([line for line, _ in _python('"""\nOne.\n\nA relic.\n"""\n')], [4])

    def test_retired_word_in_comment_is_found(self) -> None:
        self.assertEqual([line for line, _ in _python("a = 1\n# a Relic\n")], [2])

    def test_retired_word_in_definition_is_found(self) -> None:
        self.assertEqual(len(_python("class OldRelic: ...\ndef drop_relic(): ...\n")), 2)

    def test_retired_word_as_part_of_another_is_accepted(self) -> None:
        self.assertEqual(_python("# relicense\ndef relicense(): ...\n"), [])

    def test_strings_are_not_checked(self) -> None:
        self.assertEqual(_python('a = "relic"\n'), [])


class CTests(SynchronousTestCase):
    """
    Findings in C.
    """

    def test_retired_word_in_comment_is_found(self) -> None:
        source = "int relic;\n/* one\n * relic */\nint b; // relic\n"
        self.assertEqual([each.line for each in _RULES.check_c("a.c", source)], [3, 4])


class RatchetTests(SynchronousTestCase):
    """
    The number of findings that a file may have.
    """

    _FINDINGS = (Finding("a.py", 1, "x"), Finding("a.py", 2, "x"), Finding("b.py", 1, "x"))

    def test_files_without_number_may_have_none(self) -> None:
        self.assertEqual(excess(self._FINDINGS, {"a.py": 2}), [self._FINDINGS[2]])

    def test_files_with_more_than_their_number_are_reported_whole(self) -> None:
        self.assertEqual(excess(self._FINDINGS, {"a.py": 1, "b.py": 1}), [*self._FINDINGS[:2]])

    def test_written_ratchet_is_read_back_without_zeros(self) -> None:
        self.assertEqual(read_ratchet(write_ratchet({"b.py": 2, "a.py": 0})), {"b.py": 2})

    def test_lowest_number_of_a_path_counts(self) -> None:
        self.assertEqual(read_ratchet("a.py 3\na.py 1\na.py 2\n"), {"a.py": 1})
