# SPDX-License-Identifier: MIT
"""
What the core wants changed in the kernel's tables, gathered: a system call costs the same for
one entry as for a hundred.
"""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime

from btcp.datapath.ebpf.adoption import Adoption
from btcp.datapath.ebpf.programs import Programs
from btcp.datapath.interface import Core
from btcp.datapath.raw.datapath import RawDatapath
from btcp.handoff.actions import Deliver, Transmit
from btcp.handoff.messages import Handoff
from btcp.handoff.route import Route

_MOST = 64
"""Changes that wait for each other.  What they are for waits with them."""


class Changes:
    """
    Changes of one turn of the reactor, and the packets that must not be sent before they are
    made.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        programs: Programs,
        adoption: Adoption | None,
        raw: RawDatapath,
        core: Core,
    ) -> None:
        """
        @param adoption: C{None} if nothing is ever admitted.
        @param raw: sends the packets.
        """
        self._reactor = reactor
        self._programs = programs
        self._adoption = adoption
        self._raw = raw
        self._counters = core.counters
        self._routes: dict[bytes, Route | None] = {}
        self._memos: dict[bytes, bytes] = {}
        self._orders: dict[bytes, Handoff | None] = {}
        self._packets: list[Deliver | Transmit] = []
        self._asked = False

    def install(self, route: Route) -> None:
        """
        The route is as it will be when the change is made.
        """
        self._routes[route.key] = route
        self._soon()

    def remove(self, key: bytes) -> None:
        """
        Forget a route, and what is kept beside it.
        """
        self._routes[key] = None
        self._memos.pop(key, None)
        self._soon()

    def remember(self, key: bytes, memo: bytes) -> None:
        """
        See L{btcp.handoff.actions.Remember}.
        """
        self._memos[key] = memo
        self._soon()

    def admit(self, key: bytes, order: Handoff) -> None:
        """
        See L{btcp.handoff.actions.Admit}.
        """
        self._orders[key] = order
        self._soon()

    def retract(self, key: bytes) -> None:
        """
        See L{btcp.handoff.actions.Retract}.
        """
        self._orders[key] = None
        self._soon()

    def follow(self, movement: Deliver | Transmit) -> None:
        """
        Send a packet once the changes so far are made.
        """
        if movement.segment.frame >= 0:  # it is where the next one will be read to
            self.make()
            self._raw.perform(movement)
        elif self._asked:
            self._packets.append(movement)
        else:
            self._raw.perform(movement)

    def waits(self, key: bytes) -> bool:
        """
        @return: whether a change of this route is still to be made, so that the kernel has
            nothing to say of it.
        """
        return key in self._routes

    def make(self) -> None:
        """
        Make all changes, and send what waits for them.
        """
        self._asked = False
        if self._routes:
            self._change_routes()
        if self._memos:
            memos, self._memos = self._memos, {}
            self._counters["ebpf.unremembered"] += self._programs.remember(memos)
        if self._orders:
            self._change_orders()
        packets, self._packets = self._packets, []
        for movement in packets:
            self._raw.perform(movement)

    def forget(self) -> None:
        """
        Make no changes that are still to be made: there is nobody to make them.
        """
        self._asked = False
        for waiting in (self._routes, self._memos, self._orders, self._packets):
            waiting.clear()

    def _soon(self) -> None:
        if len(self._routes) + len(self._orders) >= _MOST:
            self.make()
        elif not self._asked:
            self._asked = True
            self._reactor.callLater(0, self._late)

    def _late(self) -> None:
        if self._asked:
            self.make()

    def _change_routes(self) -> None:
        routes, self._routes = self._routes, {}
        # First those that go: they leave room.
        gone = [key for key, route in routes.items() if route is None]
        if gone:
            self._programs.remove(gone)
        come = [route for route in routes.values() if route is not None]
        for key in self._programs.install(come) if come else ():
            self._counters["ebpf.table-full"] += 1
            routes[key].kept_elsewhere = None  # type: ignore[union-attr]  # it was to come

    def _change_orders(self) -> None:
        orders, self._orders = self._orders, {}
        if self._adoption is None:
            return
        come = {key: order for key, order in orders.items() if order is not None}
        if come:  # the local TCP resets what it was not told of
            self._counters["ebpf.table-full"] += self._adoption.admit(come)
        gone = [key for key, order in orders.items() if order is None]
        if gone:
            self._adoption.retract(gone)
