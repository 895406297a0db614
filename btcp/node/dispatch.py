# SPDX-License-Identifier: MIT
"""
Has the core's actions done, and tells it the time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf
from typing import Any, get_args

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from btcp.datapath.interface import Datapath, Movement
from btcp.handoff.actions import Action
from btcp.handoff.bottom import BottomTcp


class Pump:
    """
    See L{btcp.datapath.interface.Shell}.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        clock: Callable[[], float],
        core: BottomTcp,
        datapath: Datapath,
        do: Mapping[type[Action], Callable[[Any], None]],
    ) -> None:
        """
        @param clock: monotonic seconds.
        @param do: what does each kind of action that is not the datapath's.
        """
        self._reactor = reactor
        self._clock = clock
        self._core = core
        self._do: dict[type[Action], Callable[[Any], None]] = {
            **dict.fromkeys(get_args(Movement), datapath.perform),
            **do,
        }
        self._timer: IDelayedCall | None = None
        self._due = inf

    def perform(self, actions: list[Action]) -> None:
        """
        Do what the core wants done, in this order.
        """
        for action in actions:
            self._do[type(action)](action)
        if self._core.deadline() < self._due:
            self._schedule()

    def stop(self) -> None:
        """
        Tell the core no more what time it is.
        """
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def _schedule(self) -> None:
        self.stop()
        self._due = self._core.deadline()
        if self._due < inf:
            delay = max(self._due - self._clock(), 0.001)
            self._timer = self._reactor.callLater(delay, self._tick)

    def _tick(self) -> None:
        # What is there by now is read first: it may be what somebody waits for.
        self._timer = self._reactor.callLater(0, self._expire)

    def _expire(self) -> None:
        self._due = inf
        self.perform(self._core.tick(self._clock()))
        self._schedule()
