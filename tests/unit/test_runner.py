# SPDX-License-Identifier: MIT
"""
Tests for L{tests.__main__}: what did not pass is never told as if it had.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.__main__ import CLAIMS, closing, judged, numbers, problems


class Example:
    """
    As much of a test as the runner looks at.
    """

    def __init__(self, method: str, says: str | None = None) -> None:
        self._method = method
        self._says = says

    def id(self) -> str:
        return f"tests.claims.test_x.XTests.{self._method}"

    def shortDescription(self) -> str | None:
        return self._says


def result(**outcomes: Any) -> Any:
    nothing: dict[str, Any] = {
        "successes": 0,
        "failures": [],
        "errors": [],
        "skips": [],
        "expectedFailures": [],
        "unexpectedSuccesses": [],
    }
    return SimpleNamespace(**(nothing | outcomes))


class ClaimsTests(SynchronousTestCase):
    def test_numbers(self) -> None:
        self.assertEqual(numbers(Example("test_claim_18_forwards")), [18])
        self.assertEqual(numbers(Example("test_claims_18_30_forwards_2_packets")), [18, 30])
        self.assertEqual(numbers(Example("test_claim_18")), [18])
        self.assertEqual(numbers(Example("test_forwards_18")), [])
        self.assertEqual(numbers(Example("test_claim_18th")), [])

    def test_shown(self) -> None:
        claims = judged([Example("test_claims_18_30_x", "seen on the wire")], {})
        self.assertEqual(claims[18].told, ["seen on the wire"])
        self.assertEqual([number for number in CLAIMS if not claims[number].problems], [18, 30])

    def test_no_test(self) -> None:
        self.assertEqual(judged([], {})[13].problems, ["no test"])

    def test_one_failure_suffices(self) -> None:
        good, bad = Example("test_claim_18_x"), Example("test_claim_18_y")
        self.assertEqual(judged([good, bad], {bad.id(): "why"})[18].problems, ["why"])

    def test_skip_shows_nothing(self) -> None:
        test = Example("test_claim_18_x")
        why = problems(result(skips=[(test, "root is missing")]))
        self.assertEqual(judged([test], why)[18].problems, ["skipped: root is missing"])

    def test_first_line_of_a_failure(self) -> None:
        test = Example("test_claim_18_x")
        why = Failure(ValueError("not equal:\na = 3\nb = 4"))
        for kind in ("failures", "errors"):
            self.assertEqual(problems(result(**{kind: [(test, why)]})), {test.id(): "not equal:"})


class ClosingTests(SynchronousTestCase):
    def test_plain(self) -> None:
        self.assertEqual(closing(result(successes=7)), "7 passed, 0 failed")

    def test_everything(self) -> None:
        everything = result(
            successes=7,
            failures=[1],
            errors=[2, 3],
            unexpectedSuccesses=[4],
            skips=[5],
            expectedFailures=[6],
        )
        self.assertEqual(closing(everything), "7 passed, 4 failed, 2 skipped")

    def test_what_is_not_there_fails(self) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "tests", "nonsense"],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
        )
        self.assertEqual(done.stdout.splitlines()[-1], "0 passed, 1 failed")
        self.assertEqual(done.returncode, 1)
