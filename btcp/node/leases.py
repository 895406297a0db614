# SPDX-License-Identifier: MIT
"""
What the datapath may do for a while without the daemon, said again and again.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from btcp.datapath.interface import AWAKE, Datapath, Promise
from btcp.handoff.bottom import BottomTcp

ABSENCE = 5.0
"""Seconds that clients are still answered for a daemon that does nothing: it may be at work,
or be started again; if it is not, a client had better hear nothing."""


class Upkeep:
    """
    The promise to clients, and the leases of the other nodes' flows.

    @ivar fronts: the nodes that there was ever a link to.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        clock: Callable[[], float],
        core: BottomTcp,
        datapath: Datapath,
        silence: Callable[[str], float],
    ) -> None:
        """
        @param clock: monotonic seconds.
        @param silence: see L{btcp.handoff.context.Settings}.
        """
        self.fronts: set[str] = set()
        self._clock = clock
        self._core = core
        self._datapath = datapath
        self._silence = silence
        self._again = LoopingCall(self.renew)
        self._again.clock = reactor

    def start(self, interval: float) -> None:
        """
        Say it now, and from now on.

        @param interval: in seconds.
        """
        self._again.start(interval)

    def stop(self) -> None:
        """
        Say it no more; what was said holds as long as was said.
        """
        self._again.stop()

    def revoke(self) -> None:
        """
        It may do nothing without us any more.
        """
        self._datapath.renew(None, {})

    def renew(self) -> None:
        """
        Say it as it is now.
        """
        now, settings = self._clock(), self._core.context.settings
        promise = Promise(self._core.context.promise, settings.window_scale, now + ABSENCE)
        leases = {node: now - self._silence(node) + settings.lease for node in self.fronts}
        leases[AWAKE] = now + settings.periods.handoff / 2
        self._datapath.renew(promise, leases)
