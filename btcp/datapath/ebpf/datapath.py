# SPDX-License-Identifier: MIT
"""
The eBPF datapath, which forwards packets of spliced flows in the kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from btcp.datapath.ebpf.abi import Account
from btcp.datapath.ebpf.adoption import Adoption
from btcp.datapath.ebpf.changes import Changes
from btcp.datapath.ebpf.express import ExpressTables
from btcp.datapath.ebpf.programs import Programs
from btcp.datapath.ebpf.reports import Reports
from btcp.datapath.interface import Core, DatapathError, Movement, Promise, Repair, Shell
from btcp.datapath.raw.datapath import TAP, RawDatapath
from btcp.handoff.actions import Admit, Deliver, Install, Remember, Remove, Retract, Transmit
from btcp.handoff.memo import Relic
from btcp.handoff.route import EVERYTHING, Route
from btcp.wire.seqnum import latest


class EbpfDatapath:
    """
    See L{btcp.datapath.interface.Datapath}.

    Packets that the kernel does not forward (because they have no flow entry, are punted, did not
    find room in the table, or have an unusual layout of options) come to the raw datapath, which
    has all flow entries as well.
    """

    def __init__(
        self,
        reactor: Any,
        clock: Callable[[], float],
        raw: RawDatapath,
        programs: Programs,
        adoption: Adoption | None = None,
        express: ExpressTables | None = None,
    ) -> None:
        """
        @param reactor: provides C{IReactorFDSet} and C{IReactorTime}.
        @param clock: returns monotonic seconds.
        @param raw: the raw datapath, made with C{programs} as its capture.
        @param programs: the tc programs on the cluster-facing device.
        @param adoption: adoption by cookie; L{None} without it.
        @param express: tables for handoffs by the kernel; L{None} without them.
        """
        self._reactor = reactor
        self._clock = clock
        self._raw = raw
        self._programs = programs
        self._adoption = adoption
        self._express = express

    def start(self, core: Core, shell: Shell) -> None:
        """
        See L{btcp.datapath.interface.Datapath.start}.
        """
        self._counters = core.counters
        self._changes = Changes(self._reactor, self._programs, self._adoption, self._raw, core)
        self._raw.start(core, shell)
        try:
            if self._adoption is not None:
                self._adoption.set_up(TAP)
            if self._express is not None:
                self._express.set_up(self._programs)
        except DatapathError:
            self._raw.stop()
            raise
        self._reports = Reports(self._reactor, self._clock, self._programs, core, shell)

    def halt(self) -> None:
        """
        See L{btcp.datapath.interface.Datapath.halt}.
        """
        self._changes.make()
        self._programs.halt()
        self._raw.halt()

    def stop(self) -> None:
        """
        See L{btcp.datapath.interface.Datapath.stop}.
        """
        self._changes.make()
        self._reports.stop()
        self._raw.stop()
        self._changes.forget()
        self._take_down()

    def leave(self) -> None:
        """
        See L{btcp.datapath.interface.Datapath.leave}.
        """
        self._changes.make()
        self._reports.stop()
        self._raw.leave()
        self._take_down()

    def _take_down(self) -> None:
        for each in (self._adoption, self._express):
            if each is not None:
                each.take_down()

    def relics(self) -> list[Relic]:
        """
        See L{btcp.datapath.interface.Datapath.relics}.
        """
        relics = self._programs.relics()
        for relic in relics:
            if relic.route is not None:
                self._raw.perform(Install(relic.route))
                self._follow(relic.route, [relic.route.packets, relic.route.octets])
        return relics

    def renew(self, promise: Promise | None, leases: Mapping[str, float]) -> None:
        """
        See L{btcp.datapath.interface.Datapath.renew}.
        """
        self._programs.promise(promise)
        for front, until in leases.items():
            self._programs.renew(front, until)

    def verify(self) -> list[Repair]:
        """
        See L{btcp.datapath.interface.Datapath.verify}.
        """
        repairs = self._raw.verify()
        return repairs if self._adoption is None else repairs + self._adoption.verify()

    def refresh(self) -> None:
        """
        See L{btcp.datapath.interface.Datapath.refresh}.
        """
        for name, count in self._programs.counters().items():
            self._counters[f"ebpf.{name}"] = count

    def perform(self, movement: Movement) -> None:
        """
        See L{btcp.datapath.interface.Datapath.perform}.
        """
        if isinstance(movement, Install):
            self._raw.perform(movement)
            self._install(movement.route)
        elif isinstance(movement, Remove):
            self._raw.perform(movement)
            self._changes.remove(movement.key)
        elif isinstance(movement, Remember):
            self._changes.remember(movement.key, movement.memo)
        elif isinstance(movement, Admit):
            self._changes.admit(movement.key, movement.order)
        elif isinstance(movement, Retract):
            self._changes.retract(movement.key)
        elif isinstance(movement, Transmit | Deliver):
            self._changes.follow(movement)
        else:
            self._raw.perform(movement)

    def _install(self, route: Route) -> None:
        kept = route.kept_elsewhere
        if isinstance(kept, _Kernel) and kept.show(route.punt):
            return
        route.kept_elsewhere = None
        self._changes.install(route)
        self._follow(route, [0, 0])

    def _follow(self, route: Route, known: list[int]) -> None:
        """
        @param known: see L{_Kernel}.
        """
        if route.punt != EVERYTHING:
            route.kept_elsewhere = _Kernel(self._programs, self._changes, route, known)


class _Kernel:
    """
    The kernel as the keeper of a flow entry's statistics; see L{btcp.handoff.route.Keeper}.
    """

    def __init__(
        self, programs: Programs, changes: Changes, route: Route, known: list[int]
    ) -> None:
        """
        @param known: packets and octets that the flow entry's statistics include already.
        """
        self._programs = programs
        self._changes = changes
        self._route = route
        self._known = known
        self._halted = False

    def read(self) -> None:
        route = self._route
        if self._changes.waits(route.key):
            return
        account = self._programs.account(route.key)
        if account is not None:
            _merge(route, account, self._known)

    def halt(self) -> None:
        self.show(EVERYTHING)

    def show(self, punt: int) -> bool:
        """
        Make the kernel punt packets with any of these flags from now on.

        @return: whether the entry is updated.  If not, it has to be installed again: the kernel
            does not have it yet, or it was halted and the daemon has forwarded packets since.
        """
        key, halts = self._route.key, punt == EVERYTHING
        if self._changes.waits(key) or (self._halted and not halts):
            return False
        if not self._programs.amend(key, punt):
            return False
        if halts:
            self._halted = True
            self.read()
        return True


def _merge(route: Route, account: Account, known: list[int]) -> None:
    route.packets += account.packets - known[0]
    route.octets += account.octets - known[1]
    known[:] = account.packets, account.octets
    route.used = max(route.used, account.used)
    route.ack = latest(route.ack, account.ack)
    route.end = latest(route.end, account.end)
    route.progress |= account.progress
    route.fin = account.fin if route.fin is None else route.fin
    route.fin_acked |= account.fin_acked
