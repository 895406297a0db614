# SPDX-License-Identifier: MIT
"""
What operators decided, on disk.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from attrs import asdict
from twisted.logger import Logger

from btcp.cluster.state import Decision
from btcp.config import Config

_FORMAT = 1
_MAX_OCTETS = 1 << 20
"""Of a file that we wrote; a thousand nodes take a quarter of it."""

log = Logger()


def decisions_of(config: Config) -> Path:
    """
    @return: the file for them.
    """
    return Path(config.state) / "decisions.json"


class Ledger:
    """
    A file that is replaced whole, or not at all.
    """

    def __init__(self, path: Path) -> None:
        """
        @param path: need not exist, nor its directory.
        """
        self._path = path

    def read(self) -> list[Decision]:
        """
        @return: what was written last; nothing, and a line in the log, if it cannot be read.
        """
        try:
            with self._path.open("rb") as file:
                return _decisions(file.read(_MAX_OCTETS))
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as problem:
            # UnicodeDecodeError and JSONDecodeError are ValueErrors.
            log.error(
                "{path} can not be used, so what was decided is not known: {problem!r}",
                path=str(self._path),
                problem=problem,
            )
            return []

    def write(self, decisions: Iterable[Decision]) -> None:
        """
        Replace what is there; a line in the log if that cannot be done.
        """
        content = {"format": _FORMAT, "decisions": [asdict(decision) for decision in decisions]}
        try:
            _replace(self._path, json.dumps(content, indent=1).encode() + b"\n")
        except OSError as problem:
            log.error(
                "{path} can not be written, so a restart forgets what was decided: {problem}",
                path=str(self._path),
                problem=problem,
            )


def _decisions(octets: bytes) -> list[Decision]:
    content = json.loads(octets)
    if content["format"] != _FORMAT:
        raise ValueError(f"format {content['format']!r} is not {_FORMAT}")
    return [_decision(each) for each in content["decisions"]]


def _decision(record: dict[str, Any]) -> Decision:
    decision = Decision(**record)
    texts = isinstance(decision.node, str) and isinstance(decision.by, str)
    if not (texts and type(decision.counter) is int and 0 <= decision.counter < 1 << 64):
        raise ValueError(f"{record!r} is no decision")
    return decision


def _replace(path: Path, octets: bytes) -> None:
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=path.parent, prefix=path.name, delete=False) as file:
        try:
            file.write(octets)
            file.flush()
            os.fsync(file.fileno())
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise
