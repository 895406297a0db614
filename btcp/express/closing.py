# SPDX-License-Identifier: MIT
"""
Termination of express connections by the daemon.
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
    Terminates express connections and notifies the other node.

    @ivar fronts: correction of the number of connections as front-end that the kernel's counters
        give: plus those of an earlier daemon, minus those that ended without a report.
    @ivar backs: the same for connections as back-end.
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
        @param tables: the kernel's tables.
        @param news: queue of notifications to other nodes.
        @param perform: executes actions of the core.
        @param ended: logs the end of a connection of which this node is the front-end.
        """
        self.fronts = self.backs = 0
        self._own = own
        self._tables = tables
        self._news = news
        self._perform = perform
        self._ended = ended

    def end(self, entry: Entry, front: str | None, why: Reason) -> None:
        """
        Reset the client and the local TCP.

        @param entry: the flow entry of the response.
        @param front: the front-end, if it is known.
        """
        entry = self._halted(entry)
        other = self._tables.halt(entry.opposite)
        opposite = None if other is None else Entry(entry.opposite, other).route
        self._perform(reset_client(entry, opposite))
        self.end_unseen(entry, front, why)

    def end_unseen(self, entry: Entry, front: str | None, why: Reason) -> None:
        """
        Reset the local TCP but not the client, which has no such connection any more.

        @param entry: the flow entry of the response.
        @param front: the front-end, if it is known.
        """
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
        Reset the local TCP but not the client, and remove the connection.

        @param entry: the flow entry of the response.
        @param what: the notification for the front-end; none is sent if the end was reported.
        @param why: the reason in the notification.
        """
        self._perform(reset_server(entry))
        if what is not None and not entry.over and front is not None and front != self._own:
            self._news.add(front, what, [entry.told], why)
        self.backs -= not entry.over
        self.fronts -= entry.joined and not entry.over
        self._tables.remove([entry.key, entry.opposite])

    def abandon(self, entry: Entry, back: str | None, why: Reason) -> None:
        """
        Reset the client, and notify the back-end, which resets its local TCP.

        @param entry: the front-end's flow entry.
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
        Process the loss of the back-end.  A client whose request was not acknowledged retransmits
        it and reaches another node; any other client is reset.

        @param entry: the front-end's flow entry.
        @return: whether the client may retransmit, so that it has to be reset later if it does not.
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
        Stop forwarding by a flow entry and read it again: a reset needs exact numbers.
        """
        return Entry(entry.key, self._tables.halt(entry.key) or entry.packed)
