# SPDX-License-Identifier: MIT
"""
What the outcome of tests says of the claims.

A test shows, in its case's mode, the claims its name begins with, as
C{test_claims_18_30_...} does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from attrs import define, field

from tests.modes import Mode

CLAIMS = range(13, 35)
_NAME = re.compile(r"test_claims?((?:_\d+)+)(?:_|$)")


@define
class Verdict:
    """
    On a claim, in a mode.

    @ivar told: what its tests say of themselves.
    @ivar problems: why it is not shown; empty if it is.
    """

    told: list[str] = field(factory=list)
    problems: list[str] = field(factory=list)

    def __str__(self) -> str:
        if self.problems:
            return f"NOT SHOWN  {'; '.join(self.problems)}"
        return f"shown      {'; '.join(self.told)}"


def numbers(test: Any) -> list[int]:
    """
    The claims a test shows.
    """
    named = _NAME.match(test.id().rpartition(".")[2])
    return [int(number) for number in named[1].split("_") if number] if named else []


def judged(
    tests: Iterable[Any], problems: dict[str, str], modes: Iterable[Mode]
) -> dict[tuple[int, Mode], Verdict]:
    """
    What became of each claim in each mode.

    @param problems: why a test, by its id, did not pass.
    @param modes: that each claim is to be shown in.
    """
    verdicts = {(number, mode): Verdict() for number in CLAIMS for mode in modes}
    for test in tests:
        for number in numbers(test):
            verdict = verdicts[number, test.mode]
            verdict.told.append(test.shortDescription() or test.id())
            if test.id() in problems:
                verdict.problems.append(problems[test.id()])
    for verdict in verdicts.values():
        if not verdict.told:
            verdict.problems.append("no test")
    return verdicts


def problems(result: Any) -> dict[str, str]:
    """
    Why tests did not pass, by their ids.
    """
    failed = [*result.failures, *result.errors, *result.expectedFailures]
    found = {test.id(): why.getErrorMessage().partition("\n")[0] for test, why, *_ in failed}
    return found | {test.id(): f"skipped: {why}" for test, why in result.skips}
