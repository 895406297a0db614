# SPDX-License-Identifier: MIT
"""
The checks of this node's origins, as the configuration in service has them.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.application.service import MultiService
from twisted.internet.interfaces import IReactorTime

from btcp.cluster.state import Health
from btcp.config import Config
from btcp.health.asking import Asking
from btcp.health.build import watches
from btcp.health.watch import Checks


class Origins(MultiService):
    """
    Checks them, or does not, if there is nothing to check.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        handoff: Asking,
        wanted: Callable[[], bool],
        tell: Callable[[Health, str], None],
    ) -> None:
        """
        @param handoff: asks by handing off.
        @param wanted: whether there is to be any checking now.
        @param tell: called whenever their health is another, or why it is so.
        """
        super().__init__()
        self._reactor = reactor
        self._handoff = handoff
        self._wanted = wanted
        self._tell = tell
        self._checks: Checks | None = None

    def watch(self, config: Config) -> None:
        """
        Check them as a configuration says.
        """
        if self._checks is not None:
            self._checks.disownServiceParent()
            self._checks = None
            self._tell(Health.UNCHECKED, "")
        watched = watches(config, self._handoff)
        if watched:
            self._checks = Checks(self._reactor, watched, self._wanted, self._tell)
            self._checks.setServiceParent(self)
