# SPDX-License-Identifier: MIT
"""
Hysteresis of health checks: the number of consecutive results that changes an origin's health.
"""

from __future__ import annotations

from attrs import define

from btcp.cluster.state import Health


@define
class RiseFall:
    """
    The health of one origin, derived from the results of its checks.

    @ivar rise: consecutive passed checks after which the origin is up.
    @ivar fall: consecutive failed checks after which the origin is down.
    @ivar health: the current health.  The first check after L{reset} sets it at once.
    @ivar why: the problem that the last failed check found; cleared when the origin is up and
        the latest check passed.
    """

    rise: int
    fall: int
    health: Health = Health.UNCHECKED
    why: str = ""
    _against: int = 0

    @property
    def steady(self) -> bool:
        """
        C{True} if the latest check agreed with the current health.
        """
        return self.health is not Health.UNCHECKED and not self._against

    def passed(self) -> None:
        """
        Record a check that passed.
        """
        self._enter(Health.UP, self.rise)
        if self.steady and self.health is Health.UP:
            self.why = ""

    def failed(self, why: str) -> None:
        """
        Record a check that failed.

        @param why: the problem that it found.
        """
        self.why = why
        self._enter(Health.DOWN, self.fall)

    def reset(self) -> None:
        """
        Discard all results.
        """
        self.health, self.why, self._against = Health.UNCHECKED, "", 0

    def _enter(self, found: Health, needed: int) -> None:
        self._against = 0 if found is self.health else self._against + 1
        if self._against >= needed or self.health is Health.UNCHECKED:
            self.health, self._against = found, 0
