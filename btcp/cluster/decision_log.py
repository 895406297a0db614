# SPDX-License-Identifier: MIT
"""
The file that keeps operators' decisions across restarts.
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
"""Octets read of the file; the decisions of a thousand nodes take a quarter of that."""

log = Logger()


def decisions_path(config: Config) -> Path:
    """
    Return the path of the decisions file in the configured state directory.
    """
    return Path(config.state) / "decisions.json"


class DecisionStore:
    """
    A JSON file of decisions that is replaced atomically.
    """

    def __init__(self, path: Path) -> None:
        """
        @param path: the file; neither it nor its directory has to exist.
        """
        self._path = path

    def read(self) -> list[Decision]:
        """
        Read the file.

        @return: the decisions last written.  Empty if there is no file, or if the file cannot
            be used, which is logged as an error.
        """
        try:
            with self._path.open("rb") as file:
                return _decisions(file.read(_MAX_OCTETS))
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as problem:
            # UnicodeDecodeError and JSONDecodeError are ValueErrors.
            log.error(
                "{path} cannot be used, operators' decisions are lost: {problem!r}",
                path=str(self._path),
                problem=problem,
            )
            return []

    def write(self, decisions: Iterable[Decision]) -> None:
        """
        Replace the content of the file.  A failure is logged as an error.
        """
        content = {"format": _FORMAT, "decisions": [asdict(decision) for decision in decisions]}
        try:
            _replace(self._path, json.dumps(content, indent=1).encode() + b"\n")
        except OSError as problem:
            log.error(
                "{path} cannot be written, a restart will lose operators' decisions: {problem}",
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
        raise ValueError(f"{record!r} is not a valid decision")
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
