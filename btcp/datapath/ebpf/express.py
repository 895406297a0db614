# SPDX-License-Identifier: MIT
"""
The programs that hand connections off in the kernel, and their tables, which L{btcp.express} fills.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import inf

from attrs import frozen

from btcp.datapath.ebpf import abi, objects
from btcp.datapath.ebpf.libbpf import Library, Object, Ring
from btcp.datapath.ebpf.programs import Programs
from btcp.datapath.ebpf.socket_diag import is_gone
from btcp.datapath.interface import DatapathError
from btcp.handoff.route import EVERYTHING

OBJECT = objects.path("express.bpf.o")

MOST_HOSTS = 4096
MOST_PREFIXES = 65_536
MOST_SETS = 4096
"""Sizes of the kernel's decision tables.  Memory is allocated as entries are added, except for some
600 kB."""

_SIZES = {"scopes": MOST_HOSTS, "prefixes": MOST_PREFIXES, "turns": MOST_SETS}

_SHARED = (
    "routes",
    "listeners",
    "counters",
    "leases",
    "promises",
    "events",
    "endings",
    "strangers",
    "measured",
)
_DECIDE, _RECEIVE = 2, 3
"""C{enum btcp_program}."""

_CHUNK = 4096
_FIRST = abi.WORD.pack(0)


def probe() -> None:
    """
    Test whether the programs can be loaded.

    @raise DatapathError: if not; the text says what the host lacks.
    """
    _opened(Library()).close()


def _opened(library: Library, prepare: Callable[[Object], None] = lambda _: None) -> Object:
    objects.require(OBJECT)
    try:
        loaded = Object(library, str(OBJECT))
        for name, size in _SIZES.items():
            loaded.resize(name, size)
        prepare(loaded)
        loaded.load()
    except OSError as problem:
        raise DatapathError(f"the kernel refuses the express programs: {problem}") from problem
    return loaded


@frozen(slots=True)
class Destination:
    """
    A back-end that this node's kernel can hand connections to.

    @ivar key: the key of the handoff headers sent to it, 16 octets.
    @ivar v4: its packed IPv4 address; C{None} if it has none.
    @ivar v6: its packed IPv6 address; C{None} if it has none.
    @ivar own: whether it is this node.
    """

    key: bytes
    v4: bytes | None
    v6: bytes | None
    own: bool = False


@frozen(slots=True)
class Plan:
    """
    Global settings of the programs.

    @ivar own: the digest of this node's name, 8 octets.
    @ivar scope: the scope of hosts without one of their own; 0 leaves them to the daemon.
    @ivar hosts: whether there are hosts with scopes of their own.
    @ivar adopts: whether this node accepts handoffs.
    @ivar decides: whether this node's kernel hands connections off.
    @ivar head: maximum octets of a request head; the daemon refuses longer ones.
    @ivar records: whether the kernel reports handoffs, see L{ExpressTables.handed}.
    """

    own: bytes
    scope: int
    hosts: bool
    adopts: bool
    decides: bool
    head: int
    records: bool


class ExpressTables:
    """
    The loaded programs and their tables, from L{set_up} until L{take_down}.
    """

    def set_up(self, programs: Programs) -> None:
        """
        Load the programs and link them to those of the datapath.

        @param programs: the datapath's loaded programs, whose tables are shared.
        @raise DatapathError: if the kernel refuses the programs.
        """
        self._programs = programs

        def prepare(loaded: Object) -> None:
            programs.share(loaded, _SHARED)
            loaded.set_constants(programs.settings)

        self._object = _opened(Library(), prepare)
        of = self._object.map
        self._plan = of("plan", abi.PLAN.size)
        self._scopes = of("scopes", abi.WORD.size)
        self._prefixes = of("prefixes", abi.WORD.size)
        self._turns = of("turns", abi.TURNS.size)
        self._destinations = of("destinations", abi.DESTINATION.size)
        self._fronts = of("express_fronts", abi.EXPRESS_FRONT.size)
        self._declined = of("declined", abi.WORD.size)
        self._reaped = of("reaped", abi.DONE.size)
        programs.end_in(_DECIDE, self._object.program("btcp_express"))
        programs.end_in(_RECEIVE, self._object.program("btcp_receive"))

    def take_down(self) -> None:
        """
        Release the programs; the datapath's programs, which call them, keep them loaded.
        """
        self._object.close()

    # -- how requests are decided ---------------------------------------------

    def plan(self, plan: Plan) -> None:
        """
        Set the global settings.
        """
        flags = plan.hosts, plan.adopts, plan.decides
        packed = abi.PLAN.pack(plan.own, plan.scope, *flags, plan.head, plan.records)
        self._plan.update(_FIRST, packed)

    def add_prefixes(self, entries: Mapping[tuple[int, bytes], int]) -> None:
        """
        Add path prefixes.

        @param entries: scope and path prefix to the number of a replica set.
        @raise OSError: if the table is full.
        """
        for (scope, path), number in entries.items():
            self._prefixes.update(abi.pack_prefix(scope, path), abi.WORD.pack(number))

    def remove_prefixes(self, entries: Iterable[tuple[int, bytes]]) -> None:
        """
        Remove path prefixes.
        """
        for scope, path in entries:
            self._prefixes.delete(abi.pack_prefix(scope, path))

    def scope(self, host: bytes, number: int) -> None:
        """
        Set the scope of a host.

        @param host: the canonical name, at most L{abi.LONGEST_HOST} octets.
        @param number: the number of the scope.
        @raise OSError: if the table is full.
        """
        self._scopes.update(abi.HOST.pack(host), abi.WORD.pack(number))

    def forget_host(self, host: bytes) -> None:
        """
        Remove the scope of a host.
        """
        self._scopes.delete(abi.HOST.pack(host))

    def turns(self, number: int, nodes: Sequence[int]) -> None:
        """
        Set the sequence of destinations of a replica set.

        @param number: the number of the replica set, below L{MOST_SETS}.
        @param nodes: numbers of destinations, used in turn; empty leaves requests to the daemon.
        """
        self._turns.update(abi.WORD.pack(number), abi.pack_turns(nodes))

    # -- who the others are ---------------------------------------------------

    def destination(self, number: int, node: Destination | None) -> None:
        """
        Set or disable a destination.

        @param number: its number, 1 to 255.
        @param node: the back-end; C{None} if nothing can be handed to it now.
        """
        if node is None:
            known = self._destinations.lookup(abi.WORD.pack(number)) or b""
            *rest, _, own = abi.DESTINATION.unpack(known)
            value = abi.DESTINATION.pack(*rest, 0, own)
        else:
            reach = (node.v4 is not None) | (node.v6 is not None) << 1
            v4, v6 = abi.pack_address(node.v4 or bytes(4)), node.v6 or bytes(16)
            value = abi.DESTINATION.pack(node.key, v4, v6, reach, node.own)
        self._destinations.update(abi.WORD.pack(number), value)

    def front(self, whose: bytes, key: bytes | None, lease: int = 0) -> None:
        """
        @param whose: 8 octets that stand for the front-end.
        @param key: 16 octets; C{None}: believe no record of it.
        @param lease: the number of its lease.
        """
        if key is None:
            self._fronts.delete(whose)
        else:
            self._fronts.update(whose, abi.EXPRESS_FRONT.pack(key, lease))

    def lease(self, front: str) -> int:
        """
        @return: the number of a front-end's lease.
        """
        return self._programs.lease(front)

    # -- what was decided -----------------------------------------------------

    def handed(self, take: Callable[[bytes], None]) -> Ring:
        """
        @param take: gets each C{struct btcp_handed} and what is behind it.
        @return: where they come from, which wakes nobody; the caller closes it.
        """
        return self._object.ring("handed", take)

    def is_declined(self, done: bytes) -> bool:
        """
        @param done: C{struct btcp_done}.
        @return: whether the daemon got this connection to decide, not long ago.
        """
        iss = self._declined.lookup(done[: abi.KEY.size])
        return iss == done[abi.KEY.size : abi.KEY.size + abi.WORD.size]

    # -- how connections end --------------------------------------------------

    def endings(self, take: Callable[[bytes], None]) -> Ring:
        """
        @param take: gets each C{struct btcp_ending}.
        @return: where they come from; the caller closes it.
        """
        return self._programs.endings(take)

    def reap(self, done: bytes, both: bool = False, node: int = 0) -> None:
        """
        Have the kernel forget routes of express connections, if they are still these
        connections'.

        @param done: of each a C{struct btcp_done}.
        @param both: the routes of both directions.
        @param node: only of those that were handed to this one; 0: whosever.
        """
        size = abi.DONE.size * abi.MOST_REAPED
        for start in range(0, len(done), size):
            part = done[start : start + size]
            count = len(part) // abi.DONE.size
            self._reaped.fill(part, count)
            self._object.run("btcp_reap", context=abi.REAPING.pack(count, both, node))

    def remove(self, keys: Sequence[bytes]) -> None:
        """
        Forget these routes, whosever they are.
        """
        self._programs.routes.delete_many(keys)

    def route(self, key: bytes) -> bytes | None:
        """
        @param key: packed.
        @return: C{struct btcp_route}.
        """
        return self._programs.routes.lookup(key)

    def is_gone(self, key: bytes) -> bool:
        """
        See L{btcp.datapath.ebpf.socket_diag.is_gone}.
        """
        return is_gone(key)

    def halt(self, key: bytes) -> bytes | None:
        """
        Move nothing more by this route, so that its account stays as it is.

        @param key: packed.
        @return: C{struct btcp_route} then; C{None} if there is none.
        """
        self._programs.amend(abi.unpack_key(key), EVERYTHING)
        return self.route(key)

    def routes(self, unused_since: float = inf) -> Iterator[list[tuple[bytes, bytes]]]:
        """
        @param unused_since: monotonic seconds.
        @return: the packed keys and routes of express connections which since then had no packet,
            in parts.
        """
        key, value = abi.KEY.size, abi.ROUTE.size
        since = int(unused_since * 1e9) if unused_since < inf else 1 << 64
        for keys, values in self._programs.routes.chunks(key, _CHUNK):
            yield [
                (keys[n * key : (n + 1) * key], values[n * value : (n + 1) * value])
                for n, (express, used) in enumerate(abi.GLANCE.iter_unpack(values))
                if express and used < since
            ]
