# SPDX-License-Identifier: MIT
"""
What is put on record of express connections: the fields of L{btcp.handoff.record}, as far as
kernel and back-end tell them.
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
"""Records that wait to be written before those of handoffs are left out."""

UTMOST_DUE = 8192
"""Records that wait before those of ends are, too, which say more.  A daemon that stops writes them
all, which takes about a second."""

PORTION = 16
"""Records written in one turn of the reactor: a millisecond or two."""

SOUGHT = 1024
"""Connections of which it is seen in one turn whether they are still there."""

SEEKS = 30.0
"""Seconds, at least, between two times that one is sought: by then all news of it have come."""

_AT_ITS_LAST_PACKET = frozenset((Reason.CLOSED, Reason.RESET_BY_CLIENT, Reason.RESET_BY_ORIGIN))
"""Connections that end so were over then; the news of it came later."""


@define(slots=True, eq=False)
class Handed:
    """
    A connection of which this node is the front-end.

    @ivar name: C{struct btcp_done}, of the client's packets.
    @ivar node: its back-end; C{None} if it is not known yet.
    @ivar rule: what of the map assigned it to its nodes.
    @ivar started: monotonic seconds; C{None}: its beginning is not known.
    @ivar head: of its request, until somebody asks what that was.
    @ivar returned: it became another's to hand off, before its record was written.
    @ivar missed: the last time that it was sought, it had no route.
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
        The client's end.
        """
        return sender(abi.unpack_key(self.name[: abi.KEY.size]))

    @property
    def front(self) -> Endpoint:
        """
        The end that the client connected to.
        """
        return receiver(abi.unpack_key(self.name[: abi.KEY.size]))

    @property
    def request(self) -> RequestKey | None:
        """
        What was asked for; C{None} if that is not known.
        """
        if self.head:
            head, self.head = self.head, b""
            try:
                self._request = HttpReader(len(head)).feed(head)
            except ContentError:  # the kernel takes no such head
                pass
        return self._request


class Records:
    """
    Keeps of each connection what its second record has to say, and writes both.

    With C{log.connections: errors} nobody asks what was requested until something has failed.
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
        @param later: as C{IReactorTime.callLater}.
        @param clock: monotonic seconds.
        @param node: the name of the node with this number.
        @param rule: that of the replica set with this number.
        @param listener: the name of the one at which clients connect to this end.
        @param most: connections that may be kept.
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
        Begin; the tables are there.
        """
        self._ring = self._tables.handed(self._take)

    def stop(self) -> None:
        """
        Write what is still to be written, and nothing more.
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
        Whether the kernel shall tell of what it hands off.
        """
        return self._recorder.wanted != "off"

    def settle(self) -> None:
        """
        What is wanted may be something else, and the kernel knows.
        """
        if not self.wanted and self._ring is not None:
            self._ring.consume()
            self._open.clear()
            self._due.clear()

    # -- how they begin -------------------------------------------------------

    def know(self, entry: Entry) -> None:
        """
        An earlier daemon's.

        @param entry: of the front-end.
        """
        if self.wanted and len(self._open) < self._most():
            self._open[entry.done] = Handed(entry.done, self._node(entry.node))

    def read(self) -> None:
        """
        Hear of what was handed off.  To be called every now and then.
        """
        if self._hears():
            self._write_soon()

    def _hears(self) -> bool:
        """
        Have heard of all that was handed off by now.

        @return: whether any of it is to be recorded.
        """
        if self._ring is None or not self.wanted:
            return False
        self._ring.consume()
        return True

    def _take(self, told: bytes) -> None:
        """
        @param told: C{struct btcp_handed}, and the request's head.
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
        Kernel or back-end say that these are over.

        @param names: of each a C{struct btcp_done}, of the client's packets.
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
        This node ends one, whose route is still there; nothing is written of one that was
        over.
        """
        if not self._hears():
            return
        handed = self._open.pop(name, None)
        if handed is not None and self._recorder.wants(Event.ENDED, why.value):
            self._end(handed, why)
            self._write_soon()

    def returned(self, names: Iterable[bytes]) -> None:
        """
        A back-end that stops has begun no answer to these; what comes of them begins anew.
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
        The back-end was lost some seconds ago, before it answered.  By now another has the
        connection, or the core; or nobody.
        """
        if self._hears() and name in self._open and self._entry(name) is None:
            self._give_up(name, Reason.LINK_LOST)

    def look_on(self) -> None:
        """
        Seek some of the connections: one whose ports the client has used again may end without
        any news of it.  To be called every now and then.
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
        if self._tables.is_declined(name):  # the core has the last word
            del self._open[name]
        else:
            self.ended(name, why)

    def _entry(self, name: bytes) -> Entry | None:
        """
        @return: the front-end's half, if it is still this connection's.
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
        if entry is not None:  # it will not be there for long
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
        # Nobody says when the back-end had it; and the request is what we remember first.
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
