# SPDX-License-Identifier: MIT
"""
From single checks to what is thought of an origin.
"""

from __future__ import annotations

from attrs import define

from btcp.cluster.state import Health


@define
class Verdict:
    """
    One bad check is no illness, one good check no recovery.

    @ivar rise: good checks in a row after which the origin is up.
    @ivar fall: bad ones after which it is down.
    @ivar health: as it is thought to be.  The first check of all decides at once.
    @ivar why: what the latest bad check found, as long as it matters.
    """

    rise: int
    fall: int
    health: Health = Health.UNCHECKED
    why: str = ""
    _against: int = 0

    @property
    def steady(self) -> bool:
        """
        Whether the latest check agreed with the verdict.
        """
        return self.health is not Health.UNCHECKED and not self._against

    def good(self) -> None:
        """
        A check passed.
        """
        self._enter(Health.UP, self.rise)
        if self.steady and self.health is Health.UP:
            self.why = ""

    def bad(self, why: str) -> None:
        """
        A check failed.
        """
        self.why = why
        self._enter(Health.DOWN, self.fall)

    def forget(self) -> None:
        """
        What was found does not count any more.
        """
        self.health, self.why, self._against = Health.UNCHECKED, "", 0

    def _enter(self, found: Health, needed: int) -> None:
        self._against = 0 if found is self.health else self._against + 1
        if self._against >= needed or self.health is Health.UNCHECKED:
            self.health, self._against = found, 0
