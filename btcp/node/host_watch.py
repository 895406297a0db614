# SPDX-License-Identifier: MIT
"""
The host under a running node: what BTCP put into it, and what was read from it at start.

Firewalls are reloaded, sysctls applied again, devices made anew.  The watch compares host and
daemon as soon as the kernel reports a change, and each second, for it reports few sysctls.  What
was removed is restored; what was changed on purpose is passed on; and if the node cannot work on
this host any more, it ends, so that its supervisor starts it anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from math import inf
from typing import Any

from attrs import asdict, frozen
from twisted.application.internet import TimerService
from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from btcp.datapath.interface import Datapath, DatapathError, DeviceMissing
from btcp.datapath.raw import netlink
from btcp.handoff.messages import Capabilities

INTERVAL = 1.0
"""Seconds between two looks at what no message tells of."""

PATIENCE = 5.0
"""Seconds for which a repair may fail before the node ends: whoever changes a host takes several
steps, and the next one may make the repair possible."""

_ROUTE_GROUPS = (
    netlink.LINK,
    netlink.TRAFFIC_CONTROL,
    netlink.IPV4_ADDRESS,
    netlink.IPV6_ADDRESS,
    netlink.IPV4_SETTINGS,
)

log = Logger()


@frozen
class HostFacts:
    """
    Properties of the host that the node depends on and that may change while it runs.

    @ivar capabilities: of this host's TCP and its device.
    @ivar cookies: its TCP accepts connections by cookie (C{net.ipv4.tcp_syncookies}).
    """

    capabilities: Capabilities
    cookies: bool

    def differences(self, before: HostFacts) -> str:
        """
        @return: what is different now, for people.
        """
        pairs = {**asdict(self.capabilities), "tcp_syncookies": self.cookies}
        old = {**asdict(before.capabilities), "tcp_syncookies": before.cookies}
        return ", ".join(
            f"{name} {_word(old[name])} -> {_word(value)}"
            for name, value in pairs.items()
            if old[name] != value
        )


def _word(value: object) -> str:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)


class HostWatch(Service):
    """
    The watch of one host.
    """

    def __init__(
        self,
        reactor: Any,
        datapath: Datapath,
        counters: Counter[str],
        read: Callable[[], HostFacts],
        changed: Callable[[HostFacts, HostFacts], None],
        failed: Callable[[str], None],
    ) -> None:
        """
        @param reactor: provides C{IReactorTime} and C{IReactorFDSet}.
        @param counters: moved under names that begin with C{host.}.
        @param read: the facts as they are now; may raise L{DatapathError}.
        @param changed: called with the facts as they were and as they are.
        @param failed: called once, with the reason, if this node cannot work here any more.
        """
        self._reactor = reactor
        self._datapath = datapath
        self._counters = counters
        self._read, self._changed, self._failed = read, changed, failed
        self._facts: HostFacts | None = None
        self._problem = ""
        self._since = inf
        self._scheduled: IDelayedCall | None = None
        self._timer: Any = TimerService(INTERVAL, self.look)
        self._timer.clock = reactor
        self._changes = (
            netlink.ChangeMonitor(reactor, netlink.ROUTE, _ROUTE_GROUPS, self.soon),
            netlink.ChangeMonitor(
                reactor, netlink.FILTER, [netlink.RULES], self.soon, lambda each: b"btcp\0" in each
            ),
        )

    def startService(self) -> None:
        """
        Begin; the datapath has started.
        """
        super().startService()
        for each in self._changes:
            try:
                each.start()
            except OSError as problem:
                log.info("changes are found within a second: {why}", why=problem.strerror)
        self._timer.startService()

    def stopService(self) -> Any:
        """
        Look no more: from now on the datapath is taken down on purpose.
        """
        super().stopService()
        if self._scheduled is not None:
            self._scheduled.cancel()
            self._scheduled = None
        for each in self._changes:
            each.stop()
        return self._timer.stopService()

    def soon(self) -> None:
        """
        Look in the next turn of the reactor: one look for all that was read in this one.
        """
        if self._scheduled is None and self.running:
            self._scheduled = self._reactor.callLater(0, self._look_now)

    def _look_now(self) -> None:
        self._scheduled = None
        self.look()

    def look(self) -> None:
        """
        Compare, restore, pass on.
        """
        if not self.running:
            return
        try:
            self._compare()
            self._restore()
        except DeviceMissing as problem:
            # A restart would change nothing, and the device may be made again at any time.
            self._report(str(problem))
        except DatapathError as problem:
            self._report(str(problem))
            if self._reactor.seconds() - self._since > PATIENCE:
                self._give_up(str(problem))
        else:
            if self._problem:
                log.warn("the host can be used again; {what}", what=self._problem)
            self._problem, self._since = "", inf

    def _restore(self) -> None:
        for repair in self._datapath.verify():
            self._counters[f"host.repaired.{repair.part}"] += 1
            log.warn("repaired the host: {found}", found=repair.found, part=repair.part)

    def _compare(self) -> None:
        facts = self._read()
        before, self._facts = self._facts, facts
        if before is not None and before != facts:
            self._counters["host.changed"] += 1
            self._changed(before, facts)

    def _report(self, problem: str) -> None:
        """
        Say what is wrong when it begins, not each second.
        """
        if problem == self._problem:
            return
        if not self._problem:
            self._since = self._reactor.seconds()
        self._problem = problem
        self._counters["host.failed"] += 1
        log.error("the host cannot be repaired at present: {problem}", problem=problem)

    def _give_up(self, problem: str) -> None:
        self._timer.stopService()
        for each in self._changes:
            each.stop()
        self._failed(problem)
