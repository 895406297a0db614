# SPDX-License-Identifier: MIT
"""
The state of one peer, which persists across successive links to it.
"""

from __future__ import annotations

from collections import Counter
from math import inf

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from btcp.amp.connection import Stage
from btcp.control.commands import UNSAID, Ways
from btcp.control.dialing import Backoff
from btcp.control.link import Answer, ControlProtocol
from btcp.control.terminations import Terminations
from btcp.handoff import messages
from btcp.handoff.messages import Reason

BATCH_TIME = 0.02
"""Seconds for which terminations are collected to be sent in one batch."""

BATCH_RECORDS = 256
"""Number of terminations that are sent at once."""


@define(eq=False)
class Peer:
    """
    Another node of the cluster.

    @ivar addresses: packed addresses that it may connect from.
    @ivar backoff: the backoff of attempts to connect to it.
    @ivar counters: receives counters with the prefix C{control.}.
    @ivar link: the link to it, if one is up.
    @ivar terminations: terminations that it has not acknowledged.
    @ivar ways: the modes of operation in its latest Hello.
    @ivar returning: whether, when the link was lost, its host was reachable and its flows survive
        its daemon.
    """

    name: str
    addresses: frozenset[bytes]
    backoff: Backoff
    clock: IReactorTime
    counters: Counter[str]
    link: ControlProtocol | None = None
    terminations: Terminations = field(factory=Terminations)
    ways: Ways = UNSAID
    returning: bool = False
    _flushing: IDelayedCall | None = None

    def hand_off(self, message: messages.Handoff) -> Deferred[Answer]:
        """
        See L{Peers.hand_off<btcp.control.peers.Peers.hand_off>}.
        """
        if self.link is None:
            return succeed(messages.Refused(id=message.id, reason=Reason.LINK_LOST))
        return self.link.hand_off(message)

    def terminate(self, record: messages.Terminate) -> None:
        """
        See L{Peers.terminate<btcp.control.peers.Peers.terminate>}.
        """
        if self.terminations.epoch is None:
            self.counters["control.terminate-dropped"] += 1
        elif not self.terminations.add(record):
            self.counters["control.terminate-overflow"] += 1
        elif self.link is not None:
            # Not delayed, so that a back-end that was stopped reads it in the same batch as the
            # handoff that it withdraws.
            urgent = record.reason is Reason.ABANDONED
            if urgent or self.terminations.queued >= BATCH_RECORDS:
                self.flush()
            elif self._flushing is None:
                self._flushing = self.clock.callLater(BATCH_TIME, self.flush)

    def flush(self) -> None:
        """
        Send all queued terminations.
        """
        if self._flushing is not None:
            if self._flushing.active():
                self._flushing.cancel()
            self._flushing = None
        while self.link is not None and self.link.stage is Stage.UP:
            batch = self.terminations.take()
            if not batch:
                break
            self.link.terminate(batch).addCallbacks(
                self._settled,
                self._unsettled,
                callbackArgs=(batch,),
                errbackArgs=(self.link, batch),
            )

    def _settled(self, unknown: int, batch: list[messages.Terminate]) -> None:
        self.counters["control.terminate-unknown"] += unknown
        self.terminations.settle(batch)

    def _unsettled(
        self, failure: Failure, link: ControlProtocol, batch: list[messages.Terminate]
    ) -> None:
        """
        Process a batch that was not acknowledged: if the link is lost, it is sent again over the
        next one; if the peer answered with an error, it would do so again, so it is dropped.
        """
        if link.stage is Stage.UP:
            link.complain(f"Terminate: {failure.getErrorMessage()}", "control.terminate-error")
            self.terminations.settle(batch)

    @property
    def silence(self) -> float:
        """
        See L{Peers.silence<btcp.control.peers.Peers.silence>}.
        """
        return inf if self.link is None else self.clock.seconds() - self.link.heard

    @property
    def state(self) -> dict[str, object]:
        """
        See L{Peers.states<btcp.control.peers.Peers.states>}.
        """
        link = self.link
        return {
            "state": "up" if link else "down",
            "version": link.version if link else None,
            "epoch": self.terminations.epoch,
            "address": link.address if link else None,
            "rtt": link.rtt if link else None,
            "queued": len(self.terminations),
            "datapath": self.ways.datapath,
            "adoption": self.ways.adoption,
            "resumes": self.ways.resumes,
            "express": self.ways.express,
        }
