# SPDX-License-Identifier: MIT
"""
What one record of a connection costs, written to a file; prints, asserts nothing.
"""

from __future__ import annotations

import time
from tempfile import NamedTemporaryFile

from twisted.logger import Logger, LogPublisher

from btcp.config import Log
from btcp.content.contract import RequestKey
from btcp.handoff.actions import Event, Note
from btcp.handoff.messages import Endpoint
from btcp.logs import LogFile, LogWriter, Recorder

_RECORDS, _ROUNDS = 10_000, 5

_NOTE = Note(
    Event.ENDED,
    "ended {client} {reason} after {seconds:.3f} s",
    {
        "client": Endpoint(bytes([198, 51, 100, 10]), 49270),
        "front": Endpoint(bytes([192, 0, 2, 11]), 80),
        "listener": "web",
        "request": RequestKey("GET", "h.example", "/a/1k"),
        "rule": "/a/",
        "node": "a",
        "adoption": "cookie",
        "seconds": 0.012345,
        "octets_in": 78,
        "octets_out": 1264,
        "reason": "closed",
    },
)


def cost(format: str, wanted: str) -> float:
    """
    @return: seconds of CPU for each record, of the best of several rounds.
    """
    with NamedTemporaryFile() as file:
        writer = LogWriter(Log(format=format), LogFile(file.name))
        record = Recorder(wanted, Logger("btcp.connection", observer=LogPublisher(writer)))
        rounds = []
        for _ in range(_ROUNDS):
            began = time.process_time()
            for _ in range(_RECORDS):
                record(_NOTE)
            rounds.append((time.process_time() - began) / _RECORDS)
    return min(rounds)


if __name__ == "__main__":
    for format in ("text", "json"):
        for wanted in ("all", "errors", "off"):
            print(f"{format}  {wanted:6}  {cost(format, wanted) * 1e6:5.1f} µs")
