# SPDX-License-Identifier: MIT
"""
The log: access log entries, text and JSON formats, and a file that log rotation can rename.
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
from btcp.table import printable

_ORDINARY = frozenset((Reason.CLOSED.value, Reason.RESET_BY_CLIENT.value))
"""Reasons for the end of a connection that are not errors."""

_PRIORITIES = {
    LogLevel.debug: 7,
    LogLevel.info: 6,
    LogLevel.warn: 4,
    LogLevel.error: 3,
    LogLevel.critical: 2,
}
"""Priorities of syslog."""

_RESERVED = frozenset(
    ("time", "level", "logger", "message", "isError", "system", "format", "details")
)
"""Keys of a log event that JSON entries do not copy: they are fields of every entry, for text
only, or belong to Twisted's legacy logging."""

_CONNECTION = Logger("btcp.connection")

Opener = Callable[[str, int], int]


def endpoint_text(end: Endpoint) -> str:
    """
    Format an endpoint, such as C{192.0.2.1:80} or C{[2001:db8::1]:80}.
    """
    if len(end.address) == 4:
        return f"{inet_ntop(AF_INET, end.address)}:{end.port}"
    return f"[{inet_ntop(AF_INET6, end.address)}]:{end.port}"


class Recorder:
    """
    The access log: writes the core's notes about connections to the log.

    @ivar wanted: the entries to write, one of L{btcp.config.values.LOG_CONNECTIONS}.
    """

    def __init__(self, wanted: str, log: Logger = _CONNECTION) -> None:
        self.wanted = wanted
        self._log = log

    def __call__(self, note: Note) -> None:
        """
        Write an entry, if entries of its kind are wanted.
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
        Return whether an entry would be written.

        @param event: the kind of entry.
        @param reason: the reason for the end of a connection, for L{Event.ENDED}.
        """
        return self.wanted == "all" or (self.wanted == "errors" and _is_error(event, reason))


class _Details:
    """
    The fields of a note that its text does not mention, formatted only when the log is text.
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
    Make the log writer that the settings ask for.

    @param path: the file that C{twistd} would write; L{None} for C{stdout}.
    @param opener: see L{LogFile}.
    @return: L{None} if C{twistd} is to write the log.
    @raise OSError: if the file cannot be written.
    """
    path = settings.file or path
    if path is None and _is_journal(stdout):
        return LogWriter(settings, JournalStream(stdout))
    if not settings.own:
        return None
    return LogWriter(settings, stdout if path is None else LogFile(path, opener))


def _is_journal(stream: IO[str]) -> bool:
    """
    Check for the socket of systemd's journal; see C{JOURNAL_STREAM} in C{systemd.exec(5)}.
    """
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):  # closed, or not a file of the system
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


class JournalStream:
    """
    Standard output as systemd's journal reads it: lines with their priority, see C{sd-daemon(3)}.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str, level: LogLevel = LogLevel.info) -> None:
        """
        Write each line of a text with the priority of a level.
        """
        prefix = f"<{_PRIORITIES.get(level, 6)}>"
        self._stream.write("".join(f"{prefix}{line}\n" for line in text.splitlines()))
        self._stream.flush()


class LogFile:
    """
    A log file that may be renamed at any time (log rotation).
    """

    def __init__(self, path: str, opener: Opener | None = None) -> None:
        """
        Open the file for appending.

        @param opener: opens the file, see C{open}.
        @raise OSError: if it cannot be written.
        """
        self.path = os.path.abspath(path)
        self._opener = opener
        self._file = self._open()

    def _open(self) -> IO[str]:
        # Line-buffered: the last entries matter most after a crash.
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
        Append text.
        """
        self._file.write(text)

    def reopen(self) -> None:
        """
        Open the file of that name again and close the old one.

        @raise OSError: if it cannot be written; the old file then stays in use.
        """
        self._file, old = self._open(), self._file
        old.close()


@implementer(ILogObserver)
class LogWriter:
    """
    A Twisted log observer that writes text or JSON.

    @ivar settings: the settings; may be replaced at any time, except for the file.
    @ivar file: the destination.
    """

    def __init__(self, settings: Log, file: LogFile | JournalStream | IO[str]) -> None:
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
        text = printable(self._text(event) or "")
        if text:
            try:
                if isinstance(self.file, JournalStream):
                    self.file.write(text, event.get("log_level") or LogLevel.info)
                else:
                    self.file.write(text)
            except OSError:  # such as a full disk, which cannot be logged
                pass


def as_json(event: LogEvent) -> str:
    """
    Format an event as a line of JSON; C{docs/operations.md} lists the fields.
    """
    level, moment = event.get("log_level"), datetime.fromtimestamp(event["log_time"], UTC)
    record: dict[str, Any] = {
        "time": moment.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "level": level.name if level is not None else "info",
        "logger": event.get("log_namespace", ""),
    }
    if (
        "event" not in event
    ):  # access log entries have no text: formatting takes a third of the time
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
    # Surrogates stand for octets that are not UTF-8; JSON has them as \udcXX.
    return {"method": key.method, "host": key.host, "path": key.path}
