# SPDX-License-Identifier: MIT
"""
This node's origins, checked again and again.
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
from btcp.health.asking import Asking, Origin, cause
from btcp.health.verdict import Verdict

log = Logger()


@define(eq=False)
class Watch:
    """
    One origin and its check.

    @ivar asked: the check that is under way.
    @ivar again: the call that begins the next one.
    """

    origin: Origin
    check: Check
    ask: Asking
    verdict: Verdict = field(init=False)
    asked: Deferred[Any] | None = None
    again: IDelayedCall | None = None

    def __attrs_post_init__(self) -> None:
        self.verdict = Verdict(self.check.rise, self.check.fall)


class Checks(Service):
    """
    All checks of a node.

    @ivar health: down if one of the origins is, up if all are.
    @ivar why: what is wrong, or was the last time.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        watches: Iterable[Watch],
        wanted: Callable[[], bool],
        tell: Callable[[Health, str], None],
        jitter: Callable[[], float] = random,
    ) -> None:
        """
        @param wanted: whether there is to be any checking now.
        @param tell: called whenever L{health} or L{why} is another.
        @param jitter: a number from 0 to 1, another one each time.
        """
        self.health, self.why = Health.UNCHECKED, ""
        self._reactor: Any = reactor
        self._watches = tuple(watches)
        self._wanted = wanted
        self._tell = tell
        self._jitter = jitter

    def startService(self) -> None:
        """
        Check all at once, then each in its own time.
        """
        super().startService()
        for watch in self._watches:
            self._begin(watch)

    def stopService(self) -> None:
        """
        Check no more.
        """
        super().stopService()
        for watch in self._watches:
            if watch.again is not None and watch.again.active():
                watch.again.cancel()
            if watch.asked is not None:
                watch.asked.cancel()

    def _begin(self, watch: Watch) -> None:
        watch.again = None
        if not self._wanted():
            watch.verdict.forget()
            self._finish(watch)
            return
        asked = maybeDeferred(watch.ask, self._reactor, watch.origin, watch.check)
        watch.asked = asked
        asked.addTimeout(watch.check.timeout, self._reactor)
        asked.addCallbacks(lambda _: watch.verdict.good(), self._failed, errbackArgs=(watch,))
        asked.addErrback(lambda failure: log.failure("a check went wrong", failure))
        asked.addCallback(lambda _: self._finish(watch))

    def _failed(self, failure: Failure, watch: Watch) -> None:
        if self.running:
            watch.verdict.bad(f"{watch.origin.netloc}: {_words(failure, watch.check)}")

    def _finish(self, watch: Watch) -> None:
        watch.asked = None
        if self.running:
            watch.again = self._reactor.callLater(self._pause(watch), self._begin, watch)
            self._sum_up()

    def _pause(self, watch: Watch) -> float:
        check = watch.check
        seconds = check.interval if watch.verdict.steady else check.fast_interval
        return seconds * (1 + check.jitter / 100 * (2 * self._jitter() - 1))

    def _sum_up(self) -> None:
        verdicts = [watch.verdict for watch in self._watches]
        healths = {verdict.health for verdict in verdicts}
        worst = (Health.DOWN, Health.UNCHECKED, Health.UP)
        health = next(each for each in worst if each in healths)
        # Of several, those that make it what it is.
        reasons = [verdict.why for verdict in verdicts if verdict.why and verdict.health is health]
        found = health, "; ".join(reasons)
        if found != (self.health, self.why):
            self.health, self.why = found
            self._tell(*found)


def _words(failure: Failure, check: Check) -> str:
    real = cause(failure)
    if real.check(TimeoutError, CancelledError):
        return f"no answer in {check.timeout:g} s"
    return real.getErrorMessage()
