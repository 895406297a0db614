# SPDX-License-Identifier: MIT
"""
Values about nodes that the nodes exchange: operators' decisions, and reports of load and health.
"""

from __future__ import annotations

import re
from enum import StrEnum

from attrs import field, frozen

FULL = 100
"""The percentage that stands for the whole configured weight."""

_PERCENT = re.compile(r"(?:0|[1-9][0-9]?|100)\Z")


class Admin(StrEnum):
    """
    Administrative state of a node, set by an operator.
    """

    READY = "ready"
    DRAIN = "drain"
    MAINT = "maint"


class Health(StrEnum):
    """
    Result of the health checks of a node's origin.
    """

    UNCHECKED = "unchecked"
    UP = "up"
    DOWN = "down"


class DecisionSubject(StrEnum):
    """
    The property of a node that a decision sets.
    """

    STATE = "state"
    WEIGHT = "weight"


def _sensible(decision: Decision, _: object, value: str) -> None:
    if decision.subject is DecisionSubject.STATE:
        Admin(value)
    elif not (isinstance(value, str) and _PERCENT.match(value)):
        raise ValueError(f"a weight of {value!r} is not 0 to {FULL}")


@frozen(slots=True, kw_only=True)
class Decision:
    """
    An operator's setting of one property of one node, replicated to all nodes.

    Of two decisions about the same property the one with the greater L{stamp} wins, on every
    node and in whatever order they arrive (last writer wins, by Lamport clock).

    @ivar node: the node that the decision is about.
    @ivar subject: the property that it sets.
    @ivar value: a value of L{Admin} for the state; a decimal percentage for the weight.
    @ivar counter: Lamport clock: greater than that of every decision that C{by} knew.
    @ivar by: the node at which the operator gave the command.
    """

    node: str
    subject: DecisionSubject = field(converter=DecisionSubject)
    value: str = field(validator=_sensible)
    counter: int
    by: str

    @property
    def stamp(self) -> tuple[int, str, str]:
        """
        The sort key that orders decisions.

        The value is included because a node that lost its stored decisions can use a counter
        again; all nodes must then prefer the same one of the two.
        """
        return self.counter, self.by, self.value


@frozen(slots=True, kw_only=True)
class NodeReport:
    """
    A node's report of itself.

    @ivar fronts: connections of which it is the front-end.
    @ivar backs: connections of which it is the back-end.
    @ivar rate: connections per second that its origin received recently.
    @ivar cpu: busy share of the host's processors, 0 to 1; C{None} if unknown.
    @ivar health: the health of its origin.
    @ivar why: the failure that the last failed check found; may be empty.
    @ivar state: its administrative state, as it knows it.
    """

    fronts: int
    backs: int
    rate: int
    cpu: float | None
    health: Health
    why: str
    state: Admin
