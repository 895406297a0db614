# SPDX-License-Identifier: MIT
"""
Tests of the checker of commit messages.
"""

from twisted.trial.unittest import SynchronousTestCase

from tools.commit_message import problems


class ProblemsTests(SynchronousTestCase):
    """
    Tests of L{problems}.
    """

    def test_subject_and_body_are_accepted(self) -> None:
        self.assertEqual(problems("s" * 72 + "\n\nBecause.\n# a comment\n"), [])

    def test_long_subject_is_refused(self) -> None:
        self.assertIn("73 characters", " ".join(problems("s" * 73 + "\n\nBecause.\n")))

    def test_missing_body_is_refused(self) -> None:
        self.assertIn("no body", " ".join(problems("Subject\n\n# a comment\n")))

    def test_body_without_empty_line_before_it_is_refused(self) -> None:
        self.assertIn("not empty", " ".join(problems("Subject\nBecause.\n")))

    def test_long_line_of_prose_is_refused(self) -> None:
        self.assertEqual(len(problems("Subject\n\n" + "word " * 15 + "\n")), 1)

    def test_long_line_without_spaces_is_accepted(self) -> None:
        self.assertEqual(problems("Subject\n\nhttps://" + "x" * 90 + "\n"), [])

    def test_empty_message_is_refused(self) -> None:
        self.assertEqual(len(problems("# only a comment\n")), 1)

    def test_generated_messages_need_no_body(self) -> None:
        for subject in "Merge branch 'a'", "fixup! Subject":
            self.assertEqual(problems(subject), [])

    def test_diff_below_the_scissors_is_ignored(self) -> None:
        scissors = "# ------------------------ >8 ------------------------"
        self.assertEqual(problems(f"Subject\n\nBecause.\n{scissors}\n{'a ' * 60}\n"), [])
