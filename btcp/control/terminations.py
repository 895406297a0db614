# SPDX-License-Identifier: MIT
"""
Queue of terminations for one peer, which are kept until the peer acknowledges them.

This module does no I/O and uses no clock: L{btcp.control.peer} decides when to send.
"""

from __future__ import annotations

from collections import deque
from itertools import islice

from btcp.control.fields import MAX_RECORDS
from btcp.handoff.messages import Terminate

MAX_KEPT = 65536
"""Maximum number of records kept for one peer.  The flows of records beyond that end by their idle
timeouts at the peer."""


class Terminations:
    """
    A bounded queue of records, in the order of their addition.

    @ivar epoch: the peer's epoch that the records are for; L{None} if the peer was never seen.
    """

    def __init__(self) -> None:
        self.epoch: int | None = None
        self._queued: deque[Terminate] = deque()
        self._sent: deque[list[Terminate]] = deque()
        self._in_flight = 0

    def __len__(self) -> int:
        """
        Number of records that are not acknowledged, sent or not.
        """
        return len(self._queued) + self._in_flight

    @property
    def queued(self) -> int:
        """
        Number of records that are not sent.
        """
        return len(self._queued)

    def add(self, record: Terminate) -> bool:
        """
        Add a record.

        @return: whether there was room.
        """
        if len(self) >= MAX_KEPT:
            return False
        self._queued.append(record)
        return True

    def take(self) -> list[Terminate]:
        """
        Take the next batch to send: records with the same front-end, as many as one command can
        carry.

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
        Discard a batch that the peer has acknowledged.
        """
        for index, sent in enumerate(self._sent):
            if sent is batch:
                del self._sent[index]
                self._in_flight -= len(batch)
                return

    def rewind(self) -> None:
        """
        Put all unacknowledged batches back to the front of the queue, because the link was lost.
        """
        while self._sent:
            self._queued.extendleft(reversed(self._sent.pop()))
        self._in_flight = 0

    def begin(self, epoch: int) -> int:
        """
        Begin a new link.  If the peer has a new epoch, its flows are lost, and all records are
        dropped.

        @return: the number of records dropped.
        """
        dropped = 0
        if epoch != self.epoch:
            dropped = len(self)
            self._queued.clear()
            self._sent.clear()
            self._in_flight = 0
            self.epoch = epoch
        return dropped
