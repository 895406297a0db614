# SPDX-License-Identifier: MIT
"""
The most recent warnings and errors of the log, for C{show errors}.
"""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime

from twisted.application.service import Service
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from zope.interface import implementer

from btcp.table import printable

KEPT = 100
"""Number of log entries kept."""

LONGEST = 500
"""Maximum characters of an entry."""

_WORTH = (LogLevel.warn, LogLevel.error, LogLevel.critical)


@implementer(ILogObserver)
class RecentErrors(Service):
    """
    A log observer that keeps the latest warnings and errors.
    """

    def __init__(self) -> None:
        self._kept: deque[LogEvent] = deque(maxlen=KEPT)

    def startService(self) -> None:
        """
        Start to observe the log.
        """
        globalLogPublisher.addObserver(self)
        super().startService()

    def stopService(self) -> None:
        """
        Stop observing the log.
        """
        globalLogPublisher.removeObserver(self)
        super().stopService()

    def __call__(self, event: LogEvent) -> None:
        """
        Process a log event.
        """
        if event.get("log_level") in _WORTH:
            # Formatted now: the event may reference large objects.
            text = printable(formatEvent(event)).splitlines() or [""]
            kept = {"log_time": event["log_time"], "log_level": event["log_level"]}
            self._kept.append({**kept, "text": text[0][:LONGEST]})

    def show(self) -> list[dict[str, object]]:
        """
        Return the entries for JSON, oldest first.
        """
        return [
            {
                "time": datetime.fromtimestamp(event["log_time"], UTC).isoformat("T", "seconds"),
                "level": event["log_level"].name,
                "text": event["text"],
            }
            for event in self._kept
        ]
