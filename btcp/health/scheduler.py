# SPDX-License-Identifier: MIT
"""
Periodic execution of health checks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import random
from typing import Any

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from btcp.cluster.state import Health
from btcp.config import Check
from btcp.health.checks import CheckFunction, Origin, cause
from btcp.health.rise_fall import RiseFall

log = Logger()


@define(eq=False)
class CheckedOrigin:
    """
    An origin, its check, and the state of both.

    @ivar ask: performs one check.
    @ivar state: the origin's health.
    @ivar asked: the check in progress, if any.
    @ivar again: the delayed call that starts the next check, if any.
    """

    origin: Origin
    check: Check
    ask: CheckFunction
    state: RiseFall = field(init=False)
    asked: Deferred[Any] | None = None
    again: IDelayedCall | None = None

    def __attrs_post_init__(self) -> None:
        self.state = RiseFall(self.check.rise, self.check.fall)


class CheckScheduler(Service):
    """
    Scheduler of all checks of this node.

    @ivar health: the worst health of all origins (down, then unchecked, then up).
    @ivar why: the problems of the origins that have this health.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        origins: Iterable[CheckedOrigin],
        enabled: Callable[[], bool],
        on_change: Callable[[Health, str], None],
        jitter: Callable[[], float] = random,
    ) -> None:
        """
        @param enabled: returns whether checks are to be made now.
        @param on_change: called with L{health} and L{why} whenever either changes.
        @param jitter: returns a random number from 0 to 1.
        """
        self.health, self.why = Health.UNCHECKED, ""
        self._reactor: Any = reactor
        self._origins = tuple(origins)
        self._enabled = enabled
        self._on_change = on_change
        self._jitter = jitter

    def startService(self) -> None:
        """
        Check all origins now, and each again after its interval.
        """
        super().startService()
        for origin in self._origins:
            self._begin(origin)

    def stopService(self) -> None:
        """
        Cancel all checks in progress and all timers.
        """
        super().stopService()
        for origin in self._origins:
            if origin.again is not None and origin.again.active():
                origin.again.cancel()
            if origin.asked is not None:
                origin.asked.cancel()

    def _begin(self, origin: CheckedOrigin) -> None:
        origin.again = None
        if not self._enabled():
            origin.state.reset()
            self._finish(origin)
            return
        asked = maybeDeferred(origin.ask, self._reactor, origin.origin, origin.check)
        origin.asked = asked
        asked.addTimeout(origin.check.timeout, self._reactor)
        asked.addCallbacks(lambda _: origin.state.passed(), self._failed, errbackArgs=(origin,))
        asked.addErrback(lambda failure: log.failure("health check raised an exception", failure))
        asked.addCallback(lambda _: self._finish(origin))

    def _failed(self, failure: Failure, origin: CheckedOrigin) -> None:
        if self.running:
            origin.state.failed(f"{origin.origin.netloc}: {_words(failure, origin.check)}")

    def _finish(self, origin: CheckedOrigin) -> None:
        origin.asked = None
        if self.running:
            origin.again = self._reactor.callLater(self._pause(origin), self._begin, origin)
            self._sum_up()

    def _pause(self, origin: CheckedOrigin) -> float:
        check = origin.check
        seconds = check.interval if origin.state.steady else check.fast_interval
        return seconds * (1 + check.jitter / 100 * (2 * self._jitter() - 1))

    def _sum_up(self) -> None:
        states = [origin.state for origin in self._origins]
        healths = {state.health for state in states}
        worst = (Health.DOWN, Health.UNCHECKED, Health.UP)
        health = next(each for each in worst if each in healths)
        # Only problems of origins that determine the combined health.
        reasons = [state.why for state in states if state.why and state.health is health]
        found = health, "; ".join(reasons)
        if found != (self.health, self.why):
            self.health, self.why = found
            self._on_change(*found)


def _words(failure: Failure, check: Check) -> str:
    real = cause(failure)
    if real.check(TimeoutError, CancelledError):
        return f"no answer in {check.timeout:g} s"
    return real.getErrorMessage()
