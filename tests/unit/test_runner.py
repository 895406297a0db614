# SPDX-License-Identifier: MIT
"""
Tests for L{tests.__main__} and L{tests.claims.verdict}: what did not pass is never told as if it
had.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests import parallel
from tests.__main__ import closing
from tests.claims.verdict import CLAIMS, judged, numbers, problems
from tests.modes import EBPF_COOKIE, RAW_REPLAY, Mode

TESTS = Path(__file__).parents[1]
TCP = {f"integration.test_tcp_{name}" for name in ("rules", "segments", "closing")}
"""Modules that use the same labs."""


class Example:
    """
    As much of a test as the runner looks at.
    """

    def __init__(self, method: str, says: str | None = None, mode: Mode = RAW_REPLAY) -> None:
        self._method = method
        self._says = says
        self.mode = mode

    def id(self) -> str:
        return f"tests.claims.test_x.{self.mode.prefix}XTests.{self._method}"

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
        verdicts = judged([Example("test_claims_18_30_x", "seen on the wire")], {}, [RAW_REPLAY])
        self.assertEqual(verdicts[18, RAW_REPLAY].told, ["seen on the wire"])
        shown = [number for number in CLAIMS if not verdicts[number, RAW_REPLAY].problems]
        self.assertEqual(shown, [18, 30])
        self.assertEqual(str(verdicts[18, RAW_REPLAY]), "shown      seen on the wire")

    def test_no_test(self) -> None:
        verdict = judged([], {}, [RAW_REPLAY])[13, RAW_REPLAY]
        self.assertEqual(verdict.problems, ["no test"])
        self.assertEqual(str(verdict), "NOT SHOWN  no test")

    def test_no_test_in_a_mode(self) -> None:
        verdicts = judged([Example("test_claim_18_x")], {}, [RAW_REPLAY, EBPF_COOKIE])
        self.assertEqual(verdicts[18, RAW_REPLAY].problems, [])
        self.assertEqual(verdicts[18, EBPF_COOKIE].problems, ["no test"])

    def test_one_failure_suffices(self) -> None:
        good, bad = Example("test_claim_18_x"), Example("test_claim_18_y")
        verdicts = judged([good, bad], {bad.id(): "why"}, [RAW_REPLAY])
        self.assertEqual(verdicts[18, RAW_REPLAY].problems, ["why"])

    def test_failure_in_a_mode(self) -> None:
        good, bad = Example("test_claim_18"), Example("test_claim_18", mode=EBPF_COOKIE)
        verdicts = judged([good, bad], {bad.id(): "why"}, [RAW_REPLAY, EBPF_COOKIE])
        self.assertEqual(verdicts[18, RAW_REPLAY].problems, [])
        self.assertEqual(verdicts[18, EBPF_COOKIE].problems, ["why"])

    def test_skip_shows_nothing(self) -> None:
        test = Example("test_claim_18_x")
        why = problems(result(skips=[(test, "root is missing")]))
        verdicts = judged([test], why, [RAW_REPLAY])
        self.assertEqual(verdicts[18, RAW_REPLAY].problems, ["skipped: root is missing"])

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


class OrderTests(SynchronousTestCase):
    """
    Of modules that run at the same time.
    """

    suites = ("unit", "integration", "field", "claims")

    def test_longest_first(self) -> None:
        """
        And each of them is there, by the name that it has now.
        """
        found = parallel.modules(self.suites)
        self.assertEqual(tuple(found[: len(parallel.LONGEST)]), parallel.LONGEST)

    def test_each_once(self) -> None:
        found = parallel.modules(self.suites)
        files = [path for suite in self.suites[:3] for path in TESTS.joinpath(suite).glob("test_*")]
        self.assertEqual(len(found), len(files) + 1)
        self.assertEqual(len(set(found)), len(found))

    def test_who_is_alone(self) -> None:
        """
        Whatever has a cluster of its own or takes long; each module is in one process.
        """
        batches = parallel.batches(self.suites)
        together = [batch for batch in batches if len(batch) > 1]
        (tcp,) = (batch for batch in together if batch[0] in parallel.LONGEST)
        self.assertEqual(set(tcp), TCP)
        short = [name for batch in together if batch is not tcp for name in batch]
        self.assertGreater(len(short), 50)
        self.assertEqual({name.partition(".")[0] for name in short}, {"unit"})
        self.assertEqual(set(short) & set(parallel.LONGEST), set())
        found = [name for batch in batches for name in batch]
        self.assertEqual(sorted(found), sorted(parallel.modules(self.suites)))
