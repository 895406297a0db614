# SPDX-License-Identifier: MIT
"""
Run suites of tests with trial and close with one plain line of figures.

C{python -m tests unit properties} runs C{tests/unit} and C{tests/properties};
C{python -m tests --claims} runs C{tests/claims} and tells of each claim whether it is shown.
A test shows the claims its name begins with, as C{test_claims_18_30_...} does, and the
first line of its docstring says what is to be seen.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from attrs import define, field
from twisted.trial.reporter import TreeReporter
from twisted.trial.runner import TestLoader, TrialRunner

CLAIMS = range(13, 35)
_NAME = re.compile(r"test_claims?((?:_\d+)+)(?:_|$)")


def leaves(suite: Any) -> Iterator[Any]:
    """
    The single tests in a suite of suites.
    """
    try:
        inner = iter(suite)
    except TypeError:
        yield suite
        return
    for test in inner:
        yield from leaves(test)


@define
class Claim:
    """
    @ivar told: what its tests say of themselves.
    @ivar problems: why it is not shown; empty if it is.
    """

    told: list[str] = field(factory=list)
    problems: list[str] = field(factory=list)


def numbers(test: Any) -> list[int]:
    """
    The claims a test shows.
    """
    named = _NAME.match(test.id().rpartition(".")[2])
    return [int(number) for number in named[1].split("_") if number] if named else []


def judged(tests: Iterable[Any], problems: dict[str, str]) -> dict[int, Claim]:
    """
    What became of each claim.

    @param problems: why a test, by its id, did not pass.
    """
    claims = {number: Claim() for number in CLAIMS}
    for test in tests:
        for number in numbers(test):
            claim = claims[number]
            claim.told.append(test.shortDescription() or test.id())
            if test.id() in problems:
                claim.problems.append(problems[test.id()])
    for claim in claims.values():
        if not claim.told:
            claim.problems.append("no test")
    return claims


def problems(result: Any) -> dict[str, str]:
    """
    Why tests did not pass, by their ids.
    """
    failed = [*result.failures, *result.errors, *result.expectedFailures]
    found = {test.id(): why.getErrorMessage().partition("\n")[0] for test, why, *_ in failed}
    return found | {test.id(): f"skipped: {why}" for test, why in result.skips}


def closing(result: Any) -> str:
    """
    The plain line of figures.
    """
    failed = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    skipped = len(result.skips) + len(result.expectedFailures)
    return f"{result.successes} passed, {failed} failed" + f", {skipped} skipped" * bool(skipped)


def main(arguments: list[str]) -> int:
    """
    @return: the exit status.
    """
    ask_claims = arguments == ["--claims"]
    suites = ["claims"] if ask_claims else arguments
    loader = TestLoader()
    suite = loader.suiteFactory([loader.loadByName(f"tests.{name}", True) for name in suites])
    tests = list(leaves(suite))
    reporter: Any = TreeReporter  # its interface is declared with an argument too few
    result: Any = TrialRunner(reporter).run(suite)
    good = result.wasSuccessful() and result.testsRun > 0
    if ask_claims:
        claims = judged(tests, problems(result))
        for number, claim in claims.items():
            word = "NOT SHOWN" if claim.problems else "shown"
            print(f"claim {number}  {word}  {'; '.join(claim.problems or claim.told)}")
        good = good and not any(claim.problems for claim in claims.values())
    print(closing(result))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
