# SPDX-License-Identifier: MIT
"""
Run suites of tests with trial and close with one plain line of figures.

C{python -m tests unit properties} runs C{tests/unit} and C{tests/properties};
C{python -m tests integration --mode ebpf+cookie} runs those of C{tests/integration} that are on a
cluster in this mode, see L{tests.modes}; with C{--jobs 2} two modules run at a time.
"""

from __future__ import annotations

import os
import sys
import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from twisted.trial.reporter import TreeReporter
from twisted.trial.runner import TestLoader, TrialRunner, name

from tests import parallel
from tests.modes import EXPRESS, MODES, Mode

_MODES = (*MODES, EXPRESS)

TIMES = "BTCP_TEST_TIMES"
"""The environment variable that names a file for L{TimedReporter}."""


class TimedReporter(TreeReporter):
    """
    Reporter that appends a line for each test to the file that L{TIMES} names: seconds that
    passed, seconds of CPU (of this process and of the children that it has waited for), and the
    test's name.  A daemon is no child: its CPU is missing.
    """

    def startTest(self, test: Any) -> None:
        self._began = time.monotonic(), sum(os.times()[:4])
        super().startTest(test)

    def stopTest(self, test: Any) -> None:
        super().stopTest(test)
        wall, cpu = self._began
        passed = f"{time.monotonic() - wall:8.3f} {sum(os.times()[:4]) - cpu:8.3f} {test.id()}\n"
        with open(os.environ[TIMES], "a") as times:
            times.write(passed)


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


def loaded(suites: Iterable[str], modes: Sequence[Mode] = ()) -> tuple[Any, list[Any]]:
    """
    @param suites: names below C{tests}.
    @param modes: to load only tests in one of these; else all.
    @return: a suite, and its tests.
    """
    loader = TestLoader()
    loader.sorter = _place
    suite = loader.suiteFactory([loader.loadByName(f"tests.{suite}", True) for suite in suites])
    tests = list(leaves(suite))
    if modes:
        tests = [test for test in tests if getattr(test, "mode", None) in modes]
        suite = loader.suiteFactory(tests)
    return suite, tests


def _place(thing: Any) -> tuple[int, str]:
    """
    Cases of a module in the order of their modes, so that one lab serves all in a mode.
    """
    mode = getattr(thing, "mode", None)
    return _MODES.index(mode) if mode in _MODES else 0, name(thing)


def closing(result: Any) -> str:
    """
    The plain line of figures.
    """
    failed = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    skipped = len(result.skips) + len(result.expectedFailures)
    return line(result.successes, failed, skipped)


def line(passed: int, failed: int, skipped: int) -> str:
    """
    See L{closing}.
    """
    return f"{passed} passed, {failed} failed" + f", {skipped} skipped" * bool(skipped)


def _mode(text: str) -> Mode:
    for mode in _MODES:
        if str(mode) == text:
            return mode
    raise ArgumentTypeError(f"{text!r} is none of {', '.join(map(str, _MODES))}")


def chosen(arguments: list[str], *positional: str) -> Namespace:
    """
    @return: what the command line says; its C{mode} is a list of modes.
    """
    parser = ArgumentParser(prog="python -m tests")
    for each in positional:
        parser.add_argument(each, nargs="+")
    parser.add_argument("--mode", action="append", type=_mode, default=[])
    parser.add_argument("--jobs", type=int, default=1, help="so many modules at once")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """
    @return: the exit status.
    """
    options = chosen(arguments, "suite")
    if options.jobs > 1:
        passed, failed, skipped = parallel.run(options.suite, options.jobs)
        print(line(passed, failed, skipped))
        return 0 if passed and not failed else 1
    suite, _ = loaded(options.suite, options.mode)
    reporter: Any = (
        TimedReporter if TIMES in os.environ else TreeReporter
    )  # its interface is declared with an argument too few
    result: Any = TrialRunner(reporter).run(suite)
    good = result.wasSuccessful() and result.testsRun > 0
    print(closing(result))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
