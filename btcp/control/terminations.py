# SPDX-License-Identifier: MIT
"""
Terminations on their way to one peer, kept until it has acknowledged them.

No I/O and no time here: L{btcp.control.peer} decides when to send.
"""

from __future__ import annotations

from collections import deque
from itertools import islice

from btcp.control.fields import MAX_RECORDS
from btcp.handoff.messages import Terminate

MAX_KEPT = 65536
"""Records kept for one peer.  One that acknowledges nothing for so long lets its
flows end by their idle timeouts."""


class Terminations:
    """
    A bounded queue of records, in order.

    @ivar epoch: the peer's epoch that the records are meant for, or L{None} as
        long as the peer was never seen.
    """

    def __init__(self) -> None:
        self.epoch: int | None = None
        self._queued: deque[Terminate] = deque()
        self._sent: deque[list[Terminate]] = deque()
        self._in_flight = 0

    def __len__(self) -> int:
        """
        Records not acknowledged, sent or not.
        """
        return len(self._queued) + self._in_flight

    @property
    def queued(self) -> int:
        """
        Records not sent.
        """
        return len(self._queued)

    def add(self, record: Terminate) -> bool:
        """
        @return: whether there was room.
        """
        if len(self) >= MAX_KEPT:
            return False
        self._queued.append(record)
        return True

    def take(self) -> list[Terminate]:
        """
        The next batch to send: records of one front-end, as many as one command
        carries.

        @return: an empty list if nothing is queued.
        """
        queued = self._queued
        if not queued:
            return []
        front, count = queued[0].front, 0
        for record in islice(queued, MAX_RECORDS):
            if record.front != front:
                break
            count += 1
        batch = [queued.popleft() for _ in range(count)]
        self._sent.append(batch)
        self._in_flight += len(batch)
        return batch

    def settle(self, batch: list[Terminate]) -> None:
        """
        The peer answered C{batch}: forget it.
        """
        for index, sent in enumerate(self._sent):
            if sent is batch:
                del self._sent[index]
                self._in_flight -= len(batch)
                return

    def rewind(self) -> None:
        """
        The link was lost: what was not acknowledged is to be sent again, first.
        """
        while self._sent:
            self._queued.extendleft(reversed(self._sent.pop()))
        self._in_flight = 0

    def begin(self, epoch: int) -> int:
        """
        The peer is back.

        @return: how many records were dropped because it forgot the flows they
            are about.
        """
        dropped = 0
        if epoch != self.epoch:
            dropped = len(self)
            self._queued.clear()
            self._sent.clear()
            self._in_flight = 0
            self.epoch = epoch
        return dropped
