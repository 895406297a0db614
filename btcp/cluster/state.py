# SPDX-License-Identifier: MIT
"""
What nodes tell each other about nodes, beside flows: what an operator decided, and how
they are.
"""

from __future__ import annotations

import re
from enum import StrEnum

from attrs import field, frozen

FULL = 100
"""Per cent: the whole of a node's configured weight."""

_PERCENT = re.compile(r"(?:0|[1-9][0-9]?|100)\Z")


class Admin(StrEnum):
    """
    What an operator wants of a node's origin.
    """

    READY = "ready"
    DRAIN = "drain"
    MAINT = "maint"


class Health(StrEnum):
    """
    What checks found of a node's origin.
    """

    UNCHECKED = "unchecked"
    UP = "up"
    DOWN = "down"


class Subject(StrEnum):
    """
    What can be decided about a node.
    """

    STATE = "state"
    WEIGHT = "weight"


def _sensible(decision: Decision, _: object, value: str) -> None:
    if decision.subject is Subject.STATE:
        Admin(value)
    elif not (isinstance(value, str) and _PERCENT.match(value)):
        raise ValueError(f"a weight of {value!r} is not 0 to {FULL}")


@frozen(slots=True, kw_only=True)
class Decision:
    """
    An operator's word.  Of two on the same thing the one with the greater L{stamp} holds,
    on every node, in whatever order they come.

    @ivar node: whom it is about.
    @ivar subject: what about it.
    @ivar value: of L{Admin} for the state, in decimal per cent for the weight.
    @ivar counter: greater than that of every decision that C{by} knew.
    @ivar by: the node on which it was said.
    """

    node: str
    subject: Subject = field(converter=Subject)
    value: str = field(validator=_sensible)
    counter: int
    by: str

    @property
    def stamp(self) -> tuple[int, str, str]:
        """
        Which of two decisions is the later one.  The value is there only so that two that
        one node stamped alike, after it lost its memory, end alike everywhere.
        """
        return self.counter, self.by, self.value


@frozen(slots=True, kw_only=True)
class Report:
    """
    How a node is, by its own account.

    @ivar fronts: connections of which it is the front-end.
    @ivar backs: connections that its origin has, or that end there.
    @ivar rate: connections per second that its origin got of late.
    @ivar cpu: busy share of the host's processors, 0 to 1; C{None} if not known.
    @ivar health: of its origin.
    @ivar why: what the last failed check found; may be empty.
    @ivar state: what it knows an operator to want of it.
    """

    fronts: int
    backs: int
    rate: int
    cpu: float | None
    health: Health
    why: str
    state: Admin
