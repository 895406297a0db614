# SPDX-License-Identifier: MIT
"""
The log: records of connections, as text or as JSON, in a file that can be moved away.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from socket import AF_INET, AF_INET6, inet_ntop
from typing import IO, Any

from twisted.logger import (
    ILogObserver,
    LogEvent,
    Logger,
    LogLevel,
    formatEvent,
    formatEventAsClassicLogText,
)
from zope.interface import implementer

from btcp.config import Log
from btcp.content.contract import RequestKey
from btcp.handoff.actions import Event, Note
from btcp.handoff.messages import Endpoint, Reason

_ORDINARY = frozenset((Reason.CLOSED.value, Reason.RESET_BY_CLIENT.value))
"""Ends that are no error of the cluster."""

_RESERVED = frozenset(
    ("time", "level", "logger", "message", "isError", "system", "format", "details")
)
"""Keys of an event that are the log's own, for text only, or of Twisted's older logging."""

_CONNECTION = Logger("btcp.connection")

Opener = Callable[[str, int], int]


def endpoint_text(end: Endpoint) -> str:
    """
    @return: such as C{192.0.2.1:80} or C{[2001:db8::1]:80}.
    """
    if len(end.address) == 4:
        return f"{inet_ntop(AF_INET, end.address)}:{end.port}"
    return f"[{inet_ntop(AF_INET6, end.address)}]:{end.port}"


class Recorder:
    """
    Puts the core's notes on record.

    @ivar wanted: one of L{btcp.config.values.LOG_CONNECTIONS}.
    """

    def __init__(self, wanted: str, log: Logger = _CONNECTION) -> None:
        self.wanted = wanted
        self._log = log

    def __call__(self, note: Note) -> None:
        """
        Write a note down, or not.
        """
        if not self.wants(note.event, note.fields.get("reason")):
            return
        fields = {
            name: endpoint_text(value) if isinstance(value, Endpoint) else value
            for name, value in note.fields.items()
        }
        details = _Details(note.what, fields)
        text = note.what + "{details}"
        self._log.info(text, event=note.event.value, details=details, **fields)

    def wants(self, event: Event, reason: object = None) -> bool:
        """
        @param reason: of an end.
        @return: whether a note of this would be written down.
        """
        return self.wanted == "all" or (self.wanted == "errors" and _is_error(event, reason))


class _Details:
    """
    What a note's text does not say of its fields.  Made into a text only if somebody
    writes text.
    """

    def __init__(self, what: str, fields: Mapping[str, object]) -> None:
        self._what = what
        self._fields = fields

    def __str__(self) -> str:
        said, fields = self._what, self._fields.items()
        rest = [f"{n}={v}" for n, v in fields if v is not None and f"{{{n}" not in said]
        return f" ({' '.join(rest)})" if rest else ""


def _is_error(event: Event, reason: object) -> bool:
    if event is Event.ENDED:
        return reason not in _ORDINARY
    return event is not Event.HANDED_OFF


def writer(
    settings: Log, path: str | None, stdout: IO[str], opener: Opener | None = None
) -> LogWriter | None:
    """
    @param path: where C{twistd} would write; L{None} for C{stdout}.
    @param opener: see L{LogFile}.
    @return: what writes the log; L{None} if C{twistd} is to do it.
    @raise OSError: if the file cannot be written.
    """
    if not settings.own:
        return None
    path = settings.file or path
    return LogWriter(settings, stdout if path is None else LogFile(path, opener))


class LogFile:
    """
    A file to append to, which somebody else may rename at any time.
    """

    def __init__(self, path: str, opener: Opener | None = None) -> None:
        """
        @param opener: opens the file, see C{open}.
        @raise OSError: if it cannot be written.
        """
        self.path = os.path.abspath(path)
        self._opener = opener
        self._file = self._open()

    def _open(self) -> IO[str]:
        # Line by line: what was logged last is what somebody looks for after a crash.
        return open(
            self.path,
            "a",
            buffering=1,
            encoding="utf-8",
            errors="backslashreplace",
            opener=self._opener,
        )

    def write(self, text: str) -> None:
        """
        Append.
        """
        self._file.write(text)

    def reopen(self) -> None:
        """
        Go on in a new file of the same name.

        @raise OSError: if it cannot be written; then the old one stays.
        """
        self._file, old = self._open(), self._file
        old.close()


@implementer(ILogObserver)
class LogWriter:
    """
    Twisted's log observer.

    @ivar settings: may be replaced at any time, but for the file.
    @ivar file: where the log goes.
    """

    def __init__(self, settings: Log, file: LogFile | IO[str]) -> None:
        self.file = file
        self.settings = settings

    @property
    def settings(self) -> Log:
        return self._settings

    @settings.setter
    def settings(self, settings: Log) -> None:
        self._settings = settings
        self._least = LogLevel.levelWithName(settings.level or "info")
        self._text = as_json if settings.format == "json" else formatEventAsClassicLogText

    def __call__(self, event: LogEvent) -> None:
        """
        Write one event.
        """
        if event.get("log_level", LogLevel.info) < self._least:
            return
        text = self._text(event)
        if text:
            try:
                self.file.write(text)
            except OSError:  # the disk is full: there is nowhere to say so
                pass


def as_json(event: LogEvent) -> str:
    """
    @return: one line; C{docs/operations.md} lists the fields.
    """
    level, moment = event.get("log_level"), datetime.fromtimestamp(event["log_time"], UTC)
    record: dict[str, Any] = {
        "time": moment.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "level": level.name if level is not None else "info",
        "logger": event.get("log_namespace", ""),
    }
    if "event" not in event:  # else its fields say all, and a text takes a third of the time
        record["message"] = formatEvent(event)
    for name, value in event.items():
        if name.startswith("log_") or name in _RESERVED:
            continue
        if isinstance(value, RequestKey):
            record |= _request(value)
        else:
            record[name] = value
    if "log_failure" in event:
        record["traceback"] = event["log_failure"].getTraceback()
    return json.dumps(record, default=str, separators=(",", ":")) + "\n"


def _request(key: RequestKey) -> Mapping[str, str]:
    if key.kind == "tls":
        return {"sni": key.host}
    # Surrogates are octets that are no UTF-8; json writes them as \udcXX.
    return {"method": key.method, "host": key.host, "path": key.path}
