# SPDX-License-Identifier: MIT
"""
Immutable values of the configuration.  Attributes have the names of the file's keys, with C{_}
for C{-}.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from btcp.partition.contract import PartitionMap, PolicyChoice

MAX_SECONDS = 604800
"""Longest duration accepted, a week; a larger value is probably in milliseconds."""

HEARTBEAT = 1.0
"""Default interval of a control link's heartbeats, in seconds."""

DATAPATHS = ("auto", "ebpf", "raw")
"""Datapaths; C{auto} selects the first of the others that the host supports."""

ADOPTIONS = ("auto", "cookie", "replay")
"""Methods of adoption; C{auto} selects the first of the others that the host supports."""

CONTENTS = ("http", "tls")
"""Protocols by which connections can be routed; the first is the default."""

CHECKS = ("http", "https", "tcp", "tls", "handoff")
"""Kinds of health checks."""

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
    A node of the cluster.

    @ivar addresses: packed addresses, 4 or 16 octets each; at least one.  Other nodes forward
        packets of an address family to the first address of that family.
    @ivar control: address (as text) and port of its control channel.
    @ivar weight: its share of new connections, relative to the weights of the other nodes of
        a replica set.
    @ivar manage: address (as text) and port of its management interface for operators with
        certificates; L{None} for none.
    """

    name: str
    addresses: tuple[bytes, ...]
    control: tuple[str, int]
    weight: int = DEFAULT_WEIGHT
    manage: tuple[str, int] | None = None


@frozen(slots=True, kw_only=True)
class Check:
    """
    Health checks of a listener's origins; each node checks its own origin.

    @ivar kind: one of L{CHECKS}.
    @ivar client: for checks by handoff, the source address (as text) of the synthetic client.
    @ivar path: the path that is requested.
    @ivar host: the C{Host} header field or TLS server name; C{None} for the origin's address.
    @ivar status: inclusive ranges of status codes that pass.
    @ivar body: a regular expression that must match in the first octets of the response body;
        C{None} if any body passes.
    @ivar interval: seconds between checks.
    @ivar fast_interval: seconds between checks while the state is about to change, that is
        between the first deviating result and C{rise} or C{fall} of them.
    @ivar timeout: seconds that one check may take.
    @ivar rise: consecutive passed checks that mark the origin as up.
    @ivar fall: consecutive failed checks that mark the origin as down; also the number of
        refused connections within C{window} for which a front-end ejects the node.
    @ivar window: seconds; also the duration of the ejection.
    @ivar jitter: maximum random deviation of the intervals, in per cent.
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


RETRIABLE = ("PUT", "DELETE")
"""The methods that are idempotent but not safe (RFC 9110, 9.2.2)."""


@frozen(slots=True)
class Listener:
    """
    A port to which clients connect, and the origin server behind it.

    @ivar port: the TCP port that clients connect to.
    @ivar addresses: packed addresses that clients connect to; empty for those of the nodes.
    @ivar origin: the origin server's TCP port, at the node's own addresses.
    @ivar health: the health checks of the origin; C{None} for none.
    @ivar content: one of L{CONTENTS}: the protocol by which connections are routed.
    @ivar retry: methods, besides the safe ones, of requests that may be handed to another node
        although an origin may have received them.
    """

    name: str
    port: int
    addresses: tuple[bytes, ...]
    origin: int
    health: Check | None = None
    content: str = CONTENTS[0]
    retry: tuple[str, ...] = ()


@frozen(slots=True)
class Credentials:
    """
    Absolute paths of the PEM files for mutual TLS between the nodes.

    @ivar certificate: the node's certificate, followed by intermediate certificates.
    @ivar key: the private key of the node's certificate.
    @ivar authority: the certificates of the authorities that sign the nodes' certificates.
    """

    certificate: str
    key: str
    authority: str


@frozen(slots=True)
class Control:
    """
    Settings of the control channel.

    @ivar credentials: files for mutual TLS; L{None} if the channel is neither encrypted nor
        authenticated.
    @ivar heartbeat: seconds between heartbeats.
    """

    credentials: Credentials | None
    heartbeat: float = HEARTBEAT

    @property
    def insecure(self) -> bool:
        """
        C{True} if the channel is neither encrypted nor authenticated.
        """
        return self.credentials is None


@frozen(slots=True)
class Timeouts:
    """
    Timeouts in seconds, each more than 0 and at most L{MAX_SECONDS}.

    @ivar handshake: from the client's SYN to its ACK.
    @ivar request: from the client's ACK to a complete request head.
    @ivar handoff: from a handoff message to its answer; then the next replica is tried.
    @ivar established: idle time of a connection that both sides keep open.
    @ivar half_closed: idle time of a connection that one side has closed.
    @ivar linger: from the end of a connection to the removal of its flow entries, which
        handle late packets.
    @ivar link_grace: from the loss of a control link to the end of the flows that depend on
        it.
    @ivar restart_grace: the same, if the peer's host is reachable, its daemon is not, and its
        flows survive a restart of the daemon.
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
    Bounds of a node's tables.

    @ivar flows: flows, front-end and back-end halves together.
    @ivar half_open: flows whose handshake or request is incomplete.
    @ivar request: octets of a request head.  At most 32768, because a handoff carries the
        request head and all else in one control message of less than 65536 octets.
    """

    flows: int = _limit(262144, 1, 16777216)
    half_open: int = _limit(16384, 1, 1048576)
    request: int = _limit(16384, 64, 32768)


@frozen(slots=True, kw_only=True)
class Log:
    """
    Settings of the log.  Without format, level and file, C{twistd} writes the log in its own
    format.

    @ivar format: one of L{LOG_FORMATS}, or L{None}.
    @ivar level: one of L{LOG_LEVELS}, the lowest level that is written, or L{None}.
    @ivar connections: one of L{LOG_CONNECTIONS}, the access log entries that are written.
    @ivar file: an absolute path; L{None} for the destination that C{twistd} chooses.
    """

    format: str | None = None
    level: str | None = None
    connections: str = "all"
    file: str | None = None

    @property
    def own(self) -> bool:
        """
        C{True} if BTCP writes the log itself, instead of C{twistd}.
        """
        return (self.format, self.level, self.file) != (None, None, None)


@frozen(slots=True, kw_only=True)
class Config:
    """
    The whole configuration of a node.

    @ivar node: the name of this host's node, a key of C{nodes}.
    @ivar device: the network device that clients and nodes are reached through; L{None} for
        the one that has the node's first address.
    @ivar run: absolute path of the directory of the management socket and of the list of
        what to clean up after a crash.
    @ivar user: the user that a daemon started by root changes to; L{None} to stay root.
    @ivar state: absolute path of the directory of persistent state.
    @ivar slow_start: seconds in which the weight of a node that becomes eligible grows to its
        full value; 0 for no slow start.
    @ivar datapath: one of L{DATAPATHS}.
    @ivar adoption: one of L{ADOPTIONS}.
    @ivar express: whether the kernel hands connections off by itself where the map allows it.
    @ivar policy: the policy of rules that name none.
    @ivar window_scale: the window scale of every SYN/ACK to clients, 0-14; the same on every
        node.
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
        Datapath and adoption with the requirements of C{express} applied.
        """
        return ("ebpf", "cookie") if self.express else (self.datapath, self.adoption)

    @property
    def own(self) -> Node:
        """
        This host's node.
        """
        return self.nodes[self.node]

    def listener_addresses(self, listener: Listener, node: Node) -> tuple[bytes, ...]:
        """
        Return the packed addresses at which clients of C{listener} can reach C{node}.
        """
        return listener.addresses or node.addresses
