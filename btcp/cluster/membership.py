# SPDX-License-Identifier: MIT
"""
The nodes of the cluster as this one sees them: who may get new connections, and how many.

No I/O here: the owner tells what happened and passes on what is to be said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from math import inf
from typing import Protocol

from attrs import define, evolve, field
from twisted.logger import Logger

from btcp.cluster.ejection import BLAMED, Blame, Patience
from btcp.cluster.meter import Load
from btcp.cluster.state import FULL, Admin, Decision, Health, Report, Subject
from btcp.handoff.messages import Reason

__all__ = ["Admin", "Health", "Membership"]

FAINTEST = 0.05
"""The share of its weight that a node begins with when it comes back."""

_NOTHING = Report(
    fronts=0, backs=0, rate=0, cpu=None, health=Health.UNCHECKED, why="", state=Admin.READY
)

log = Logger()


class NodeSettings(Protocol):
    """
    What is used of C{btcp.config.Node}.
    """

    @property
    def weight(self) -> int: ...


class Settings(Protocol):
    """
    What is used of C{btcp.config.Config}.
    """

    @property
    def node(self) -> str: ...

    @property
    def nodes(self) -> Mapping[str, NodeSettings]: ...

    @property
    def slow_start(self) -> float: ...


class Memory(Protocol):
    """
    Keeps decisions over a restart.
    """

    def read(self) -> list[Decision]:
        """
        @return: what was written last; nothing if that is not there or damaged.
        """
        ...

    def write(self, decisions: Iterable[Decision]) -> None:
        """
        Keep all of these.
        """
        ...


@define(eq=False)
class Member:
    """
    One node.

    @ivar weight: as configured.
    @ivar admin: what an operator wants of it.
    @ivar percent: of its weight that an operator wants it to have.
    @ivar linked: it can be spoken to.
    @ivar epoch: L{None} if it was never seen.
    @ivar report: its latest, if it ever gave one.
    @ivar blame: what its origin refused of us.
    @ivar able: it may get new connections.
    @ivar since: when that last changed.
    @ivar rising: when its weight began to grow.
    @ivar told: the weight that placement knows.
    """

    name: str
    weight: int
    since: float
    blame: Blame = field(factory=Blame)
    admin: Admin = Admin.READY
    percent: int = FULL
    linked: bool = False
    epoch: int | None = None
    report: Report | None = None
    able: bool = False
    rising: float = -inf
    told: float | None = None

    @property
    def health(self) -> Health:
        """
        As the node says itself.
        """
        return Health.UNCHECKED if self.report is None else self.report.health

    def may_get_connections(self) -> bool:
        """
        Whether all that decides over it agrees.
        """
        return (
            self.linked
            and self.admin is Admin.READY
            and self.percent > 0
            and self.health is not Health.DOWN
            and not self.blame.standing
        )


class Membership:
    """
    What this node knows of all nodes, itself included.
    """

    def __init__(
        self,
        config: Settings,
        *,
        epoch: int,
        clock: Callable[[], float],
        memory: Memory,
        spread: Callable[[Decision, str | None], None],
        weigh: Callable[[str, float], None],
        loaded: Callable[[str, int], None],
        measure: Callable[[], Load],
        counters: Counter[str],
        patience: Mapping[str, Patience] | None = None,
    ) -> None:
        """
        @param epoch: of this node.
        @param clock: monotonic seconds.
        @param spread: tells a decision to one node, or with L{None} to all that can be
            spoken to.
        @param weigh: is told the weight that a node has in placement whenever that changes,
            0 for a node that shall get nothing new.
        @param loaded: is told how many connections a node's origin has.
        @param measure: this node's own load.
        @param patience: by listener, what refusals take a node out; of others none do.
        """
        self._own = config.node
        self._slow_start = config.slow_start
        self._clock = clock
        self._memory = memory
        self._spread = spread
        self._weigh = weigh
        self._loaded = loaded
        self._measure = measure
        self._counters = counters
        self._patience = patience or {}
        now = clock()
        self._members = {
            name: Member(name, node.weight, now) for name, node in config.nodes.items()
        }
        own = self._members[self._own]
        own.linked, own.epoch = True, epoch
        self._decisions: dict[tuple[str, Subject], Decision] = {}
        for decision in memory.read():
            self._learn(decision)
        for member in self._members.values():
            self._judge(member, gently=False)

    def configure(self, config: Settings, patience: Mapping[str, Patience]) -> None:
        """
        Go by another configuration; it has all nodes of the present one.

        @param patience: as at the beginning.
        """
        self._slow_start = config.slow_start
        self._patience = patience
        for name, node in config.nodes.items():
            member = self._members.setdefault(name, Member(name, node.weight, self._clock()))
            member.weight = node.weight
            self._judge(member)

    # -- what an operator says ------------------------------------------------

    def set_state(self, node: str, state: Admin) -> None:
        """
        Say what is wanted of a node; all nodes are told and remember it.

        @raise KeyError: if there is no such node.
        """
        self._decide(node, Subject.STATE, state.value)

    def set_weight(self, node: str, percent: int) -> None:
        """
        Say how much of its configured weight a node shall have; all nodes are told and
        remember it.

        @param percent: 0 to 100; with 0 it gets no new connections.
        @raise KeyError: if there is no such node.
        @raise ValueError: if C{percent} is out of its range.
        """
        self._decide(node, Subject.WEIGHT, str(percent))

    def _decide(self, node: str, subject: Subject, value: str) -> None:
        self._members[node]  # a KeyError if there is none
        counter = 1 + max((known.counter for known in self._decisions.values()), default=0)
        decision = Decision(node=node, subject=subject, value=value, counter=counter, by=self._own)
        self._take(decision)

    def decided(self, node: str, decision: Decision) -> None:
        """
        C{node} knows of a decision.
        """
        if decision.node not in self._members:
            # One of us has an older configuration; whoever gets the newer one asks again.
            self._counters["membership.unknown-node"] += 1
        elif self._is_news(decision):
            self._take(decision)

    def _is_news(self, decision: Decision) -> bool:
        known = self._decisions.get((decision.node, decision.subject))
        return known is None or decision.stamp > known.stamp

    def _take(self, decision: Decision) -> None:
        self._learn(decision)
        self._judge(self._members[decision.node])
        log.info(
            "{node} is to have {subject} {value}, said on {by}",
            node=decision.node,
            subject=decision.subject.value,
            value=decision.value,
            by=decision.by,
        )
        self._memory.write(self._decisions.values())
        # To whom told us as well, and on: not every pair of nodes need have a link.
        self._spread(decision, None)

    def _learn(self, decision: Decision) -> None:
        member = self._members.get(decision.node)
        if member is None or not self._is_news(decision):
            return
        self._decisions[decision.node, decision.subject] = decision
        if decision.subject is Subject.STATE:
            member.admin = Admin(decision.value)
        else:
            member.percent = int(decision.value)

    # -- what happens ---------------------------------------------------------

    def link_up(self, node: str, epoch: int) -> None:
        """
        A node can be spoken to: tell it what is decided.
        """
        member = self._members[node]
        known = member.epoch
        member.linked, member.epoch = True, epoch
        if known != epoch:
            member.report = None
        # When this node has just started, it knows nothing of a coming back.
        self._judge(member, gently=known is not None)
        for decision in self._decisions.values():
            self._spread(decision, node)

    def link_down(self, node: str) -> None:
        """
        A node cannot be spoken to.
        """
        self._members[node].linked = False
        self._judge(self._members[node])

    def reported(self, node: str, report: Report) -> None:
        """
        How a node is, by its own account; of this node too.
        """
        member = self._members[node]
        was, member.report = member.health, report
        self._loaded(node, report.backs)
        if report.health is not was:
            log.info(
                "origin of {node} is {health}: {why}",
                node=node,
                health=report.health.value,
                why=report.why or "nothing is wrong",
            )
            if report.health is Health.UP:
                member.blame.forget()
        self._judge(member)

    def report(self) -> Report:
        """
        @return: how this very node is.
        """
        own, load = self._members[self._own], self._measure()
        report = Report(
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
        What checks found of this very node's origin.
        """
        self.reported(self._own, evolve(self.report(), health=health, why=why))

    def refused(self, node: str, listener: str, reason: Reason) -> None:
        """
        The origin of a node did not take a connection.
        """
        patience = self._patience.get(listener)
        member = self._members.get(node)
        if patience is None or member is None or reason not in BLAMED:
            return
        if member.blame.add(self._clock(), patience):
            log.warn("{node} refuses too much ({reason})", node=node, reason=reason.value)
            self._counters["health.blamed"] += 1
            self._judge(member)

    def _judge(self, member: Member, gently: bool = True) -> None:
        """
        Something has changed that decides over a node.

        @param gently: if it may get connections from now on, let them be few at first.
        """
        able = member.may_get_connections()
        if able is not member.able:
            member.able, member.since = able, self._clock()
            if able and gently:
                member.rising = member.since
        weight = self.weight_of(member.name) if able else 0.0
        if weight != member.told:
            member.told = weight
            self._weigh(member.name, weight)

    def tick(self) -> None:
        """
        Some time has passed; to be called about every second.
        """
        now = self._clock()
        for member in self._members.values():
            member.blame.over(now)
            self._judge(member)

    # -- what placement asks --------------------------------------------------

    def eligible(self, node: str) -> bool:
        """
        Whether new connections may go to a node's origin.
        """
        return self._members[node].able

    def weight_of(self, node: str) -> float:
        """
        How large a node's share of them is to be, beside those of others: its configured
        weight, less what an operator or a slow start takes off.
        """
        member = self._members[node]
        full = member.weight * member.percent / FULL
        age = self._clock() - member.rising
        if age >= self._slow_start:
            return full
        return full * max(FAINTEST, age / self._slow_start)

    def report_of(self, node: str) -> Report | None:
        """
        A node's latest account of itself, if it ever gave one.
        """
        return self._members[node].report

    # -- what others ask ------------------------------------------------------

    @property
    def state(self) -> Admin:
        """
        What is wanted of this very node.
        """
        return self._members[self._own].admin

    def drained(self, node: str) -> bool:
        """
        Whether a node that is to have no new connections knows that, and has none left.

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
        @return: for each node what is known of it; C{since} is in seconds before now, C{load}
            the busy share of its processors, C{rate} its new connections per second.
        """
        self.report()  # of ourselves nobody else tells us
        return list(map(self._row, self._members.values()))

    def _row(self, member: Member) -> dict[str, object]:
        report = member.report or evolve(_NOTHING, state=member.admin)
        own = member.name == self._own
        return {
            "node": member.name,
            "admin": member.admin.value,
            "health": member.health.value,
            "why": member.blame.why or report.why,
            "link": "self" if own else "up" if member.linked else "down",
            "epoch": member.epoch,
            "eligible": member.able,
            "drained": self.drained(member.name),
            "weight": round(self.weight_of(member.name), 3),
            "percent": member.percent,
            "load": report.cpu,
            "rate": report.rate,
            "fronts": report.fronts,
            "backs": report.backs,
            "since": round(self._clock() - member.since, 1),
        }
