# SPDX-License-Identifier: MIT
"""
The configuration as frozen values.  Names are those of the file, C{-} written C{_}.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from btcp.partition.contract import PartitionMap, PolicyChoice

MAX_SECONDS = 604800
"""No duration is longer than a week: more is a slip, such as milliseconds."""

HEARTBEAT = 1.0
"""Seconds between two signs of life of a link, if the file does not say."""

DATAPATHS = ("auto", "ebpf", "raw")
"""C{auto} is the first of the others that the host passes."""

ADOPTIONS = ("auto", "cookie", "replay")
"""C{auto} is the first of the others that the host passes."""

CONTENTS = ("http", "tls")
"""What connections may begin with; the first, unless the file says another."""

CHECKS = ("http", "https", "tcp", "tls", "handoff")
"""How an origin can be asked whether it is well."""

DEFAULT_WEIGHT = 100
MAX_WEIGHT = 10_000


LOG_FORMATS = ("text", "json")
LOG_LEVELS = ("debug", "info", "warn", "error")
LOG_CONNECTIONS = ("all", "errors", "off")


def _limit(default: int, low: int, high: int) -> Any:
    return field(default=default, metadata={"range": (low, high)})


@frozen(slots=True)
class Node:
    """
    One host of the cluster.

    @ivar addresses: packed, 4 or 16 octets each; at least one.  The first of a family
        is where other nodes forward that family's packets to.
    @ivar control: the IP address, in text, and the port its control channel listens on.
    @ivar weight: its share of what several nodes hold is as large as this, beside the
        weights of the others.
    @ivar manage: the same of where operators with certificates are listened to; L{None}:
        nowhere.
    """

    name: str
    addresses: tuple[bytes, ...]
    control: tuple[str, int]
    weight: int = DEFAULT_WEIGHT
    manage: tuple[str, int] | None = None


@frozen(slots=True, kw_only=True)
class Check:
    """
    How each node checks its own origin.

    @ivar kind: one of L{CHECKS}.
    @ivar client: for a handoff: the address, in text, of the client that there is not.
    @ivar path: to ask for.
    @ivar host: what to call the origin; C{None} for its address.
    @ivar status: ranges of what it may answer, both ends included.
    @ivar body: a regular expression that must match somewhere in the first octets of
        what it answers; C{None} for anything.
    @ivar interval: seconds from one check to the next,
    @ivar fast_interval: and while one more could change what is thought of the origin.
    @ivar timeout: seconds for one check.
    @ivar rise: good checks in a row after which it is up.
    @ivar fall: failed checks in a row after which it is down; and connections that it
        refuses, in one C{window}, after which a front-end leaves it alone.
    @ivar window: seconds, also for how long.
    @ivar jitter: per cent of an interval, by which it is longer or shorter at random.
    """

    kind: str
    client: str | None = None
    path: str = "/"
    host: str | None = None
    status: tuple[tuple[int, int], ...] = ((200, 399),)
    body: str | None = None
    interval: float = 2.0
    fast_interval: float = 0.5
    timeout: float = 1.0
    rise: int = 2
    fall: int = 3
    window: float = 5.0
    jitter: int = 10


@frozen(slots=True)
class Listener:
    """
    Where the cluster answers clients.

    @ivar port: clients connect to it.
    @ivar addresses: packed; empty for every node's own.
    @ivar origin: the unmodified server's port, at the node's own addresses.
    @ivar health: how that is checked; C{None}: it is not.
    @ivar content: one of L{CONTENTS}: what its connections begin with, and are routed by.
    """

    name: str
    port: int
    addresses: tuple[bytes, ...]
    origin: int
    health: Check | None = None
    content: str = CONTENTS[0]


@frozen(slots=True)
class Credentials:
    """
    Absolute paths of PEM files.

    @ivar certificate: the node's own, followed by those between it and its authority.
    @ivar key: the private key of C{certificate}.
    @ivar authority: the certificates of whoever signs for the cluster's nodes.
    """

    certificate: str
    key: str
    authority: str


@frozen(slots=True)
class Control:
    """
    The control channel.

    @ivar credentials: for mutual TLS; L{None}: neither encrypted nor authenticated.
    @ivar heartbeat: seconds between two signs of life.
    """

    credentials: Credentials | None
    heartbeat: float = HEARTBEAT

    @property
    def insecure(self) -> bool:
        """
        Whether the channel is neither encrypted nor authenticated.
        """
        return self.credentials is None


@frozen(slots=True)
class Timeouts:
    """
    Seconds, each more than 0 and at most L{MAX_SECONDS}.

    @ivar handshake: from the client's SYN to its ACK.
    @ivar request: from then to a complete request head.
    @ivar handoff: from asking a node to its answer; then the next replica is asked.
    @ivar established: without a packet of a flow that both sides keep open.
    @ivar half_closed: without a packet of a flow that one side has closed.
    @ivar linger: from a flow's end to freeing what answers its late packets.
    @ivar link_grace: from losing a control link to giving up its flows.
    @ivar restart_grace: the same, if the other host is there, its daemon is not, and
        its flows survive that.
    """

    handshake: float = 5.0
    request: float = 10.0
    handoff: float = 1.0
    established: float = 900.0
    half_closed: float = 120.0
    linger: float = 2.0
    link_grace: float = 1.0
    restart_grace: float = 30.0


@frozen(slots=True)
class Limits:
    """
    What a node holds at most.

    @ivar flows: flows, front-end and back-end halves together.
    @ivar half_open: flows without a complete handshake and request.
    @ivar request: octets of a request head.  32768 and no more, for a handoff carries
        it in one control message of less than 65536 octets, beside all else.
    """

    flows: int = _limit(262144, 1, 16777216)
    half_open: int = _limit(16384, 1, 1048576)
    request: int = _limit(16384, 64, 32768)


@frozen(slots=True, kw_only=True)
class Log:
    """
    What is written down.  As long as neither format nor level nor file are said, C{twistd}
    writes the log as it does for all its plugins.

    @ivar format: one of L{LOG_FORMATS}.
    @ivar level: one of L{LOG_LEVELS}: the least that is written.
    @ivar connections: one of L{LOG_CONNECTIONS}: which records of connections.
    @ivar file: an absolute path; L{None} for where C{twistd} would write.
    """

    format: str | None = None
    level: str | None = None
    connections: str = "all"
    file: str | None = None

    @property
    def own(self) -> bool:
        """
        Whether the log is written by us and not by C{twistd}.
        """
        return (self.format, self.level, self.file) != (None, None, None)


@frozen(slots=True, kw_only=True)
class Config:
    """
    All that one node is told.

    @ivar node: the name of this host, a key of C{nodes}.
    @ivar device: the cluster-facing network device; L{None} for the one that holds the
        node's first address.
    @ivar run: absolute path of the directory for the management socket and the record
        of what to clean up after a crash.
    @ivar user: whom a daemon that is started by root becomes; L{None} to stay root.
    @ivar state: absolute path of the directory for what a restart must not forget.
    @ivar slow_start: seconds in which a node that comes back gets its whole weight again.
    @ivar datapath: one of L{DATAPATHS}.
    @ivar adoption: one of L{ADOPTIONS}.
    @ivar express: the kernel hands connections off by itself where the map allows it.
    @ivar policy: of rules that do not name one.
    @ivar window_scale: 0-14, promised to every client; the same on every node.
    """

    node: str
    nodes: Mapping[str, Node]
    listeners: tuple[Listener, ...]
    partition: PartitionMap
    control: Control
    device: str | None = None
    run: str = "/run/btcp"
    user: str | None = None
    state: str = "/var/lib/btcp"
    slow_start: float = 0.0
    datapath: str = "auto"
    adoption: str = "auto"
    express: bool = False
    policy: PolicyChoice = PolicyChoice()
    timeouts: Timeouts = Timeouts()
    limits: Limits = Limits()
    log: Log = Log()
    window_scale: int = 7

    @property
    def ways(self) -> tuple[str, str]:
        """
        Datapath and adoption, as they have to be.
        """
        return ("ebpf", "cookie") if self.express else (self.datapath, self.adoption)

    @property
    def own(self) -> Node:
        """
        The node this host is.
        """
        return self.nodes[self.node]

    def listener_addresses(self, listener: Listener, node: Node) -> tuple[bytes, ...]:
        """
        The addresses, packed, at which clients of C{listener} can reach C{node}.
        """
        return listener.addresses or node.addresses
