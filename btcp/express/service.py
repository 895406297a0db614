# SPDX-License-Identifier: MIT
"""
Service for handoffs by the kernel: decisions, keys, ends of connections.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from attrs import frozen
from twisted.application.internet import TimerService
from twisted.application.service import MultiService
from twisted.internet.interfaces import IDelayedCall, IReactorFDSet, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from btcp.cluster.placement import Placement
from btcp.config import Config
from btcp.control.express import RECORD_SIZE, Subject, Word
from btcp.datapath.ebpf.abi import KEY, is_express, pack_key, reversed_packed
from btcp.datapath.ebpf.express import Destination, ExpressTables, Plan
from btcp.express.closing import Closing
from btcp.express.decisions import Decisions, numbered
from btcp.express.endings import Graveyard, by_front, is_doubtful, of_back_end, own_name
from btcp.express.entries import Entry, reset_client
from btcp.express.news import News, Say
from btcp.express.records import Records
from btcp.handoff.actions import Action
from btcp.handoff.carry import TRAIL
from btcp.handoff.memo import digest
from btcp.handoff.messages import Endpoint, Reason
from btcp.handoff.route import Route
from btcp.logs import Recorder

TICK = 0.25
"""Seconds between removals of flow entries that have lingered long enough."""

SWEEP = 0.25
"""Seconds between two parts of a sweep of the table for connections that have ended unreported."""

SWEEPS = 30.0
"""Minimum seconds between two sweeps of the table; each takes milliseconds with a large table."""

REST = 0.1
"""Seconds between two reads of reported ends; reading many at once costs little more than one."""

LOOKS = 100
"""Doubtful resets that are examined in one turn of the reactor."""

DOUBT = 1.0
"""Seconds after a doubtful reset until the local TCP has received what came before it."""

RETRANSMISSION_TIME = 4.0
"""Seconds within which a client retransmits a request that was not acknowledged within 1 s."""

_NOBODY = 1 << 16
"""A number that no destination has."""

log = Logger()


@frozen(slots=True)
class Held:
    """
    This node's half of an express connection.

    @ivar role: this node's role, C{front} or C{back}.
    @ivar entry: its flow entry.
    @ivar node: the node with the other role, if it is known.
    """

    role: str
    entry: Entry
    node: str | None


@implementer(IReadDescriptor)
class Express(MultiService):
    """
    The daemon's part in handoffs by the kernel: writes decisions and keys to the kernel's tables,
    processes reported ends, and terminates connections.
    """

    def __init__(
        self,
        reactor: Any,
        clock: Callable[[], float],
        config: Callable[[], Config],
        tables: ExpressTables,
        placement: Placement,
        *,
        say: Say,
        perform: Callable[[list[Action]], None],
        draining: Callable[[], bool],
        is_known: Callable[[bytes], bool],
        recorder: Recorder,
        listener: Callable[[Endpoint], str | None],
        counters: Counter[str],
    ) -> None:
        """
        @param reactor: provides C{IReactorTime} and C{IReactorFDSet}.
        @param clock: returns monotonic seconds.
        @param config: returns the current configuration.
        @param tables: the kernel's tables, set up before this service starts.
        @param placement: ranks nodes for requests.
        @param say: sends a message to a node.
        @param perform: executes actions of the core.
        @param draining: returns whether this node adopts no new connections.
        @param is_known: returns whether the core has a flow, given the key of a client's packets.
        @param recorder: writes access log entries.
        @param listener: returns a listener's name, given an endpoint that clients connect to.
        @param counters: the node's counters.
        """
        super().__init__()
        self._reactor: IReactorFDSet = reactor
        self._later: Callable[..., IDelayedCall] = reactor.callLater
        self._clock = clock
        self._config = config
        self._tables = tables
        self._say = say
        self._perform = perform
        self._draining = draining
        self._is_known = is_known
        self._counters = counters
        self._own = config().node
        self._numbers: dict[str, int] = {}
        self._names: dict[int, str] = {}
        self._decisions = Decisions(tables, placement, self._numbers)
        self._placement = placement
        self._graveyard = Graveyard(tables, clock)
        self._heard: list[bytes] = []
        self._news = News(say)
        self._records = Records(
            self._later,
            clock,
            tables,
            recorder,
            node=self._names.get,
            rule=self._decisions.rule,
            listener=listener,
            most=lambda: config().limits.flows,
            counters=counters,
        )
        self._closing = Closing(self._own, tables, self._news, perform, self._records.ended)
        self._resting: IDelayedCall | None = None
        self._renewing: IDelayedCall | None = None
        self._fronts: dict[int, str] = {0: self._own}
        self._sweep: Iterator[None] = iter(())
        self._next_sweep = 0.0
        looks = (TICK, self._graveyard.tick), (SWEEP, self._look_on), (REST, self._records.read)
        for interval, look in looks:
            looking: Any = TimerService(interval, look)
            looking.clock = reactor
            looking.setServiceParent(self)

    # -- service --------------------------------------------------------------

    def startService(self) -> None:
        """
        Start; the tables must exist.
        """
        self._number_nodes()
        names = self._names.items()
        self._fronts.update({number: node for number, node in names if node != self._own})
        self._records.start()
        self._take_stock()
        self._ring = self._tables.endings(self._heard.append)
        self._reactor.addReader(self)
        own = digest(self._own)
        self._know(self._own, key := os.urandom(16))
        self._tables.front(own, key)
        self._renew()
        self._placement.changed = self.renew
        super().startService()

    def _take_stock(self) -> None:
        """
        Count the connections that an earlier daemon left, and remove those that have ended.
        """
        linger = self._config().timeouts.linger + TRAIL
        for entries in self._tables.routes():
            for entry in (Entry(*each) for each in entries):
                self._closing.fronts += entry.front
                self._closing.backs += entry.to_client and not entry.over
                if entry.over and entry.to_client:  # that daemon's queue for removal is lost
                    self._graveyard.bury(entry.done, linger, both=True)
                    if entry.joined:
                        self._graveyard.bury(entry.told, linger)
                if entry.front and not entry.closing:
                    self._records.know(entry)

    def _number_nodes(self) -> None:
        self._numbers.update(numbered(self._config().nodes, self._tables.lease))
        self._names.update({number: name for name, number in self._numbers.items()})

    @property
    def fronts(self) -> int:
        """
        The number of open connections that this node's kernel has handed off, by the datapath's
        counters as last read.
        """
        counted = self._counters
        begun = counted["ebpf.expressed"] - counted["ebpf.regained"]
        return max(begun + self._closing.fronts, 0)

    @property
    def backs(self) -> int:
        """
        The number of open connections that this node's kernel was handed, by the same counters.
        """
        counted = self._counters
        return max(counted["ebpf.adopted"] - counted["ebpf.ended"] + self._closing.backs, 0)

    def stopService(self) -> Any:
        """
        Stop updating the tables, and write the remaining access log entries.
        """
        self._placement.changed = lambda: None
        self._reactor.removeReader(self)
        self._ring.close()
        self._records.stop()
        for call in (self._resting, self._renewing):
            if call is not None and call.active():
                call.cancel()
        return super().stopService()

    # -- what is decided ------------------------------------------------------

    def renew(self) -> None:
        """
        Schedule an update of the decisions, because placement, policy or configuration changed.
        """
        if self._renewing is None:
            self._renewing = self._later(0, self._renew)

    def _renew(self) -> None:
        self._renewing = None
        self._number_nodes()
        self._decisions.renew()
        self._plan(adopts=not self._draining(), decides=True)
        self._decisions.forget_outdated()
        self._records.settle()

    def _plan(self, adopts: bool, decides: bool) -> None:
        decisions = self._decisions
        own, head = digest(self._own), self._config().limits.request
        scope, hosts, records = decisions.scope, decisions.hosts, self._records.wanted
        self._tables.plan(Plan(own, scope, hosts, adopts, decides, head, records))

    # -- the other nodes ------------------------------------------------------

    def peer_up(self, node: str) -> None:
        """
        Process a link that came up: send the node a new key, and make it a destination of handoffs
        once it has confirmed the key.
        """
        key = os.urandom(16)
        word = Word(Subject.KEY, key)
        self._say(node, word, partial(self._know, node, key))
        self._news.tell()

    def peer_down(self, node: str) -> None:
        """
        Process a link that went down: hand nothing more to the node.  Connections continue.
        """
        number = self._numbers.get(node)
        if number is not None:
            self._tables.destination(number, None)

    def peer_lost(self, node: str) -> None:
        """
        Process the loss of a node with its halves of all connections.
        """
        number = self._numbers.get(node)
        for entries in self._tables.routes():
            for entry in (Entry(*each) for each in entries):
                if entry.front:
                    if entry.node == number:
                        self._lose(entry)
                elif entry.to_client and self._fronts.get(entry.node) == node:
                    self._end(entry, Reason.LINK_LOST)
        self._news.forget(node)

    def _know(self, node: str, key: bytes) -> None:
        number, addresses = self._numbers.get(node), self._config().nodes[node].addresses
        if number is None:
            return
        v4 = next((each for each in addresses if len(each) == 4), None)
        v6 = next((each for each in addresses if len(each) == 16), None)
        self._tables.destination(number, Destination(key, v4, v6, node == self._own))

    def said(self, node: str, word: Word) -> None:
        """
        Process a node's message about connections that it shares with this node.
        """
        if word.subject is Subject.KEY:
            lease = self._tables.lease(node)
            self._fronts[lease] = node
            self._tables.front(digest(node), word.data, lease)
        elif word.subject is Subject.ENDED:
            self._closing.fronts -= len(word.data) // RECORD_SIZE
            self._records.told(word.records, word.reason)
            linger = self._config().timeouts.linger + TRAIL
            self._graveyard.bury(word.data, linger, node=self._numbers.get(node, _NOBODY))
        elif word.subject is Subject.BACK:
            self._closing.fronts -= len(word.data) // RECORD_SIZE
            self._records.returned(word.records)
            self._tables.reap(word.data, node=self._numbers.get(node, _NOBODY))
        else:
            self._abandoned(node, word.records)

    def elsewhere(self, key: bytes) -> Route | None:
        """
        See L{btcp.handoff.context.Settings}.
        """
        packed = pack_key(key)
        for each in (packed, reversed_packed(packed)):
            value = self._tables.route(each)
            if value is not None and is_express(value):
                entry = Entry(each, value)
                if not entry.closing and (each is packed or entry.to_client):
                    return entry.route
        return None

    def replace(self, key: bytes, front: Endpoint, iss: int) -> None:
        """
        See L{btcp.handoff.context.Settings}.
        """
        own = reversed_packed(pack_key(key))
        value = self._tables.route(own)
        if value is None or not is_express(value):
            return
        entry = Entry(own, value)
        began_anew = entry.to_client and entry.listener == front and entry.iss != iss
        if began_anew and not entry.over:
            self._counters["express.replaced"] += 1
            self._closing.end_unseen(entry, self._fronts.get(entry.node), Reason.ABANDONED)
            self._news.tell()

    def _abandoned(self, node: str, records: list[bytes]) -> None:
        for record in records:
            entry = self._find(record)
            if entry is not None and self._fronts.get(entry.node) == node:
                self._closing.finish(entry, node, None)

    def _find(self, record: bytes) -> Entry | None:
        """
        Find the flow entry of the response, given a connection's name on this node.
        """
        inbound, numbers = record[: KEY.size], record[KEY.size :]
        own = reversed_packed(inbound)
        packed = self._tables.route(own)
        if packed is None:
            return None
        entry = Entry(own, packed)
        return entry if entry.to_client and entry.done[KEY.size :] == numbers else None

    # -- ends that the kernel reports -----------------------------------------

    def fileno(self) -> int:
        """
        Return the descriptor of the kernel's ring buffer of ended connections.
        """
        return self._ring.fd

    def doRead(self) -> None:
        """
        Process all reported ends, and pause reading for L{REST} seconds.
        """
        self._reactor.removeReader(self)
        self._resting = self._later(REST, self._reactor.addReader, self)
        self._hear()

    def _hear(self) -> None:
        self._ring.consume()
        heard, self._heard[:] = list(self._heard), []
        doubtful = [own_name(each) for each in heard if is_doubtful(each)]
        if doubtful:
            self._later(DOUBT, self._look_again, doubtful)
        endings = [each for each in heard if not is_doubtful(each)]
        if endings:
            self._over(endings)
            self._news.tell()

    def _look_again(self, names: list[bytes]) -> None:
        """
        End the connections that clients have reset, if the local TCP has believed it by now.
        """
        if not self.running:
            return
        if names[LOOKS:]:  # other events are not to wait for all of them
            self._later(0, self._look_again, names[LOOKS:])
        for name in names[:LOOKS]:
            key = name[: KEY.size]
            packed = self._tables.route(key)
            entry = None if packed is None else Entry(key, packed)
            if entry is None or entry.done != name or entry.over:
                continue
            if self._tables.is_gone(key):
                self._counters["express.reset-found"] += 1
                self._end(entry, Reason.RESET_BY_CLIENT)
        self._news.tell()

    def connectionLost(self, reason: Failure) -> None:
        """
        Do nothing: L{stopService} closes the ring buffer.
        """

    def logPrefix(self) -> str:
        """
        See L{twisted.internet.interfaces.ILoggingContext}.
        """
        return "kernel endings"

    def _over(self, endings: list[bytes]) -> None:
        linger = self._config().timeouts.linger + TRAIL
        self._graveyard.bury(of_back_end(endings), linger, both=True)
        for (number, why), told in by_front(endings).items():
            front = self._fronts.get(number)
            if front == self._own:
                self._closing.fronts -= len(told)
                self._records.told(told, why)
                self._graveyard.bury(b"".join(told), linger)
            elif front is not None:
                self._news.add(front, Subject.ENDED, told, why)

    # -- ends that it does not report -----------------------------------------

    def _look_on(self) -> None:
        self._records.look_on()
        if next(self._sweep, self) is not self:
            return
        if self._clock() >= self._next_sweep:
            self._next_sweep = self._clock() + SWEEPS
            self._sweep = self._look_through()

    def _look_through(self) -> Iterator[None]:
        timeouts = self._config().timeouts
        shortest = min(timeouts.established, timeouts.half_closed)
        for entries in self._tables.routes(self._clock() - shortest):
            for each in entries:
                self._look_at(Entry(*each))
            yield

    def _look_at(self, entry: Entry) -> None:
        other = None if entry.front and not entry.joined else self._tables.route(entry.opposite)
        if entry.to_client:
            opposite = None if other is None else Entry(entry.opposite, other).route
            self._look_at_both(entry, opposite)
        elif other is None:
            if self._clock() - entry.route.used > self._config().timeouts.established:
                self._closing.fronts -= entry.front
                self._records.ended(entry.done, Reason.IDLE)
                self._tables.reap(entry.done)

    def _look_at_both(self, entry: Entry, other: Any) -> None:
        timeouts, route = self._config().timeouts, entry.route
        used = route.used if other is None else max(route.used, other.used)
        closing = route.fin is not None or (other is not None and other.fin is not None)
        wait = timeouts.half_closed if closing else timeouts.established
        if self._clock() - used > wait:
            self._counters["express.idle"] += 1
            self._end(entry, Reason.IDLE)
            self._news.tell()

    def stop(self) -> None:
        """
        End all connections because this node is stopping, and remove those that have ended.  The
        kernel has stopped forwarding.
        """
        self._plan(adopts=False, decides=False)
        self._hear()
        for entries in self._tables.routes():
            for entry in (Entry(*each) for each in entries):
                if entry.over:
                    keys = [entry.key, entry.opposite] if entry.to_client else [entry.key]
                    self._tables.remove(keys)
                elif entry.front:
                    self._abandon(entry, Reason.STOPPING)
                elif entry.to_client and entry.holds and not entry.route.packets:
                    self._closing.finish(entry, self._fronts.get(entry.node), Subject.BACK)
                elif entry.to_client:
                    self._end(entry, Reason.STOPPING)
        self._news.tell()

    def shut_down(self, client: Endpoint) -> int:
        """
        Reset all connections of a client's endpoint, as front-end and as back-end.

        @return: the number of connections.
        """
        count = 0
        for entries in self._tables.routes():
            for entry in (Entry(*each) for each in entries):
                if entry.client != client or entry.over:
                    continue
                if entry.to_client:
                    self._end(entry, Reason.ABANDONED)
                elif entry.front and not entry.joined:
                    self._abandon(entry, Reason.ABANDONED)
                else:
                    continue
                count += 1
        self._news.tell()
        return count

    def held(self) -> Iterator[Held]:
        """
        Iterate over this node's halves of all express connections.
        """
        for entries in self._tables.routes():
            for entry in (Entry(*each) for each in entries):
                if entry.front:
                    yield Held("front", entry, self._names.get(entry.node))
                elif entry.to_client:
                    yield Held("back", entry, self._fronts.get(entry.node))

    def _abandon(self, entry: Entry, why: Reason) -> None:
        self._closing.abandon(entry, self._names.get(entry.node), why)

    def _end(self, entry: Entry, why: Reason) -> None:
        self._closing.end(entry, self._fronts.get(entry.node), why)

    def _lose(self, entry: Entry) -> None:
        self._counters["express.lost"] += 1
        if self._closing.lose(entry):
            self._later(RETRANSMISSION_TIME, self._lose_finally, entry)

    def _lose_finally(self, entry: Entry) -> None:
        """
        Reset a client whose back-end was lost, if it has not retransmitted its request in time:
        its request must have been acknowledged, and it waits for a response.
        """
        came = self._is_known(entry.route.key) or self._tables.route(entry.key) is not None
        if self.running and not came:
            self._perform(reset_client(entry, None))
        if self.running:
            self._records.lost(entry.done)
