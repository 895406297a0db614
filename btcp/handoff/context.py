# SPDX-License-Identifier: MIT
"""
What both halves of the core share: settings, counters, the time, and the
actions of the present call.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from hashlib import blake2b
from math import inf

from attrs import define, field, frozen

from btcp.content.contract import ContentReader, RequestKey
from btcp.content.http import HttpReader
from btcp.handoff.actions import Action, Deliver, Event, Note, Reply, Send, Transmit
from btcp.handoff.messages import Adopted, Capabilities, Handoff, Refused, Terminate
from btcp.handoff.route import Route
from btcp.wire.build import compose
from btcp.wire.segment import Segment

_TICKS_PER_SECOND = 1000
"""Of our TSval: milliseconds, as Linux counts them."""

_ISN_TICKS_PER_SECOND = 250_000
"""RFC 9293, 3.4.1: one every 4 microseconds."""

NEVER = inf
"""The deadline of a flow that has none."""

SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""Methods that only read (RFC 9110, 9.2.1), so origins may execute them twice."""

Message = Handoff | Adopted | Refused | Terminate


@frozen(slots=True, kw_only=True)
class Periods:
    """
    Seconds; see C{docs/configuration.md}.
    """

    handshake: float = 5.0
    request: float = 10.0
    handoff: float = 1.0
    established: float = 900.0
    half_closed: float = 120.0
    linger: float = 2.0


@frozen(slots=True, kw_only=True)
class Settings:
    """
    @ivar node: this node's name.
    @ivar listeners: packed address and port (2 octets) to the listener's name.
    @ivar readers: of the listeners whose connections do not begin with HTTP: listener name to
        what makes a reader that takes so many octets.
    @ivar origins: listener name and IP version to the packed address and the
        port of this node's origin.
    @ivar retries: listener name to the methods, besides L{SAFE}, of requests that may be handed to
        another node although an origin may have received them.
    @ivar place: the nodes that should answer a request, best first; C{None} if
        no node holds it.
    @ivar rule: what assigned a request to those nodes, for the record.
    @ivar periods: timeouts.
    @ivar max_flows: bound of each half's table.
    @ivar max_half_open: bound on connections whose handshake is not complete.
    @ivar max_request: bound on the octets of a request's head.
    @ivar silence: seconds since a peer was certainly there and knew that we are.
    @ivar lease: a front-end that was silent for longer, in seconds, may have given
        us up; in any shorter time it cannot have.
    @ivar admits: the datapath knows C{Admit}, so adoption needs no replay.
    @ivar reports: the datapath follows FINs by itself and reports them.
    @ivar elsewhere: the route of packets with a key, of a connection that is not over and of
        which this core does not know.
    @ivar draining: whether this node adopts nothing new.
    @ivar remembers: the datapath knows C{Remember}, so flows survive this daemon.
    @ivar first_number: no flow before had this number, or a greater one.
    @ivar window_scale: what every SYN/ACK promises.
    @ivar secret: 16 to 64 random octets; initial sequence numbers come from it.
    """

    node: str
    listeners: Mapping[bytes, str]
    origins: Mapping[tuple[str, int], tuple[bytes, int]]
    place: Callable[[RequestKey], list[str] | None]
    rule: Callable[[RequestKey], str | None] = lambda key: None
    retries: Mapping[str, tuple[str, ...]] = field(factory=dict)
    readers: Mapping[str, Callable[[int], ContentReader]] = field(factory=dict)
    periods: Periods = field(factory=Periods)
    max_flows: int = 262_144
    max_half_open: int = 16_384
    max_request: int = 16_384
    window_scale: int = 7
    silence: Callable[[str], float] = lambda peer: 0.0
    lease: float = inf
    admits: bool = False
    reports: bool = False
    elsewhere: Callable[[bytes], Route | None] = lambda key: None
    draining: Callable[[], bool] = lambda: False
    remembers: bool = False
    first_number: int = 1
    secret: bytes

    def may_retry(self, listener: str, key: RequestKey) -> bool:
        """
        Return whether a request that an origin may have received may be handed to another node
        (RFC 9110, 9.2.2).  A ClientHello may: it executes nothing.
        """
        if key.kind != "http":
            return True
        return key.method in SAFE or key.method in self.retries.get(listener, ())

    def reader(self, listener: str) -> ContentReader:
        """
        @return: what reads the beginning of a new connection to C{listener}.
        """
        return self.readers.get(listener, HttpReader)(self.max_request)


@define(slots=True)
class Context:
    """
    @ivar promise: what every node of the cluster can keep.
    @ivar now: of the present call; seconds, monotonic.
    @ivar actions: of the present call, in order.
    @ivar local: what one half of this node says to the other: whether to the
        back-end's half, and the message.
    """

    settings: Settings
    promise: Capabilities
    counters: Counter[str] = field(factory=Counter)
    now: float = 0.0
    actions: list[Action] = field(factory=list)
    local: deque[tuple[bool, Message]] = field(factory=deque)

    def begin(self, now: float) -> list[Action]:
        """
        Start a call from the shell.

        @return: the list that this call's actions are going to be in.
        """
        self.now = now
        self.actions = []
        return self.actions

    def count(self, name: str) -> None:
        """
        Move a counter.
        """
        self.counters[name] += 1

    def note(self, event: Event, what: str, **fields: object) -> None:
        """
        Put something on record.
        """
        self.actions.append(Note(event, what, fields))

    def to_back(self, node: str, message: Handoff | Terminate) -> None:
        """
        As a front-end, say something to a back-end, which may be this very node.
        """
        if node == self.settings.node:
            self.local.append((True, message))
        else:
            self.actions.append(Send(node, message))

    def to_front(self, node: str, message: Adopted | Refused | Terminate) -> None:
        """
        As a back-end, say something to a front-end, which may be this very node.
        """
        if node == self.settings.node:
            self.local.append((False, message))
        elif isinstance(message, Terminate):
            self.actions.append(Send(node, message))
        else:
            self.actions.append(Reply(node, message))

    def transmit(
        self,
        key: bytes,
        seq: int,
        ack: int,
        flags: int,
        window: int = 0,
        options: bytes = b"",
        payload: bytes = b"",
    ) -> None:
        """
        Send a segment of our own making to the network.
        """
        self.actions.append(Transmit(compose(key, seq, ack, flags, window, options, payload)))

    def deliver(
        self,
        key: bytes,
        seq: int,
        ack: int,
        flags: int,
        window: int = 0,
        options: bytes = b"",
        payload: bytes = b"",
    ) -> None:
        """
        Give a segment of our own making to the local TCP.
        """
        self.actions.append(Deliver(compose(key, seq, ack, flags, window, options, payload)))

    def pass_on(self, segment: Segment, local: bool) -> None:
        """
        Let a packet go its way.
        """
        self.actions.append(Deliver(segment) if local else Transmit(segment))

    def initial_sequence_number(self, key: bytes) -> int:
        """
        RFC 6528: a clock, and a secret function of the connection's ends.
        """
        digest = blake2b(key, digest_size=4, key=self.settings.secret).digest()
        ticks = int(self.now * _ISN_TICKS_PER_SECOND)
        return (int.from_bytes(digest, "big") + ticks) & 0xFFFFFFFF

    def timestamp(self, key: bytes) -> int:
        """
        Our TSval for a pair of hosts: monotonic over all their connections
        (RFC 7323, 5.3), and telling nobody how long this host is up.
        """
        digest = blake2b(key[:-4], digest_size=4, key=self.settings.secret).digest()
        return (int.from_bytes(digest, "big") + self.ticks()) & 0xFFFFFFFF

    def ticks(self) -> int:
        """
        The clock of our timestamps.
        """
        return int(self.now * _TICKS_PER_SECOND)
