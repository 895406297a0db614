# SPDX-License-Identifier: MIT
"""
Membership: which nodes are eligible for new connections, and with which weight.

This module does no I/O.  Its owner calls it with events (links, reports, refusals, operators'
commands), and it calls back with decisions to broadcast and weights for placement.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from math import inf
from typing import Protocol

from attrs import define, evolve, field
from twisted.logger import Logger

from btcp.cluster.ejection import EJECTING_REASONS, Ejection, EjectionThreshold
from btcp.cluster.meter import LoadReading
from btcp.cluster.state import FULL, Admin, Decision, DecisionSubject, Health, NodeReport
from btcp.handoff.messages import Reason

__all__ = ["Admin", "Health", "Membership"]

MAX_STEP = 1 << 32
"""The most by which the counter of a peer's decision may exceed all that are known.  Decisions of
operators are that many apart only if a peer makes its counters up: with the largest number, no
operator could ever decide otherwise."""

INITIAL_SHARE = 0.05
"""The share of its weight with which a node begins slow start."""

_NOTHING = NodeReport(
    fronts=0, backs=0, rate=0, cpu=None, health=Health.UNCHECKED, why="", state=Admin.READY
)

log = Logger()


class NodeSettings(Protocol):
    """
    The part of C{btcp.config.Node} that membership uses.
    """

    @property
    def weight(self) -> int: ...


class ClusterSettings(Protocol):
    """
    The part of C{btcp.config.Config} that membership uses.
    """

    @property
    def node(self) -> str: ...

    @property
    def nodes(self) -> Mapping[str, NodeSettings]: ...

    @property
    def slow_start(self) -> float: ...


class DecisionStorage(Protocol):
    """
    Storage that keeps decisions across restarts.
    """

    def read(self) -> list[Decision]:
        """
        Return the decisions last written; empty if there are none or they are damaged.
        """
        ...

    def write(self, decisions: Iterable[Decision]) -> None:
        """
        Replace the stored decisions.
        """
        ...


@define(eq=False)
class Member:
    """
    State of one node of the cluster, as this node knows it.  Times are in monotonic seconds.

    @ivar weight: the configured weight.
    @ivar since: when C{eligible} last changed.
    @ivar ejection: passive health: the refusals of its origin that this node has seen.
    @ivar admin: the administrative state that an operator has set.
    @ivar percent: the percentage of its configured weight that an operator has set.
    @ivar linked: whether the control link to it is up.
    @ivar epoch: the number of its daemon's incarnation; L{None} if it was never seen.
    @ivar report: its latest report, if it has sent any.
    @ivar eligible: whether it may get new connections.
    @ivar ramp_start: when its last slow start began.
    @ivar placed_weight: the weight last passed to placement.
    """

    name: str
    weight: int
    since: float
    ejection: Ejection = field(factory=Ejection)
    admin: Admin = Admin.READY
    percent: int = FULL
    linked: bool = False
    epoch: int | None = None
    report: NodeReport | None = None
    eligible: bool = False
    ramp_start: float = -inf
    placed_weight: float | None = None

    @property
    def health(self) -> Health:
        """
        The health that the node reported last.
        """
        return Health.UNCHECKED if self.report is None else self.report.health

    def may_get_connections(self) -> bool:
        """
        Return whether link, administrative state, weight, health and ejection all permit new
        connections.
        """
        return (
            self.linked
            and self.admin is Admin.READY
            and self.percent > 0
            and self.health is not Health.DOWN
            and not self.ejection.active
        )


class Membership:
    """
    The state of all nodes of the cluster, this one included, as this node knows it.
    """

    def __init__(
        self,
        config: ClusterSettings,
        *,
        epoch: int,
        clock: Callable[[], float],
        storage: DecisionStorage,
        broadcast: Callable[[Decision, str | None], None],
        on_weight: Callable[[str, float], None],
        on_load: Callable[[str, int], None],
        measure: Callable[[], LoadReading],
        counters: Counter[str],
        thresholds: Mapping[str, EjectionThreshold] | None = None,
    ) -> None:
        """
        @param epoch: this node's epoch.
        @param clock: returns monotonic seconds.
        @param storage: keeps decisions across restarts.
        @param broadcast: sends a decision to one node, or with L{None} to all linked nodes.
        @param on_weight: called with a node and its effective weight whenever that changes; 0
            means no new connections.
        @param on_load: called with a node and the number of its origin's connections.
        @param measure: returns this node's own load.
        @param counters: the node's counters.
        @param thresholds: the ejection threshold of each listener; refusals at listeners that
            are absent eject no node.
        """
        self._own = config.node
        self._slow_start = config.slow_start
        self._clock = clock
        self._storage = storage
        self._broadcast = broadcast
        self._on_weight = on_weight
        self._on_load = on_load
        self._measure = measure
        self._counters = counters
        self._thresholds = thresholds or {}
        now = clock()
        self._members = {
            name: Member(name, node.weight, now) for name, node in config.nodes.items()
        }
        own = self._members[self._own]
        own.linked, own.epoch = True, epoch
        self._decisions: dict[tuple[str, DecisionSubject], Decision] = {}
        for decision in storage.read():
            self._apply(decision)
        for member in self._members.values():
            self._evaluate(member, slow_start=False)

    def configure(
        self, config: ClusterSettings, thresholds: Mapping[str, EjectionThreshold]
    ) -> None:
        """
        Apply a new configuration, which must contain all nodes of the present one.

        @param thresholds: see L{__init__}.
        """
        self._slow_start = config.slow_start
        self._thresholds = thresholds
        for name, node in config.nodes.items():
            member = self._members.setdefault(name, Member(name, node.weight, self._clock()))
            member.weight = node.weight
            self._evaluate(member)

    # -- decisions of operators ------------------------------------------------

    def set_state(self, node: str, state: Admin) -> None:
        """
        Set a node's administrative state; the decision is stored and sent to all nodes.

        @raise KeyError: if there is no such node.
        """
        self._decide(node, DecisionSubject.STATE, state.value)

    def set_weight(self, node: str, percent: int) -> None:
        """
        Set the percentage of its configured weight that a node has; the decision is stored
        and sent to all nodes.

        @param percent: 0 to 100; with 0 it gets no new connections.
        @raise KeyError: if there is no such node.
        @raise ValueError: if C{percent} is out of its range.
        """
        self._decide(node, DecisionSubject.WEIGHT, str(percent))

    def _decide(self, node: str, subject: DecisionSubject, value: str) -> None:
        self._members[node]  # a KeyError if there is none
        counter = 1 + self._last_counter()
        decision = Decision(node=node, subject=subject, value=value, counter=counter, by=self._own)
        self._accept(decision)

    def decided(self, node: str, decision: Decision) -> None:
        """
        Process a decision received from C{node}; older ones than the known are ignored.
        """
        if decision.node not in self._members:
            # This node or the peer has an older configuration.  The peer sends all decisions
            # again when the link next comes up, see link_up.
            self._counters["membership.unknown-node"] += 1
        elif not self._is_credible(decision):
            self._counters["membership.incredible-decision"] += 1
        elif self._is_newer(decision):
            self._accept(decision)

    def _is_credible(self, decision: Decision) -> bool:
        """
        Return whether an operator's next decision can have a greater counter.
        """
        return decision.counter <= self._last_counter() + MAX_STEP

    def _last_counter(self) -> int:
        return max((known.counter for known in self._decisions.values()), default=0)

    def _is_newer(self, decision: Decision) -> bool:
        known = self._decisions.get((decision.node, decision.subject))
        return known is None or decision.stamp > known.stamp

    def _accept(self, decision: Decision) -> None:
        self._apply(decision)
        self._evaluate(self._members[decision.node])
        log.info(
            "{subject} of {node} set to {value} by an operator on {by}",
            node=decision.node,
            subject=decision.subject.value,
            value=decision.value,
            by=decision.by,
        )
        self._storage.write(self._decisions.values())
        # Flooded to all peers, even to the one that sent it: not every pair of nodes has a link.
        self._broadcast(decision, None)

    def _apply(self, decision: Decision) -> None:
        member = self._members.get(decision.node)
        if member is None or not self._is_newer(decision):
            return
        self._decisions[decision.node, decision.subject] = decision
        if decision.subject is DecisionSubject.STATE:
            member.admin = Admin(decision.value)
        else:
            member.percent = int(decision.value)

    # -- events -----------------------------------------------------------------

    def link_up(self, node: str, epoch: int) -> None:
        """
        Process a control link that came up, and send the peer all decisions.

        @param epoch: the peer's epoch.
        """
        member = self._members[node]
        known = member.epoch
        member.linked, member.epoch = True, epoch
        if known != epoch:
            member.report = None
        # No slow start at first contact: this node may have started after the peer.
        self._evaluate(member, slow_start=known is not None)
        for decision in self._decisions.values():
            self._broadcast(decision, node)

    def link_down(self, node: str) -> None:
        """
        Process a control link that went down.
        """
        self._members[node].linked = False
        self._evaluate(self._members[node])

    def reported(self, node: str, report: NodeReport) -> None:
        """
        Process a node's report of itself, or this node's own.
        """
        member = self._members[node]
        was, member.report = member.health, report
        self._on_load(node, report.backs)
        if report.health is not was:
            announce = log.warn if report.health is Health.DOWN else log.info
            announce(
                "health of {node}'s origin: {health} ({why})",
                node=node,
                health=report.health.value,
                why=report.why or "no failure",
            )
            if report.health is Health.UP:
                member.ejection.reset()
        self._evaluate(member)

    def report(self) -> NodeReport:
        """
        Compose this node's report of itself from its load, health and administrative state.
        """
        own, load = self._members[self._own], self._measure()
        report = NodeReport(
            fronts=load.fronts,
            backs=load.backs,
            rate=round(load.rate),
            cpu=load.cpu,
            health=own.health,
            why="" if own.report is None else own.report.why,
            state=own.admin,
        )
        self.reported(self._own, report)
        return report

    def checked(self, health: Health, why: str) -> None:
        """
        Process a change of the result of this node's own health checks.

        @param why: the failure found, empty if there is none.
        """
        self.reported(self._own, evolve(self.report(), health=health, why=why))

    def refused(self, node: str, listener: str, reason: Reason) -> None:
        """
        Process a node's refusal of a handoff, which may eject the node.
        """
        threshold = self._thresholds.get(listener)
        member = self._members.get(node)
        if threshold is None or member is None or reason not in EJECTING_REASONS:
            return
        if member.ejection.record_refusal(self._clock(), threshold):
            log.warn(
                "{node} ejected: its origin refused {count} connections, the last with {reason}",
                node=node,
                count=threshold.refusals,
                reason=reason.value,
            )
            self._counters["health.ejected"] += 1
            self._evaluate(member)

    def _evaluate(self, member: Member, slow_start: bool = True) -> None:
        """
        Recompute a node's eligibility and effective weight, and report changes of the weight.

        @param slow_start: if the node becomes eligible, begin a slow start.
        """
        eligible = member.may_get_connections()
        if eligible is not member.eligible:
            member.eligible, member.since = eligible, self._clock()
            if eligible and slow_start:
                member.ramp_start = member.since
        weight = self.weight_of(member.name) if eligible else 0.0
        if weight != member.placed_weight:
            member.placed_weight = weight
            self._on_weight(member.name, weight)

    def tick(self) -> None:
        """
        Expire ejections and advance slow starts.  To be called about once a second.
        """
        now = self._clock()
        for member in self._members.values():
            member.ejection.expire(now)
            self._evaluate(member)

    # -- queries by placement --------------------------------------------------

    def eligible(self, node: str) -> bool:
        """
        Return whether new connections may go to a node's origin.
        """
        return self._members[node].eligible

    def weight_of(self, node: str) -> float:
        """
        Compute a node's effective weight: the configured weight, reduced by the operator's
        percentage and by a slow start.
        """
        member = self._members[node]
        full = member.weight * member.percent / FULL
        age = self._clock() - member.ramp_start
        if age >= self._slow_start:
            return full
        return full * max(INITIAL_SHARE, age / self._slow_start)

    def report_of(self, node: str) -> NodeReport | None:
        """
        Return a node's latest report, if it has sent any.
        """
        return self._members[node].report

    # -- queries by others ------------------------------------------------------

    @property
    def state(self) -> Admin:
        """
        The administrative state of this node.
        """
        return self._members[self._own].admin

    def drained(self, node: str) -> bool:
        """
        Return whether a node in drain or maintenance has confirmed that state and has no
        connections left.

        @raise KeyError: if there is no such node.
        """
        member = self._members[node]
        report = member.report
        return (
            member.admin is not Admin.READY
            and report is not None
            and report.state is member.admin
            and report.backs == 0
        )

    def show(self) -> list[dict[str, object]]:
        """
        Return one row per node for the management interface.

        C{since} is the time since the last change of eligibility in seconds, C{load} the busy
        share of the node's processors, C{rate} its new connections per second.
        """
        self.report()  # updates this node's own row, of which no peer reports
        return list(map(self._row, self._members.values()))

    def _row(self, member: Member) -> dict[str, object]:
        report = member.report or evolve(_NOTHING, state=member.admin)
        own = member.name == self._own
        return {
            "node": member.name,
            "admin": member.admin.value,
            "health": member.health.value,
            "why": member.ejection.reason or report.why,
            "link": "self" if own else "up" if member.linked else "down",
            "epoch": member.epoch,
            "eligible": member.eligible,
            "drained": self.drained(member.name),
            "weight": round(self.weight_of(member.name), 3),
            "percent": member.percent,
            "load": report.cpu,
            "rate": report.rate,
            "fronts": report.fronts,
            "backs": report.backs,
            "since": round(self._clock() - member.since, 1),
        }
