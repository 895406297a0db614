# SPDX-License-Identifier: MIT
"""
Another node, over as many links, one after the other, as there may be.
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
from btcp.control.dialing import Patience
from btcp.control.link import Answer, ControlProtocol
from btcp.control.terminations import Terminations
from btcp.handoff import messages
from btcp.handoff.messages import Reason

BATCH_TIME = 0.02
"""Seconds a termination waits for others to travel with."""

BATCH_RECORDS = 256
"""As many terminations do not wait."""


@define(eq=False)
class Peer:
    """
    Another node, and what we have to do with it.

    @ivar addresses: where its connections may come from, packed.
    @ivar counters: moved under names that begin with C{control.}.
    @ivar link: the one link to it, if it is up.
    @ivar ways: what its latest Hello said of how it works.
    @ivar returning: when the link was lost, the node's host was there, and the flows
        survive its daemon.
    """

    name: str
    addresses: frozenset[bytes]
    patience: Patience
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
            # A back-end that was silent must not find the handoff before it finds this.
            urgent = record.reason is Reason.ABANDONED
            if urgent or self.terminations.queued >= BATCH_RECORDS:
                self.flush()
            elif self._flushing is None:
                self._flushing = self.clock.callLater(BATCH_TIME, self.flush)

    def flush(self) -> None:
        """
        Send all terminations that wait.
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
        Not answered, because the link is lost, or answered with an error, which
        it would be again.
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
