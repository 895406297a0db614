# SPDX-License-Identifier: MIT
"""
The results of checks.
"""

from __future__ import annotations

from enum import StrEnum

from attrs import frozen


class Verdict(StrEnum):
    """
    Severity of a finding.

    C{fail}: a node cannot work.  C{warn}: it works, but slower or less safely than it could, or
    not for long.
    """

    FINE = "fine"
    WARN = "warn"
    FAIL = "fail"


@frozen
class Finding:
    """
    One result of a check.

    @ivar verdict: the severity.
    @ivar says: the result, in one line.
    @ivar remedy: commands that solve the problem, one per line; other advice begins with C{#}.
    """

    verdict: Verdict
    says: str
    remedy: tuple[str, ...] = ()


def fine(says: str) -> Finding:
    """
    Make a finding that reports no problem.
    """
    return Finding(Verdict.FINE, says)


def warn(says: str, *remedy: str) -> Finding:
    """
    Make a finding of severity C{warn}, see L{Verdict}.
    """
    return Finding(Verdict.WARN, says, remedy)


def fail(says: str, *remedy: str) -> Finding:
    """
    Make a finding of severity C{fail}, see L{Verdict}.
    """
    return Finding(Verdict.FAIL, says, remedy)
