# SPDX-License-Identifier: MIT
"""
Renewal of the leases during which the datapath acts without the daemon.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from btcp.datapath.interface import AWAKE, Datapath, Promise
from btcp.handoff.bottom import BottomTcp

ABSENCE = 5.0
"""Seconds for which the kernel answers clients although the daemon does not run: it may be busy
or restarting.  After that, SYNs get no answer, so that clients try another address."""


class LeaseRenewal:
    """
    Periodic renewal of what SYN/ACKs offer to clients and of the leases of peers' flows.

    @ivar fronts: the nodes to which there has been a link since the daemon started.
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
        @param clock: returns monotonic seconds.
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
        Renew now and after each interval.

        @param interval: seconds.
        """
        self._again.start(interval)

    def stop(self) -> None:
        """
        Stop renewing; leases that were granted last until they expire.
        """
        self._again.stop()

    def revoke(self) -> None:
        """
        Revoke all leases.
        """
        self._datapath.renew(None, {})

    def renew(self) -> None:
        """
        Renew all leases once.
        """
        now, settings = self._clock(), self._core.context.settings
        promise = Promise(self._core.context.promise, settings.window_scale, now + ABSENCE)
        leases = {node: now - self._silence(node) + settings.lease for node in self.fronts}
        leases[AWAKE] = now + settings.periods.handoff / 2
        self._datapath.renew(promise, leases)
