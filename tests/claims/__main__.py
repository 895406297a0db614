# SPDX-License-Identifier: MIT
"""
Show the claims: C{python -m tests.claims} prints a line for each, in each mode, and what is wrong
with those that are not shown; C{--mode ebpf+cookie} asks for one mode.
"""

from __future__ import annotations

import io
import sys
from tempfile import TemporaryDirectory
from typing import Any

from twisted.trial.reporter import Reporter
from twisted.trial.runner import TrialRunner

from tests.__main__ import chosen, loaded
from tests.claims.verdict import judged, problems
from tests.modes import MODES


def main(arguments: list[str]) -> int:
    """
    @return: the exit status, 0 if every claim is shown.
    """
    modes = chosen(arguments).mode or MODES
    suite, tests = loaded(["claims"], modes)
    report = io.StringIO()
    reporter: Any = lambda *_: Reporter(report)  # noqa: E731
    with TemporaryDirectory() as directory:
        result: Any = TrialRunner(reporter, workingDirectory=f"{directory}/trial").run(suite)
    verdicts = judged(tests, problems(result), modes)
    for (number, mode), verdict in verdicts.items():
        print(f"claim {number}  {mode!s:12s}  {verdict}")
    good = bool(result.wasSuccessful()) and not any(each.problems for each in verdicts.values())
    if not good:
        print(report.getvalue(), file=sys.stderr)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
