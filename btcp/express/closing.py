# SPDX-License-Identifier: MIT
"""
Ends express connections that must not, or cannot, go on.
"""

from __future__ import annotations

from collections.abc import Callable

from btcp.control.express import Subject
from btcp.datapath.ebpf.express import ExpressTables
from btcp.express.entries import Entry, reset_client, reset_server
from btcp.express.news import News
from btcp.handoff.actions import Action
from btcp.handoff.messages import Reason


class Closing:
    """
    @ivar fronts: how many of this node's halves there are beyond those that the kernel's counters
        know: those of an earlier daemon, less those that ended without the kernel's word.
    @ivar backs: likewise, of what it was handed.
    """

    def __init__(
        self,
        own: str,
        tables: ExpressTables,
        news: News,
        perform: Callable[[list[Action]], None],
        ended: Callable[[bytes, Reason], None],
    ) -> None:
        """
        @param own: this node's name.
        @param perform: does what is to be done with packets.
        @param ended: puts on record that this ends, by what the front-end, this node, calls it.
        """
        self.fronts = self.backs = 0
        self._own = own
        self._tables = tables
        self._news = news
        self._perform = perform
        self._ended = ended

    def end(self, entry: Entry, front: str | None, why: Reason) -> None:
        """
        Reset both sides.

        @param entry: of the response.
        @param front: the front-end, if it is known.
        """
        entry = self._halted(entry)
        other = self._tables.halt(entry.opposite)
        opposite = None if other is None else Entry(entry.opposite, other).route
        self._perform(reset_client(entry, opposite))
        if entry.joined:
            self._ended(entry.told, why)
        self.finish(entry, front, Subject.ENDED, why)

    def finish(
        self,
        entry: Entry,
        front: str | None,
        what: Subject | None,
        why: Reason = Reason.CLOSED,
    ) -> None:
        """
        Reset the local TCP, and leave the client alone.

        @param entry: of the response.
        @param what: to be told to the front-end, which hears of what was over already.
        @param why: likewise, of an end.
        """
        self._perform(reset_server(entry))
        if what is not None and not entry.over and front is not None and front != self._own:
            self._news.add(front, what, [entry.told], why)
        self.backs -= not entry.over
        self.fronts -= entry.joined and not entry.over
        self._tables.remove([entry.key, entry.opposite])

    def abandon(self, entry: Entry, back: str | None, why: Reason) -> None:
        """
        Reset the client, and have the back-end do the rest.

        @param entry: of the front-end.
        @param back: the back-end, if it is known.
        """
        self._perform(reset_client(self._halted(entry), None))
        self._ended(entry.done, why)
        if back is not None and not entry.joined:
            self.fronts -= 1
            self._news.add(back, Subject.GONE, [entry.told])
        self._tables.remove([entry.key])

    def lose(self, entry: Entry) -> bool:
        """
        The back-end is gone.  A request that was not acknowledged is sent again, and finds
        another node; who waits for anything else must not wait for ever.

        @param entry: of the front-end.
        @return: whether the client can still come again, and has to be reset if it does not.
        """
        entry = self._halted(entry)
        self.fronts -= 1
        may_come = entry.unanswered and entry.holds
        if not may_come:
            self._perform(reset_client(entry, None))
            self._ended(entry.done, Reason.LINK_LOST)
        self._tables.remove([entry.key])
        return may_come

    def _halted(self, entry: Entry) -> Entry:
        """
        @return: as it is once the kernel moves nothing more by it: a reset has to be exact.
        """
        return Entry(entry.key, self._tables.halt(entry.key) or entry.packed)
