# SPDX-License-Identifier: MIT
"""
The tc programs of one device, from loading to unloading.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from ctypes import CDLL, get_errno
from errno import EPERM
from hashlib import blake2b
from socket import if_nametoindex
from types import MappingProxyType

from twisted.logger import Logger

from btcp.datapath.ebpf import abi, objects
from btcp.datapath.ebpf.barrier import await_programs
from btcp.datapath.ebpf.hook import EGRESS, INGRESS, Hook
from btcp.datapath.ebpf.libbpf import Library, Map, Object, Ring
from btcp.datapath.ebpf.takeover import INHERITED, Inheritance
from btcp.datapath.interface import (
    AWAKE,
    DatapathError,
    DeviceMissing,
    End,
    Identity,
    Promise,
    Repair,
)
from btcp.handoff.memo import Relic, digest
from btcp.handoff.messages import Capabilities
from btcp.handoff.route import Reported, Route

log = Logger()

_ATTACHED = {INGRESS: "btcp_ingress", EGRESS: "btcp_egress"}
"""The program for each direction."""

_NEW_NETWORK = 0x40000000  # linux/sched.h: CLONE_NEWNET

OBJECT = objects.path("btcp.bpf.o")


def probe() -> None:
    """
    Load and attach the programs in a network of their own, and forget them again.

    @raise DatapathError: says what this host lacks.
    """
    objects.require(OBJECT)
    with ThreadPoolExecutor(1) as elsewhere:  # a network is a thread's
        elsewhere.submit(_try).result()


def _try() -> None:
    tried = Programs("lo", "lo", [], 1)
    if CDLL(None, use_errno=True).unshare(_NEW_NETWORK):
        if get_errno() != EPERM:
            raise DatapathError(f"no network to try the tc programs in: {os.strerror(get_errno())}")
        # Only for that would the daemon need CAP_SYS_ADMIN: it has to do without attaching.
        tried.load().close()
        return
    tried.set_up()
    tried.take_down()


_PAST = Promise(Capabilities(mtu=1280, sack=False, timestamps=False, window_scaling=False), 0, 1e-9)

_ROUTES = 3
"""For each flow: one as its front-end, two as its back-end.  So the table is never full: a
back-end's flow without routes would not be seen by the daemon."""


_MEMOS = 2
"""For each flow: one as its front-end, one as its back-end."""

_NOBODY = Identity(0, 0, b"")
"""Of programs whose maps nobody is to take over."""


class Programs:
    """
    What brings packets to the daemon, and moves those of spliced flows without it.

    The same as L{btcp.datapath.raw.guard.Guard}, from L{set_up} to L{take_down}.
    """

    def __init__(
        self,
        device: str,
        tap: str,
        listeners: Iterable[End],
        flows: int,
        identity: Identity = _NOBODY,
        inheritance: Inheritance | None = None,
        origin_ports: Mapping[End, int] = MappingProxyType({}),
    ) -> None:
        """
        @param device: the device that faces the cluster.
        @param tap: where packets are to go.
        @param flows: how many there may be at once.
        @param identity: left for the next daemon.
        @param inheritance: what an earlier daemon left.
        @param origin_ports: of listeners, where nodes have what answers; of those only whose
            connections begin with HTTP.
        """
        self._origin_ports = origin_ports
        self._device = device
        self._tap = tap
        self._listeners = sorted(set(listeners))
        self._flows = flows
        # The next daemon has to know what clients were promised, and nobody else.
        self._secret = blake2b(identity.secret or os.urandom(32), digest_size=16).digest()
        self._numbers: dict[bytes, int] = {}
        self._identity = identity
        self._inheritance = inheritance
        self._remembered: set[bytes] = set()
        self._program_ids: dict[int, int] = {}

    def set_up(self) -> None:
        """
        @raise DatapathError: if the host cannot.
        """
        try:
            index = if_nametoindex(self._device)
        except OSError as problem:
            raise DatapathError(f"device {self._device}: {problem}") from problem
        self.load()
        self._hook = Hook(self._library, index)
        self._device_index = index
        try:
            for direction in _ATTACHED:
                self._attach(direction)
        except OSError as problem:
            self.take_down()
            raise DatapathError(f"cannot attach to {self._device}: {problem}") from problem

    def _attach(self, direction: int) -> None:
        self._hook.attach(direction, self._object.program(_ATTACHED[direction]))
        self._program_ids[direction] = self._hook.attached(direction)

    def verify(self) -> list[Repair]:
        """
        Attach the programs again, unless they are on the device.

        @raise DatapathError: if the host cannot.
        """
        try:
            index = if_nametoindex(self._device)
        except OSError as problem:
            raise DeviceMissing(f"there is no device {self._device}") from problem
        if index != self._device_index:
            self._hook, self._device_index = Hook(self._library, index), index
        lost = [
            direction
            for direction, number in self._program_ids.items()
            if self._hook.attached(direction) != number
        ]
        repairs = []
        for direction in lost:
            try:
                self._attach(direction)
            except OSError as problem:
                raise DatapathError(f"cannot attach to {self._device}: {problem}") from problem
            why = f"program {_ATTACHED[direction]} was no longer attached to {self._device}"
            repairs.append(Repair("filter", why))
        return repairs

    def load(self) -> Object:
        """
        @return: the programs, loaded and not attached.
        @raise DatapathError: if the host cannot.
        """
        self._library = Library()
        try:
            self._object = Object(self._library, str(OBJECT))
        except OSError as problem:
            raise DatapathError(f"{OBJECT} cannot be read: {problem.strerror}") from problem
        try:
            self._load()
        except OSError as problem:
            self._object.close()
            raise DatapathError(f"the kernel refuses the tc programs: {problem}") from problem
        return self._object

    def take_down(self) -> None:
        """
        Take the programs off the device, and the hook if nobody had it before.
        """
        for direction in (INGRESS, EGRESS):
            self._hook.detach(direction)
        self._hook.remove()
        self._object.close()

    def leave(self) -> None:
        """
        Leave the programs where they are, and with them the maps.
        """
        self._object.close()

    def clear(self) -> bool:
        """
        Take off what a crash left on the device.

        @return: whether there was anything.
        """
        try:
            hook = Hook(Library(), if_nametoindex(self._device))
        except DatapathError:
            return False  # without the library nothing can have been attached
        found = [hook.detach(direction) for direction in (INGRESS, EGRESS)]
        if any(found):
            log.warn("took off the device what a crash left")
        hook.remove()
        return any(found)

    def install(self, routes: Iterable[Route]) -> list[bytes]:
        """
        Have the kernel move the packets of these routes.

        @return: the keys for which there was no room.
        """
        entries = {
            abi.pack_key(route.key): abi.pack_route(route, self.lease(route.lease))
            for route in routes
        }
        return [abi.unpack_key(key) for key in self._routes.update_many(entries)]

    def amend(self, key: bytes, punt: int) -> bool:
        """
        Have the kernel change what the route with this key punts.  All else stays, and
        the account goes on: L{install} would lose what passes while it works.

        @return: whether there is such a route.
        """
        amendment = abi.AMENDMENT.pack(abi.pack_key(key), punt)
        return self._object.run("btcp_amend", context=amendment).result == 0

    def halt(self) -> None:
        """
        Have the kernel move no more packets of any route.  What it was at is done by then.
        """
        self._object.run("btcp_halt")
        await_programs()

    def remove(self, keys: Iterable[bytes]) -> None:
        """
        Have the kernel forget these keys, and what is kept beside their routes.
        """
        gone = list(keys)
        self._routes.delete_many([abi.pack_key(key) for key in gone])
        forgotten = self._remembered.intersection(gone)
        if forgotten:
            self._remembered -= forgotten
            self._memos.delete_many([abi.pack_key(key) for key in forgotten])

    def remember(self, memos: Mapping[bytes, bytes]) -> int:
        """
        Have the kernel keep something beside the routes with these keys.

        @return: for how many there was no room.
        """
        entries = {abi.pack_key(key): abi.MEMO.pack(memo) for key, memo in memos.items()}
        self._remembered.update(memos)
        return len(self._memos.update_many(entries))

    def relics(self) -> list[Relic]:
        """
        @return: what is in the maps; nothing unless they are an earlier daemon's.
        """
        size = abi.KEY.size
        routes = {
            key: abi.unpack_route(key, value)
            for key, value in self._routes.items(size)
            if not abi.is_express(value)
        }
        memos = dict(self._memos.items(size))
        self._remembered.update(map(abi.unpack_key, memos))
        keys = dict.fromkeys((*routes, *memos))
        return [Relic(abi.unpack_key(key), routes.get(key), memos.get(key)) for key in keys]

    def promise(self, promise: Promise | None) -> None:
        """
        Say what the kernel may answer SYNs with; with C{None} no more of them, but it still
        knows whom it answered.
        """
        packed = abi.pack_promise(promise or _PAST, self._secret)
        self._promises.update(abi.WORD.pack(0), packed)

    def renew(self, lease: str, until: float) -> None:
        """
        Say until when responses that depend on this lease may begin.

        @param until: monotonic seconds.
        """
        number = self.lease(lease)
        if number < abi.LEASES - 1:
            self._leases.update(abi.WORD.pack(number), abi.pack_lease(until))

    def report(self, take: Callable[[Reported], None]) -> Ring:
        """
        @param take: gets what happened to routes that the kernel follows.
        @return: where it comes from; the caller closes it.
        """
        return self._object.ring("events", lambda event: take(abi.unpack_event(event)))

    def lease(self, name: str | None) -> int:
        """
        @return: the number of a front-end's lease.  With more front-ends than numbers, the rest
            share one that nobody renews: the daemon decides for them.
        """
        if name is None or name == AWAKE:
            return 0
        whose = digest(name)
        number = self._numbers.get(whose)
        if number is None:
            number = self._numbers[whose] = len(self._numbers) + 1
            if number < abi.LEASES - 1:
                self._fronts.update(abi.WORD.pack(number), abi.FRONT.pack(whose))
        return min(number, abi.LEASES - 1)

    def endings(self, take: Callable[[bytes], None]) -> Ring:
        """
        @param take: gets each C{struct btcp_ending}.
        @return: where they come from; the caller closes it.
        """
        return self._object.ring("endings", take)

    def share(self, other: Object, names: Iterable[str]) -> None:
        """
        Have another object work with maps of this one, before it is loaded.
        """
        for name in names:
            other.reuse(name, self._object.map_fd(name))

    def end_in(self, slot: int, program: int) -> None:
        """
        Have programs go on with another one, where they ask for it.

        @param program: its file descriptor.
        """
        self._ends.update(abi.WORD.pack(slot), abi.WORD.pack(program))

    @property
    def routes(self) -> Map:
        """
        The table of all routes.
        """
        return self._routes

    @property
    def waiting(self) -> Map:
        """
        The table of clients that are connected and have not asked for anything yet.
        """
        return self._waiting

    @property
    def settings(self) -> bytes:
        """
        The constants of all programs.
        """
        return abi.SETTINGS.pack(if_nametoindex(self._tap))

    def account(self, key: bytes) -> abi.Account | None:
        """
        @return: what passed in the kernel since L{install}.
        """
        value = self._routes.lookup(abi.pack_key(key))
        return None if value is None else abi.Account.unpack(value)

    def counters(self) -> dict[str, int]:
        """
        @return: the programs' counters.
        """
        found = {}
        for number, name in enumerate(abi.COUNTERS):
            value = self._counters.lookup(abi.WORD.pack(number)) or b""
            found[name] = sum(each for (each,) in abi.COUNTER.iter_unpack(value))
        return found

    def _load(self) -> None:
        self._object.resize("routes", _ROUTES * self._flows)
        self._object.resize("listeners", max(2 * len(self._listeners), 1))
        self._object.resize("memos", _MEMOS * self._flows)
        if self._inheritance is not None:
            for name, fd in self._inheritance.maps.items():
                self._object.reuse(name, fd)
        self._object.set_constants(self.settings)
        self._object.load()
        if self._inheritance is not None:
            self._inheritance.close()
        self._own_maps()
        self._routes = self._object.map("routes", abi.ROUTE.size)
        processors = self._library.call("libbpf_num_possible_cpus")
        self._promises = self._object.map("promises", abi.PROMISE.size)
        self._leases = self._object.map("leases", abi.LEASE.size)
        self._waiting = self._object.map("measured", abi.MEASURED.size)
        self._counters = self._object.map("counters", abi.COUNTER.size, processors)
        self._ends = self._object.map("strangers", abi.WORD.size)
        self._announce(self._object.map("listeners", 4))

    def _own_maps(self) -> None:
        """
        See that the maps that outlive the daemon do so, and say whose they are.
        """
        self._memos = self._object.map("memos", abi.MEMO.size)
        self._fronts = self._object.map("fronts", abi.FRONT.size)
        for number in range(1, abi.LEASES - 1):
            whose = self._fronts.lookup(abi.WORD.pack(number))
            if not whose or not any(whose):
                break
            self._numbers[whose] = number
        identity = self._identity
        self._object.map("identity", abi.IDENTITY.size).update(
            abi.WORD.pack(0),
            abi.IDENTITY.pack(identity.epoch, abi.VERSION, identity.starts, identity.secret),
        )
        for name in INHERITED:
            self._object.bind(name, "btcp_ingress")

    def _announce(self, listeners: Map) -> None:
        for address, port in self._listeners:
            origin = self._origin_ports.get((address, port), 0)
            listeners.update(abi.pack_end(address, port), origin.to_bytes(2, "big") + bytes(2))
            listeners.update(abi.pack_end(address, 0), bytes(4))  # for ICMP
