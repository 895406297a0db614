# SPDX-License-Identifier: MIT
"""
What the kernel's programs report, in the Twisted reactor.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from btcp.datapath.ebpf.programs import Programs
from btcp.datapath.interface import Core, Shell
from btcp.handoff.route import Reported

log = Logger()


@implementer(IReadDescriptor)
class Reports:
    """
    Brings reports to the core, all that have come at once.
    """

    def __init__(
        self,
        reactor: IReactorFDSet,
        clock: Callable[[], float],
        programs: Programs,
        core: Core,
        shell: Shell,
    ) -> None:
        self._reactor = reactor
        self._clock = clock
        self._core = core
        self._shell = shell
        self._waiting: list[Reported] = []
        self._ring = programs.report(self._waiting.append)
        reactor.addReader(self)

    def stop(self) -> None:
        """
        Take no more of them.
        """
        self._reactor.removeReader(self)
        self._ring.close()

    def fileno(self) -> int:
        """
        The ring buffer's.
        """
        return self._ring.fd

    def doRead(self) -> None:
        """
        Take all there are.
        """
        self._ring.consume()
        reports, self._waiting[:] = list(self._waiting), []
        try:
            self._shell.perform(self._core.reported(reports, self._clock()))
        except Exception:
            # An exception that got out would make the reactor give the map up.
            self._core.counters["failed.report"] += 1
            log.failure("a report found a defect")

    def connectionLost(self, reason: Failure) -> None:
        """
        The reactor gives the map up; L{stop} closes it.
        """

    def logPrefix(self) -> str:
        """
        See L{twisted.internet.interfaces.ILoggingContext}.
        """
        return "kernel reports"
