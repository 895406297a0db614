# SPDX-License-Identifier: MIT
"""
Service that runs the health checks of the current configuration.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.application.service import MultiService
from twisted.internet.interfaces import IReactorTime

from btcp.cluster.state import Health
from btcp.config import Config
from btcp.health.build import checked_origins
from btcp.health.checks import CheckFunction
from btcp.health.scheduler import CheckScheduler


class OriginChecks(MultiService):
    """
    The health checks of this node's origins; a reload replaces them.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        handoff: CheckFunction,
        enabled: Callable[[], bool],
        on_change: Callable[[Health, str], None],
    ) -> None:
        """
        @param handoff: the check function for checks by handoff.
        @param enabled: returns whether checks are to be made now.
        @param on_change: called with the origins' combined health and its reason whenever
            either changes.
        """
        super().__init__()
        self._reactor = reactor
        self._handoff = handoff
        self._enabled = enabled
        self._on_change = on_change
        self._checks: CheckScheduler | None = None

    def watch(self, config: Config) -> None:
        """
        Replace all checks by those of a configuration.
        """
        if self._checks is not None:
            self._checks.disownServiceParent()
            self._checks = None
            self._on_change(Health.UNCHECKED, "")
        watched = checked_origins(config, self._handoff)
        if watched:
            self._checks = CheckScheduler(self._reactor, watched, self._enabled, self._on_change)
            self._checks.setServiceParent(self)
