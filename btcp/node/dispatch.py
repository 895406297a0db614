# SPDX-License-Identifier: MIT
"""
Execution of the core's actions, and its timer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf
from typing import Any, get_args

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from btcp.datapath.interface import Datapath, Movement
from btcp.handoff.actions import Action
from btcp.handoff.bottom import BottomTcp


class Dispatcher:
    """
    Executor of the core's actions; calls the core's C{tick} when its deadline has come.

    Implements L{btcp.datapath.interface.Shell}.
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
        @param clock: returns monotonic seconds.
        @param do: executes each kind of action that the datapath does not execute.
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
        Execute actions in order, and reschedule the timer if the core's deadline is earlier now.
        """
        for action in actions:
            self._do[type(action)](action)
        if self._core.deadline() < self._due:
            self._schedule()

    def stop(self) -> None:
        """
        Cancel the timer.
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
        # Deferred by one turn of the reactor, so that packets that have arrived are read first:
        # one of them may be what the timeout is about.
        self._timer = self._reactor.callLater(0, self._expire)

    def _expire(self) -> None:
        self._due = inf
        self.perform(self._core.tick(self._clock()))
        self._schedule()
