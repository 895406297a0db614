# SPDX-License-Identifier: MIT
"""
What a check says.
"""

from __future__ import annotations

from enum import StrEnum

from attrs import frozen


class Verdict(StrEnum):
    """
    C{warn}: it works, and not as well as it could, or not for long.
    """

    FINE = "fine"
    WARN = "warn"
    FAIL = "fail"


@frozen
class Finding:
    """
    @ivar says: one line.
    @ivar remedy: what to type, a line each; a line that is no command begins with C{#}.
    """

    verdict: Verdict
    says: str
    remedy: tuple[str, ...] = ()


def fine(says: str) -> Finding:
    """
    All is well.
    """
    return Finding(Verdict.FINE, says)


def warn(says: str, *remedy: str) -> Finding:
    """
    See L{Verdict}.
    """
    return Finding(Verdict.WARN, says, remedy)


def fail(says: str, *remedy: str) -> Finding:
    """
    It cannot work like this.
    """
    return Finding(Verdict.FAIL, says, remedy)
