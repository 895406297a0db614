# SPDX-License-Identifier: MIT
"""
Runs of the tests that go on at once on one machine, in different trees perhaps, take turns at
each lab.
"""

from __future__ import annotations

import fcntl
import sys
from pathlib import Path
from typing import IO

_LOCKS = Path("/run/lock")
_held: dict[str, IO[str]] = {}


def take_turn(prefix: str) -> None:
    """
    Wait until no other process has this lab, and have it until L{end_turn}, or the end of this
    one.
    """
    if prefix in _held:
        return
    lock = (_LOCKS / f"btcp-tests-{prefix}").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"lab {prefix!r} is another run's; waiting", file=sys.stderr)
        fcntl.flock(lock, fcntl.LOCK_EX)
    _held[prefix] = lock


def end_turn(prefix: str) -> None:
    """
    Leave the lab to others.
    """
    lock = _held.pop(prefix, None)
    if lock is not None:
        lock.close()
