# SPDX-License-Identifier: MIT
"""
Express connections, and the kernel's tables as a fake has them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_address
from math import inf
from typing import cast

from attrs import field, frozen

from btcp.datapath.ebpf import abi
from btcp.datapath.ebpf.express import Destination, ExpressTables, Plan
from btcp.express.entries import Entry
from btcp.handoff.actions import Note
from btcp.logs import Recorder
from btcp.wire.segment import flow_key
from tests.unit.fake_ring import FakeRing

CLIENT, FRONT, BACK = (ip_address(f"192.0.2.{n}").packed for n in (7, 8, 9))
ISS, FIRST = 0xFFFFFFFF, 500


@frozen
class Made:
    """
    The routes of a connection, as the kernel makes them.

    @ivar node: number of the back-end at the front-end.
    @ivar lease: number of the front-end's lease at the back-end.
    @ivar used: seconds.
    @ivar acked: by the client.
    @ivar octets: that passed in each direction.
    @ivar closing: 1: an end was seen; C{abi.OVER}: it was reported.
    @ivar holds: the request is not acknowledged before the response begins.
    """

    port: int = 1000
    node: int = 2
    lease: int = 0
    used: float = 1.0
    acked: int = ISS + 1 & 0xFFFFFFFF
    end: int = 600
    octets: int = 40
    closing: int = 0
    joined: bool = False
    holds: bool = False
    iss: int = ISS
    client: bytes = field(default=CLIENT)

    @property
    def request(self) -> bytes:
        return flow_key(self.client, self.port, FRONT, 80)

    @property
    def forwarded(self) -> bytes:
        return flow_key(self.client, self.port, BACK, 8080)

    @property
    def answer(self) -> bytes:
        return flow_key(BACK, 8080, self.client, self.port)

    @property
    def response(self) -> bytes:
        return flow_key(FRONT, 80, self.client, self.port)

    @property
    def numbers(self) -> bytes:
        return self.iss.to_bytes(4, "little") + FIRST.to_bytes(4, "little")

    def _entry(
        self, key: bytes, to: bytes, ends: tuple[int, int], express: int, *rest: int
    ) -> Entry:
        """
        @param ends: what was acknowledged, and the end of what was sent.
        @param rest: number, whether to the local TCP, whether it rewrites.
        """
        number, local, rewrites = rest
        follows = self.joined or not express & abi.FRONT_HALF
        rule = (abi.pack_key(to), 0, 0, 0, 0, 0, 0, local, rewrites, 0, 0, follows)
        express |= abi.EXPRESS | abi.JOINED * self.joined
        used, closing = int(self.used * 1e9), self.closing
        account = abi.ACCOUNT.pack(used, self.octets > 0, self.octets, *ends, 0, 0, closing, 0, 0)
        packed = abi.RULE.pack(*rule, number, express, self.iss, FIRST) + account
        return Entry(abi.pack_key(key), packed)

    @property
    def front(self) -> Entry:
        """
        The front-end's half.
        """
        ends = self.acked, self.end
        half = abi.FRONT_HALF | abi.HOLDS * self.holds
        return self._entry(self.request, self.forwarded, ends, half, self.node, self.joined, 1)

    @property
    def inbound(self) -> Entry:
        """
        At the back-end.
        """
        ends = self.acked, self.end
        return self._entry(self.forwarded, self.forwarded, ends, 0, self.lease, 1, 0)

    @property
    def outbound(self) -> Entry:
        """
        Likewise.
        """
        held = abi.HOLDS * self.holds
        return self._entry(self.answer, self.response, (self.end, 4000), held, self.lease, 0, 1)

    def told(self, head: bytes = b"", set: int = 1, kind: int = abi.HANDED_OFF) -> bytes:
        """
        What the front-end's kernel says of the beginning.
        """
        at = int(self.used * 1e9)
        return abi.HANDED.pack(self.front.done, set, self.node, kind, at) + head

    def ending(self, why: int = abi.BOTH_CLOSED) -> bytes:
        """
        What the back-end's kernel says of the end.
        """
        own = abi.DONE.pack(abi.pack_key(self.answer), self.iss, FIRST)
        client = abi.DONE.pack(abi.pack_key(self.request), self.iss, FIRST)
        return abi.ENDING.pack(own, client, self.lease, why)


class FakeRecorder(Recorder):
    """
    @ivar notes: that would have been written down.
    """

    def __init__(self, wanted: str) -> None:
        super().__init__(wanted)
        self.notes: list[Note] = []

    def __call__(self, note: Note) -> None:
        if self.wants(note.event, note.fields.get("reason")):
            self.notes.append(note)


class FakeTables:
    """
    What L{ExpressTables} does, but for the kernel.

    @ivar connections: keys of the connections that the local TCP has.
    @ivar told: names of the calls that changed what is decided.
    @ivar watch: called after each of them.
    @ivar reaped: of each call what was to be forgotten, and whether in both directions.
    """

    def __init__(self) -> None:
        self.connections: set[bytes] = set()
        self.told: list[str] = []
        self.watch: Callable[[], None] = lambda: None
        self.planned = Plan(b"", 0, False, False, False, 0, False)
        self.prefixes: dict[tuple[int, bytes], int] = {}
        self.scopes: dict[bytes, int] = {}
        self.sets: dict[int, list[int]] = {}
        self.destinations: dict[int, Destination | None] = {}
        self.fronts: dict[bytes, tuple[bytes, int]] = {}
        self.leases: dict[str, int] = {}
        self.reaped: list[tuple[bytes, bool]] = []
        self.named: list[int] = []
        self.entries: dict[bytes, bytes] = {}
        self.declined: set[bytes] = set()

    @property
    def faked(self) -> ExpressTables:
        return cast(ExpressTables, self)

    def _did(self, what: str) -> None:
        self.told.append(what)
        self.watch()

    def plan(self, plan: Plan) -> None:
        self.planned = plan
        self._did("plan")

    def add_prefixes(self, entries: Mapping[tuple[int, bytes], int]) -> None:
        for key, number in entries.items():
            self.prefixes[key] = number
            self._did("add")

    def remove_prefixes(self, entries: Iterable[tuple[int, bytes]]) -> None:
        for key in entries:
            del self.prefixes[key]
            self._did("remove")

    def scope(self, host: bytes, number: int) -> None:
        self.scopes[host] = number
        self._did("scope")

    def forget_host(self, host: bytes) -> None:
        del self.scopes[host]
        self._did("forget")

    def turns(self, number: int, nodes: Sequence[int]) -> None:
        self.sets[number] = list(nodes)
        self._did("turns")

    def destination(self, number: int, node: Destination | None) -> None:
        self.destinations[number] = node

    def front(self, whose: bytes, key: bytes | None, lease: int = 0) -> None:
        if key is None:
            del self.fronts[whose]
        else:
            self.fronts[whose] = key, lease

    def lease(self, front: str) -> int:
        return self.leases.setdefault(front, len(self.leases) + 1)

    def endings(self, take: Callable[[bytes], None]) -> FakeRing[bytes]:
        self.ring = FakeRing[bytes](take)
        return self.ring

    def handed(self, take: Callable[[bytes], None]) -> FakeRing[bytes]:
        self.handed_ring = FakeRing[bytes](take)
        return self.handed_ring

    def is_declined(self, done: bytes) -> bool:
        return done in self.declined

    def reap(self, done: bytes, both: bool = False, node: int = 0) -> None:
        self.reaped.append((done, both))
        self.named.append(node)

    def remove(self, keys: Sequence[bytes]) -> None:
        for key in keys:
            self.entries.pop(key, None)

    def halt(self, key: bytes) -> bytes | None:
        return self.route(key)

    def is_gone(self, key: bytes) -> bool:
        return key not in self.connections

    def route(self, key: bytes) -> bytes | None:
        return self.entries.get(key)

    def routes(self, unused_since: float = inf) -> Iterator[list[tuple[bytes, bytes]]]:
        for key, value in list(self.entries.items()):
            if abi.is_express(value) and Entry(key, value).route.used < unused_since:
                yield [(key, value)]

    def install(self, *entries: Entry) -> None:
        """
        As the kernel does.
        """
        self.entries.update({entry.key: entry.packed for entry in entries})

    def decided(self, host: str, path: str) -> list[int]:
        """
        @return: the turns for a request; none if the daemon decides.
        """
        scope = self.planned.scope
        if self.planned.hosts:
            scope = self.scopes.get(host.encode(), scope)
        asked = path.encode()[: abi.LONGEST_PATH]
        fitting = [begin for of, begin in self.prefixes if of == scope and asked.startswith(begin)]
        if not scope or not fitting:
            return []
        return self.sets.get(self.prefixes[scope, max(fitting, key=len)], [])
