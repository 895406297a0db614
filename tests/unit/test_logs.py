# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.logs}.
"""

from __future__ import annotations

import json
import os
from io import StringIO
from pathlib import Path
from typing import Any

from twisted.logger import Logger, LogLevel, LogPublisher
from twisted.trial.unittest import SynchronousTestCase

from btcp.config import Log
from btcp.content.contract import RequestKey
from btcp.handoff.actions import Event, Note
from btcp.handoff.messages import Endpoint
from btcp.logs import JournalStream, LogFile, LogWriter, Recorder, endpoint_text, writer

_CLIENT = Endpoint(bytes([192, 0, 2, 1]), 80)
_FIELDS: dict[str, object] = {
    "client": _CLIENT,
    "request": RequestKey("GET", "h.example", "/\n\udc80"),
    "node": "b",
    "rule": None,
    "seconds": 0.5,
}


def ended(reason: str) -> Note:
    fields = {**_FIELDS, "request": None, "reason": reason}
    return Note(Event.ENDED, "ended {client} {reason} after {seconds:.3f} s", fields)


class JournalTests(SynchronousTestCase):
    """
    Priorities of lines, where standard output is the journal.
    """

    def test_recognized(self) -> None:
        with open(self.mktemp(), "w") as stream:
            found = os.fstat(stream.fileno())
            self.patch(os, "environ", {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"})
            made = writer(Log(), None, stream)
            assert made is not None
            self.assertIsInstance(made.file, JournalStream)
            self.patch(os, "environ", {"JOURNAL_STREAM": "1:2"})
            self.assertIsNone(writer(Log(), None, stream))
        self.assertIsNone(writer(Log(), None, StringIO()))

    def test_every_line_has_a_priority(self) -> None:
        stream = StringIO()
        logger = Logger(observer=LogWriter(Log(), JournalStream(stream)), namespace="btcp")
        for level, priority in (
            (LogLevel.info, 6),
            (LogLevel.warn, 4),
            (LogLevel.error, 3),
            (LogLevel.critical, 2),
        ):
            stream.truncate(0)
            stream.seek(0)
            logger.emit(level, "first\nsecond")
            lines = stream.getvalue().splitlines()
            self.assertEqual({line[:3] for line in lines}, {f"<{priority}>"})
            self.assertEqual(len(lines), 2)


_HANDED_OFF = Note(Event.HANDED_OFF, "handed off {client} {request} to {node}", _FIELDS)
_REFUSED = Note(
    Event.REFUSED,
    "{node} refused {client}: {reason}",
    {"node": "b", "client": _CLIENT, "reason": "x"},
)


class LogCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.out = StringIO()
        self.writer = LogWriter(Log(), self.out)
        self.log = Logger("btcp.connection", observer=LogPublisher(self.writer))

    def lines(self) -> list[str]:
        return self.out.getvalue().splitlines()


class RecorderTests(LogCase):
    def texts(self, wanted: str) -> list[str]:
        recorder = Recorder(wanted, self.log)
        for note in (_HANDED_OFF, _REFUSED, ended("closed"), ended("reset-by-client")):
            recorder(note)
        recorder(ended("link-lost"))
        return [line.partition("] ")[2] for line in self.lines()]

    def test_all(self) -> None:
        self.assertEqual(
            self.texts("all"),
            [
                r"handed off 192.0.2.1:80 GET h.example/\n\udc80 to b (seconds=0.5)",
                "b refused 192.0.2.1:80: x",
                "ended 192.0.2.1:80 closed after 0.500 s (node=b)",
                "ended 192.0.2.1:80 reset-by-client after 0.500 s (node=b)",
                "ended 192.0.2.1:80 link-lost after 0.500 s (node=b)",
            ],
        )

    def test_errors(self) -> None:
        self.assertEqual(
            self.texts("errors"),
            [
                "b refused 192.0.2.1:80: x",
                "ended 192.0.2.1:80 link-lost after 0.500 s (node=b)",
            ],
        )

    def test_off(self) -> None:
        self.assertEqual(self.texts("off"), [])

    def test_endpoint(self) -> None:
        self.assertEqual(endpoint_text(_CLIENT), "192.0.2.1:80")
        v6 = Endpoint(bytes.fromhex("20010db8000000000000000000000001"), 443)
        self.assertEqual(endpoint_text(v6), "[2001:db8::1]:443")


class JsonTests(LogCase):
    def setUp(self) -> None:
        super().setUp()
        self.writer.settings = Log(format="json", level="debug")

    def record(self) -> dict[str, Any]:
        (line,) = self.lines()
        found = json.loads(line)
        assert isinstance(found, dict)
        return found

    def test_connection(self) -> None:
        Recorder("all", self.log)(_HANDED_OFF)
        record = self.record()
        self.assertRegex(record.pop("time"), r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z\Z")
        self.assertEqual(
            record,
            {
                "level": "info",
                "logger": "btcp.connection",
                "event": "handed-off",
                "client": "192.0.2.1:80",
                "method": "GET",
                "host": "h.example",
                "path": "/\n\udc80",
                "node": "b",
                "rule": None,
                "seconds": 0.5,
            },
        )

    def test_server_name(self) -> None:
        self.log.info("x", event="handed-off", request=RequestKey("", "h.example", "/", "tls"))
        record = self.record()
        self.assertEqual(record["sni"], "h.example")
        self.assertNotIn("path", record)

    def test_anything_else(self) -> None:
        """
        Whatever its fields are, the log's own stay.
        """
        self.log.warn("link to {node}: {time}", node="b", time=1, odd=object)
        record = self.record()
        self.assertEqual((record["level"], record["message"]), ("warn", "link to b: 1"))
        self.assertIn("T", record["time"])
        self.assertEqual((record["node"], record["odd"]), ("b", "<class 'object'>"))

    def test_failure(self) -> None:
        try:
            raise ValueError("a\nb")
        except ValueError:
            self.log.failure("it {what}", what="failed")
        record = self.record()
        self.assertEqual((record["level"], record["message"]), ("critical", "it failed"))
        self.assertIn("ValueError: a\nb", record["traceback"])


class LevelTests(LogCase):
    def test_least(self) -> None:
        for least, count in (("debug", 4), ("info", 3), ("warn", 2), ("error", 1)):
            self.writer.settings = Log(level=least)
            self.out.truncate(0)
            self.out.seek(0)
            for level in (LogLevel.debug, LogLevel.info, LogLevel.warn, LogLevel.error):
                self.log.emit(level, "x")
            self.assertEqual(len(self.lines()), count, least)


class FileTests(SynchronousTestCase):
    def test_moved_away(self) -> None:
        """
        What is written goes to the file that was opened until it is reopened.
        """
        path, moved = Path(self.mktemp()), Path(self.mktemp())
        path.write_text("before\n")
        file = LogFile(str(path))
        file.write("one\n")
        path.rename(moved)
        file.write("two\n")
        self.assertEqual(moved.read_text(), "before\none\ntwo\n")
        file.reopen()
        file.write("three\n")
        self.assertEqual(path.read_text(), "three\n")

    def test_cannot_be_reopened(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        file = LogFile(str(directory / "log"))
        directory.rename(self.mktemp())
        self.assertRaises(OSError, file.reopen)
        file.write("goes on\n")
        self.assertFalse(directory.exists())

    def test_full_disk(self) -> None:
        """
        Nothing is written, and nobody hears of it.
        """
        full = LogWriter(Log(), LogFile("/dev/full"))
        Logger("x", observer=full).info("y")

    def test_where_to(self) -> None:
        """
        As configured, else where twistd would write; twistd itself if nothing is said.
        """
        out, file, other = StringIO(), self.mktemp(), self.mktemp()
        self.assertIsNone(writer(Log(), file, out))
        self.assertIsNone(writer(Log(connections="off"), file, out))
        to_stdout = writer(Log(format="json"), None, out)
        assert to_stdout is not None
        self.assertIs(to_stdout.file, out)
        for settings, expected in ((Log(level="warn"), file), (Log(file=other), other)):
            made = writer(settings, file, out)
            assert made is not None and isinstance(made.file, LogFile)
            self.assertEqual(made.file.path, os.path.abspath(expected))
