# SPDX-License-Identifier: MIT
"""
Show the claims: C{python -m tests.claims} prints a line for each, and what is wrong with those
that are not shown.
"""

from __future__ import annotations

import io
import sys
from tempfile import TemporaryDirectory
from typing import Any

from twisted.trial.reporter import Reporter
from twisted.trial.runner import TestLoader, TrialRunner

from tests.__main__ import judged, leaves, problems


def main() -> int:
    """
    @return: the exit status, 0 if every claim is shown.
    """
    suite = TestLoader().loadByName("tests.claims", True)
    tests = list(leaves(suite))
    report = io.StringIO()
    reporter: Any = lambda *_: Reporter(report)  # noqa: E731
    with TemporaryDirectory() as directory:
        result: Any = TrialRunner(reporter, workingDirectory=f"{directory}/trial").run(suite)
    claims = judged(tests, problems(result))
    for number, claim in claims.items():
        word = "NOT SHOWN" if claim.problems else "shown    "
        print(f"claim {number}  {word}  {'; '.join(claim.problems or claim.told)}")
    good = bool(result.wasSuccessful()) and not any(claim.problems for claim in claims.values())
    if not good:
        print(report.getvalue(), file=sys.stderr)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
