# SPDX-License-Identifier: MIT
"""
Access log entries of express connections: the fields of L{btcp.handoff.record}, as far as kernel
and back-end report them.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice

from attrs import define
from twisted.internet.interfaces import IDelayedCall

from btcp.content.contract import ContentError, RequestKey
from btcp.content.http import HttpReader
from btcp.datapath.ebpf import abi
from btcp.datapath.ebpf.express import ExpressTables
from btcp.datapath.ebpf.libbpf import Ring
from btcp.express.entries import Entry
from btcp.handoff.actions import Event, Note
from btcp.handoff.flows import receiver, sender
from btcp.handoff.messages import Endpoint, Reason
from btcp.handoff.record import Fields
from btcp.logs import Recorder

MOST_DUE = 4096
"""Number of queued entries from which entries of handoffs are dropped."""

UTMOST_DUE = 8192
"""Number of queued entries from which entries of ends are dropped as well.  A daemon that stops
writes all queued entries, which takes about a second."""

PORTION = 16
"""Number of entries written in one turn of the reactor, which takes a millisecond or two."""

SOUGHT = 1024
"""Number of connections whose flow entry is looked up in one turn of the sweep."""

SEEKS = 30.0
"""Minimum seconds between two sweeps, by when all reports about a connection have arrived."""

_AT_ITS_LAST_PACKET = frozenset((Reason.CLOSED, Reason.RESET_BY_CLIENT, Reason.RESET_BY_ORIGIN))
"""Reasons of ends that happened at the connection's last packet, before the report arrived."""


@define(slots=True, eq=False)
class Handed:
    """
    An express connection of which this node is the front-end.

    @ivar name: its name on this node, a C{struct btcp_done}.
    @ivar node: its back-end; C{None} if it is not known yet.
    @ivar rule: the rule of the map that applies, as text.
    @ivar started: when it was handed off, in monotonic seconds; C{None} if unknown.
    @ivar head: the head of its request, until it is parsed.
    @ivar returned: whether it was returned to the daemon before its entry was written.
    @ivar missed: whether the last sweep found no flow entry.
    """

    name: bytes
    node: str | None = None
    rule: str | None = None
    started: float | None = None
    head: bytes = b""
    returned: bool = False
    missed: bool = False
    _request: RequestKey | None = None

    @property
    def client(self) -> Endpoint:
        """
        The client's endpoint.
        """
        return sender(abi.unpack_key(self.name[: abi.KEY.size]))

    @property
    def front(self) -> Endpoint:
        """
        The endpoint that the client connected to.
        """
        return receiver(abi.unpack_key(self.name[: abi.KEY.size]))

    @property
    def request(self) -> RequestKey | None:
        """
        The request; C{None} if it is unknown.  The head is parsed at the first access.
        """
        if self.head:
            head, self.head = self.head, b""
            try:
                self._request = HttpReader(len(head)).feed(head)
            except ContentError:  # the kernel does not hand off such requests
                pass
        return self._request


class Records:
    """
    Writer of the access log entries of express connections.  It keeps the data of open connections
    for the entry at their end.

    With C{log.connections: errors} a request is parsed only if its connection fails.
    """

    def __init__(
        self,
        later: Callable[..., IDelayedCall],
        clock: Callable[[], float],
        tables: ExpressTables,
        recorder: Recorder,
        *,
        node: Callable[[int], str | None],
        rule: Callable[[int], str | None],
        listener: Callable[[Endpoint], str | None],
        most: Callable[[], int],
        counters: Counter[str],
    ) -> None:
        """
        @param later: C{IReactorTime.callLater}.
        @param clock: returns monotonic seconds.
        @param tables: the kernel's tables.
        @param recorder: writes access log entries.
        @param node: returns a node's name, given its number.
        @param rule: returns the rule of a replica set, given its number.
        @param listener: returns a listener's name, given an endpoint that clients connect to.
        @param most: returns the maximum number of connections to keep.
        """
        self._later = later
        self._clock = clock
        self._tables = tables
        self._recorder = recorder
        self._node = node
        self._rule = rule
        self._listener = listener
        self._most = most
        self._counters = counters
        self._open: dict[bytes, Handed] = {}
        self._due: deque[Callable[[], None]] = deque()
        self._writing: IDelayedCall | None = None
        self._seeking: Iterator[bytes] = iter(())
        self._next_seek = 0.0
        self._ring: Ring | None = None

    def start(self) -> None:
        """
        Start; the tables must exist.
        """
        self._ring = self._tables.handed(self._take)

    def stop(self) -> None:
        """
        Write all queued entries, and stop.
        """
        self.read()
        while self._due:
            self._due.popleft()()
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None
        if self._ring is not None:
            self._ring.close()
            self._ring = None

    @property
    def wanted(self) -> bool:
        """
        C{True} if the kernel has to report what it hands off.
        """
        return self._recorder.wanted != "off"

    def settle(self) -> None:
        """
        Discard everything if entries are no longer wanted, after the kernel was told so.
        """
        if not self.wanted and self._ring is not None:
            self._ring.consume()
            self._open.clear()
            self._due.clear()

    # -- how they begin -------------------------------------------------------

    def know(self, entry: Entry) -> None:
        """
        Add a connection that an earlier daemon's kernel programs handed off.

        @param entry: the front-end's flow entry.
        """
        if self.wanted and len(self._open) < self._most():
            self._open[entry.done] = Handed(entry.done, self._node(entry.node))

    def read(self) -> None:
        """
        Read the kernel's reports of handoffs.  To be called periodically.
        """
        if self._hears():
            self._write_soon()

    def _hears(self) -> bool:
        """
        Read all reports of handoffs up to now.

        @return: whether entries are wanted.
        """
        if self._ring is None or not self.wanted:
            return False
        self._ring.consume()
        return True

    def _take(self, told: bytes) -> None:
        """
        Process a report of a handoff.

        @param told: a C{struct btcp_handed}, followed by the request's head.
        """
        if not self.wanted:
            return
        name, number, node, kind, at = abi.HANDED.unpack_from(told)
        before = self._open.pop(name, None)
        if kind == abi.HANDED_BACK:
            if before is not None:
                before.returned = True
            return
        if len(self._open) >= self._most():
            self._counters["express.unrecorded"] += 1
            return
        head = told[abi.HANDED.size :]
        handed = Handed(name, self._node(node), self._rule(number), at * 1e-9, head)
        self._open[name] = handed
        if self._recorder.wants(Event.HANDED_OFF):
            self._record(partial(self._write_decision, handed), MOST_DUE)

    # -- how they end ---------------------------------------------------------

    def told(self, names: Iterable[bytes], why: Reason) -> None:
        """
        Process reports, by the kernel or a back-end, that connections have ended.

        @param names: the connections' names on this node.
        """
        if not self._hears():
            return
        for name in names:
            handed = self._open.pop(name, None)
            if self._recorder.wants(Event.ENDED, why.value):
                self._end(handed or Handed(name), why)
        self._write_soon()

    def ended(self, name: bytes, why: Reason) -> None:
        """
        Log that this node ends a connection, whose flow entry still exists.  Nothing is written if
        its end was logged already.
        """
        if not self._hears():
            return
        handed = self._open.pop(name, None)
        if handed is not None and self._recorder.wants(Event.ENDED, why.value):
            self._end(handed, why)
            self._write_soon()

    def returned(self, names: Iterable[bytes]) -> None:
        """
        Process connections that a stopping back-end returns before their response has begun.
        """
        if not self._hears():
            return
        for name in names:
            handed = self._open.pop(name, None)
            if handed is not None:
                self._record(partial(self._write_refusal, handed), UTMOST_DUE)
        self._write_soon()

    def lost(self, name: bytes) -> None:
        """
        Log the end of a connection whose back-end was lost before it answered, unless another node
        or the core has taken it over since.
        """
        if self._hears() and name in self._open and self._entry(name) is None:
            self._give_up(name, Reason.LINK_LOST)

    def look_on(self) -> None:
        """
        Look for connections without a flow entry: if the client reuses the port, no end is
        reported.  To be called periodically; each call examines a part.
        """
        names = list(islice(self._seeking, SOUGHT))
        for name in names:
            handed = self._open.get(name)
            if handed is not None:
                self._seek(handed)
        if not names and self._clock() >= self._next_seek:
            self._next_seek = self._clock() + SEEKS
            self._seeking = iter(list(self._open))

    def _seek(self, handed: Handed) -> None:
        if self._entry(handed.name) is not None:
            handed.missed = False
        elif not handed.missed:
            handed.missed = True
        else:
            self._give_up(handed.name, Reason.ABANDONED)

    def _give_up(self, name: bytes, why: Reason) -> None:
        if self._tables.is_declined(name):  # the core has taken the connection over and logs it
            del self._open[name]
        else:
            self.ended(name, why)

    def _entry(self, name: bytes) -> Entry | None:
        """
        Look up the front-end's flow entry of a connection.

        @return: L{None} if there is none, or it belongs to another connection.
        """
        key = name[: abi.KEY.size]
        packed = self._tables.route(key)
        if packed is None or not abi.is_express(packed):
            return None
        entry = Entry(key, packed)
        return entry if entry.front and entry.done == name else None

    def _end(self, handed: Handed, why: Reason) -> None:
        entry, now = self._entry(handed.name), self._clock()
        if entry is None and handed.node is None:
            return
        received = sent = None
        if entry is not None:  # read now, because it will be removed soon
            handed.node = handed.node or self._node(entry.node)
            received, sent = entry.octets(why is Reason.CLOSED)
            now = entry.used if why in _AT_ITS_LAST_PACKET else now
        seconds = None if handed.started is None else round(max(now - handed.started, 0.0), 6)
        known: Fields = {"seconds": seconds, "octets_in": received, "octets_out": sent}
        self._record(partial(self._write_end, handed, known, why), UTMOST_DUE)

    # -- what is written ------------------------------------------------------

    def _record(self, write: Callable[[], None], most: int) -> None:
        if len(self._due) < most:
            self._due.append(write)
        else:
            self._counters["express.unrecorded"] += 1

    def _write_soon(self) -> None:
        if self._due and self._writing is None:
            self._writing = self._later(0, self._write)

    def _write(self) -> None:
        self._writing = None
        for _ in range(min(len(self._due), PORTION)):
            self._due.popleft()()
        self._write_soon()

    def _write_decision(self, handed: Handed) -> None:
        if handed.returned:
            return
        # The time of the adoption is unknown, and the connection is known from its request on only.
        fields = self._about(handed) | {"handoff_seconds": None, "seconds": 0.0}
        self._recorder(Note(Event.HANDED_OFF, "handed off {client} {request} to {node}", fields))

    def _write_end(self, handed: Handed, known: Fields, why: Reason) -> None:
        what = "ended {client} {reason}"
        if handed.started is not None:
            what += " after {seconds:.3f} s"
        fields = self._about(handed) | known | {"reason": why.value}
        self._recorder(Note(Event.ENDED, what, fields))

    def _write_refusal(self, handed: Handed) -> None:
        about: Fields = {"node": handed.node, "client": handed.client}
        fields = about | {"reason": Reason.STOPPING.value}
        self._recorder(Note(Event.REFUSED, "{node} refused {client}: {reason}", fields))

    def _about(self, handed: Handed) -> Fields:
        return {
            "client": handed.client,
            "front": handed.front,
            "listener": self._listener(handed.front),
            "request": handed.request,
            "rule": handed.rule,
            "node": handed.node,
            "adoption": "cookie",
        }
