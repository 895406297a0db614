# SPDX-License-Identifier: MIT
"""
The datapath that leaves spliced flows to the kernel.
"""

from __future__ import annotations

from functools import partial

from btcp.datapath.ebpf.abi import Account
from btcp.datapath.ebpf.adoption import Adoption
from btcp.datapath.ebpf.programs import Programs
from btcp.datapath.interface import Core, DatapathError, Movement, Shell
from btcp.datapath.raw.datapath import TAP, RawDatapath
from btcp.handoff.actions import Admit, Install, Remove, Retract
from btcp.handoff.route import EVERYTHING, Route
from btcp.wire.seqnum import latest


class EbpfDatapath:
    """
    See L{btcp.datapath.interface.Datapath}.

    What the kernel does not move, because its route says so, or for want of a
    route, or of room for one, or because its options are laid out in an unusual
    way, comes up to the raw datapath, which knows all routes as well.
    """

    def __init__(
        self, raw: RawDatapath, programs: Programs, adoption: Adoption | None = None
    ) -> None:
        """
        @param raw: made with C{programs} for its capture.
        @param adoption: if requests are to be admitted without a handshake.
        """
        self._raw = raw
        self._programs = programs
        self._adoption = adoption

    def start(self, core: Core, shell: Shell) -> None:
        """
        See L{btcp.datapath.interface.Datapath.start}.
        """
        self._counters = core.counters
        self._raw.start(core, shell)
        if self._adoption is not None:
            try:
                self._adoption.set_up(TAP)
            except DatapathError:
                self._raw.stop()
                raise

    def stop(self) -> None:
        """
        See L{btcp.datapath.interface.Datapath.stop}.
        """
        self._raw.stop()
        if self._adoption is not None:
            self._adoption.take_down()

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
        self._raw.perform(movement)
        if isinstance(movement, Install):
            self._install(movement.route)
        elif isinstance(movement, Remove):
            self._programs.remove(movement.key)
        elif isinstance(movement, Admit | Retract) and self._adoption is not None:
            self._admit(self._adoption, movement)

    def _install(self, route: Route) -> None:
        if route.kept_elsewhere is not None and self._programs.amend(route.key, route.punt):
            if route.punt == EVERYTHING:
                route.refresh()
                route.kept_elsewhere = None
            return
        route.kept_elsewhere = None
        try:
            self._programs.install(route.key, route)
        except OSError:
            self._counters["ebpf.table-full"] += 1
            return
        if route.punt != EVERYTHING:
            route.kept_elsewhere = partial(self._refresh, route, [0, 0])

    def _admit(self, adoption: Adoption, movement: Admit | Retract) -> None:
        if isinstance(movement, Retract):
            adoption.retract(movement.key)
            return
        try:
            adoption.admit(movement.key, movement.order)
        except OSError:  # the local TCP resets what it was not told of
            self._counters["ebpf.table-full"] += 1

    def _refresh(self, route: Route, known: list[int]) -> None:
        """
        @param known: packets and octets that are in the route's account already.
        """
        account = self._programs.account(route.key)
        if account is not None:
            _merge(route, account, known)


def _merge(route: Route, account: Account, known: list[int]) -> None:
    route.packets += account.packets - known[0]
    route.octets += account.octets - known[1]
    known[:] = account.packets, account.octets
    route.used = max(route.used, account.used)
    route.ack = latest(route.ack, account.ack)
    route.end = latest(route.end, account.end)
    route.progress |= account.progress
