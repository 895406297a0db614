# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.cluster.decision_log}.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from twisted.internet.testing import EventLoggingObserver
from twisted.logger import LogLevel, globalLogPublisher
from twisted.trial.unittest import TestCase

from btcp.cluster.decision_log import DecisionStore
from btcp.cluster.state import Decision, DecisionSubject

STATE = Decision(node="a", subject=DecisionSubject.STATE, value="drain", counter=3, by="b")
WEIGHT = Decision(node="ä", subject=DecisionSubject.WEIGHT, value="50", counter=2**64 - 1, by="a")


class DecisionStoreTests(TestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp()) / "deep" / "decisions.json"
        self.store = DecisionStore(self.path)
        self.events = EventLoggingObserver.createWithCleanup(self, globalLogPublisher)

    def complaints(self) -> int:
        return sum(event["log_level"] >= LogLevel.error for event in self.events)

    def test_nothing_yet(self) -> None:
        self.assertEqual(self.store.read(), [])
        self.assertEqual(self.complaints(), 0)

    def test_there_and_back(self) -> None:
        for decisions in ([STATE, WEIGHT], [STATE], []):
            self.store.write(decisions)
            self.assertEqual(DecisionStore(self.path).read(), decisions)
        self.assertEqual(os.listdir(self.path.parent), [self.path.name])

    def test_damaged(self) -> None:
        """
        Whatever is there, it is reported, ignored and can be written over.
        """
        self.store.write([STATE])
        good = self.path.read_bytes()
        record: dict[str, Any] = json.loads(good)["decisions"][0]
        wrong: list[object] = [
            [],
            {},
            {"format": 2, "decisions": []},
            {"format": 1, "decisions": 5},
            {"format": 1, "decisions": [5]},
            *(
                {"format": 1, "decisions": [{**record, **change}]}
                for change in (
                    {"counter": -1},
                    {"counter": "1"},
                    {"counter": 2**64},
                    {"node": 5},
                    {"by": None},
                    {"value": "later"},
                    {"value": 5},
                    {"subject": "colour"},
                    {"more": 1},
                )
            ),
        ]
        texts = [json.dumps(each).encode() for each in wrong]
        texts += [b"", good[:-9], b"\xff" + good, b"[" * 100_000, b"\0" * 100]
        for number, text in enumerate(texts):
            self.path.write_bytes(text)
            self.assertEqual(self.store.read(), [], text)
            self.assertEqual(self.complaints(), number + 1, text)
        self.store.write([STATE])
        self.assertEqual(self.store.read(), [STATE])

    def test_cannot_be_written(self) -> None:
        """
        The daemon goes on; what was there stays.
        """
        self.store.write([STATE])

        def full(*args: object) -> None:
            raise OSError("no space left on device")

        self.patch(os, "replace", full)
        self.store.write([WEIGHT])
        self.assertEqual(self.complaints(), 1)
        self.assertEqual(self.store.read(), [STATE])
        self.assertEqual(os.listdir(self.path.parent), [self.path.name])
