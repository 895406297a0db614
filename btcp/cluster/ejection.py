# SPDX-License-Identifier: MIT
"""
Passive health checks (outlier detection): temporary ejection of a node whose origin refuses
connections, decided by the front-end that sees the refusals.
"""

from __future__ import annotations

from collections import deque

from attrs import define, field, frozen

from btcp.handoff.messages import Reason

EJECTING_REASONS = frozenset((Reason.NO_LISTENER, Reason.RESET_BY_ORIGIN, Reason.ACCEPT_QUEUE_FULL))
"""Reasons for a refused handoff that are the origin's fault, not the node's or its operator's."""


@frozen
class EjectionThreshold:
    """
    The condition for ejection.

    @ivar refusals: the number of refusals that ejects a node
    @ivar window: if they occur within this time, in seconds; also the duration of the ejection.
    """

    refusals: int
    window: float


@define(eq=False)
class Ejection:
    """
    The ejection state of one node: its recent refusals, and whether they have ejected it.
    """

    _seen: deque[float] = field(factory=deque)
    _until: float | None = None

    @property
    def active(self) -> bool:
        """
        C{True} while the node is ejected.
        """
        return self._until is not None

    @property
    def reason(self) -> str:
        """
        The reason for the ejection, as text for operators; empty if the node is not ejected.
        """
        return "it refused too many connections" if self.active else ""

    def record_refusal(self, now: float, threshold: EjectionThreshold) -> bool:
        """
        Count a refusal, and eject the node if the threshold is reached.

        @param now: monotonic seconds.
        @return: whether this refusal ejected the node.
        """
        if self.active:
            return False
        self._seen.append(now)
        while self._seen[0] <= now - threshold.window:
            self._seen.popleft()
        if len(self._seen) < threshold.refusals:
            return False
        self._seen.clear()
        self._until = now + threshold.window
        return True

    def reset(self) -> None:
        """
        End the ejection and discard all refusals, because the origin has recovered.
        """
        self._seen.clear()
        self._until = None

    def expire(self, now: float) -> None:
        """
        End the ejection if its time has passed.

        @param now: monotonic seconds.
        """
        if self._until is not None and now >= self._until:
            self._until = None
