# SPDX-License-Identifier: MIT
"""
The state that both halves of the core share: settings, counters, the time, and the actions of the
current call.
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
from btcp.handoff.messages import Adopted, Capabilities, Endpoint, Handoff, Refused, Terminate
from btcp.handoff.route import Route
from btcp.wire.build import compose
from btcp.wire.segment import Segment

_TICKS_PER_SECOND = 1000
"""Rate of the timestamp clock, which is that of Linux."""

_ISN_TICKS_PER_SECOND = 250_000
"""Rate of the initial sequence number's clock: 4 microseconds per tick (RFC 9293, 3.4.1)."""

NEVER = inf
"""The deadline of a flow without a timer."""

SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""Methods that only read (RFC 9110, 9.2.1), so origins may execute them twice."""

Message = Handoff | Adopted | Refused | Terminate


@frozen(slots=True, kw_only=True)
class Periods:
    """
    Timeouts in seconds; see C{docs/configuration.md}.
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
    Settings of the core.

    @ivar node: this node's name.
    @ivar listeners: packed address and port (2 octets) to the listener's name.
    @ivar readers: for listeners that do not expect HTTP: listener name to a factory of readers,
        given the maximum number of octets.
    @ivar origins: listener name and IP version to the packed address and port of this node's
        origin.
    @ivar retries: listener name to the methods, besides L{SAFE}, of requests that may be handed to
        another node although an origin may have received them.
    @ivar place: ranks the nodes for a request, most preferred first; returns C{None} if no node
        holds the content.
    @ivar rule: returns the rule that applies to a request, as text for the access log.
    @ivar periods: timeouts.
    @ivar max_flows: maximum number of flows in each half's table.
    @ivar max_half_open: maximum number of connections without a complete handshake and request.
    @ivar max_request: maximum octets of a request's head.
    @ivar silence: returns the seconds since a peer was known to be alive and to have received a
        message of this node.
    @ivar lease: seconds of silence after which a front-end may have considered this node lost.
    @ivar admits: whether the datapath executes C{Admit}, so that adoption needs no replay.
    @ivar reports: whether the datapath follows FINs by itself and reports them.
    @ivar elsewhere: returns the flow entry of an offloaded connection, which the core does not
        know, by the key of its packets.
    @ivar replace: ends an offloaded connection, given the key of its client's packets to the local
        TCP, if it came by this front-end endpoint and began with another initial sequence number
        than this: then its client has begun anew.
    @ivar draining: returns whether this node refuses handoffs because it drains.
    @ivar remembers: whether the datapath executes C{Remember}, so that flows survive the daemon.
    @ivar first_number: the number of this daemon's first handoff, greater than all earlier ones.
    @ivar window_scale: the window scale in every SYN/ACK.
    @ivar secret: 16 to 64 random octets, the key of initial sequence numbers.
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
    replace: Callable[[bytes, Endpoint, int], None] = lambda key, front, iss: None
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
        Make the reader for the first octets of a connection to C{listener}.
        """
        return self.readers.get(listener, HttpReader)(self.max_request)


@define(slots=True)
class Context:
    """
    The shared state of one core.

    @ivar promise: the TCP features that all nodes of the cluster support.
    @ivar counters: counts of events, by name.
    @ivar now: the time of the current call, in monotonic seconds.
    @ivar actions: the actions of the current call, in order.
    @ivar local: queued messages between the halves of this node: whether the message is for the
        back-end half, and the message.
    """

    settings: Settings
    promise: Capabilities
    counters: Counter[str] = field(factory=Counter)
    now: float = 0.0
    actions: list[Action] = field(factory=list)
    local: deque[tuple[bool, Message]] = field(factory=deque)

    def begin(self, now: float) -> list[Action]:
        """
        Begin a call into the core.

        @return: the list to which this call's actions will be appended.
        """
        self.now = now
        self.actions = []
        return self.actions

    def count(self, name: str) -> None:
        """
        Increment a counter.
        """
        self.counters[name] += 1

    def note(self, event: Event, what: str, **fields: object) -> None:
        """
        Append an access log entry to the actions.
        """
        self.actions.append(Note(event, what, fields))

    def to_back(self, node: str, message: Handoff | Terminate) -> None:
        """
        Send a message of the front-end half to a back-end, which may be this node.
        """
        if node == self.settings.node:
            self.local.append((True, message))
        else:
            self.actions.append(Send(node, message))

    def to_front(self, node: str, message: Adopted | Refused | Terminate) -> None:
        """
        Send a message of the back-end half to a front-end, which may be this node.
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
        Compose a segment and send it to the network.
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
        Compose a segment and deliver it to the local TCP.
        """
        self.actions.append(Deliver(compose(key, seq, ack, flags, window, options, payload)))

    def pass_on(self, segment: Segment, local: bool) -> None:
        """
        Forward a received packet unchanged, to the local TCP or to the network.
        """
        self.actions.append(Deliver(segment) if local else Transmit(segment))

    def initial_sequence_number(self, key: bytes) -> int:
        """
        Choose an initial sequence number: a clock plus a keyed hash of the connection's addresses
        and ports (RFC 6528).
        """
        digest = blake2b(key, digest_size=4, key=self.settings.secret).digest()
        ticks = int(self.now * _ISN_TICKS_PER_SECOND)
        return (int.from_bytes(digest, "big") + ticks) & 0xFFFFFFFF

    def timestamp(self, key: bytes) -> int:
        """
        Compute the current TSval for a pair of hosts.  It is monotonic over all their connections
        (RFC 7323, 5.3) and does not reveal the host's uptime.
        """
        digest = blake2b(key[:-4], digest_size=4, key=self.settings.secret).digest()
        return (int.from_bytes(digest, "big") + self.ticks()) & 0xFFFFFFFF

    def ticks(self) -> int:
        """
        Return the timestamp clock, in milliseconds.
        """
        return int(self.now * _TICKS_PER_SECOND)
