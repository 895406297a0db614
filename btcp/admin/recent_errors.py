# SPDX-License-Identifier: MIT
"""
The last things that were worth a warning, for whoever asks.
"""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime

from twisted.application.service import Service
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from zope.interface import implementer

KEPT = 100
"""Warnings and errors; what is older is in the log."""

LONGEST = 500
"""Characters of one."""

_WORTH = (LogLevel.warn, LogLevel.error, LogLevel.critical)


@implementer(ILogObserver)
class Recent(Service):
    """
    Listens to the log.
    """

    def __init__(self) -> None:
        self._kept: deque[LogEvent] = deque(maxlen=KEPT)

    def startService(self) -> None:
        """
        Begin to listen.
        """
        globalLogPublisher.addObserver(self)
        super().startService()

    def stopService(self) -> None:
        """
        Listen no more.
        """
        globalLogPublisher.removeObserver(self)
        super().stopService()

    def __call__(self, event: LogEvent) -> None:
        """
        Something was logged.
        """
        if event.get("log_level") in _WORTH:
            # As text at once: an event can hold on to whatever it speaks of.
            text = formatEvent(event).splitlines() or [""]
            kept = {"log_time": event["log_time"], "log_level": event["log_level"]}
            self._kept.append({**kept, "text": text[0][:LONGEST]})

    def show(self) -> list[dict[str, object]]:
        """
        @return: the last ones, oldest first.
        """
        return [
            {
                "time": datetime.fromtimestamp(event["log_time"], UTC).isoformat("T", "seconds"),
                "level": event["log_level"].name,
                "text": event["text"],
            }
            for event in self._kept
        ]
