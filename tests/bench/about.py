# SPDX-License-Identifier: MIT
"""
On what, with what and when it was measured.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from btcp.lab.programs import ENVIRONMENT

_VERSIONS = {
    "nginx": ["nginx", "-v"],
    "haproxy": ["haproxy", "-v"],
    "wrk": ["wrk", "-v"],
}
_NUMBER = re.compile(r"\d+(?:\.\d+)+[-+.\w]*")


def about(rounds: int, busy: float) -> dict[str, object]:
    """
    @param busy: the part of its time that the machine worked for others just before.
    @return: the head of a result.
    """
    system = os.uname()
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "tree": _tree(),
        "rounds": rounds,
        "machine": {
            "processor": _processor(),
            "processors": os.cpu_count(),
            "memory_mb": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20,
            "busy_before": round(busy, 2),
            "kernel": f"{system.sysname} {system.release} {system.machine}",
        },
        "versions": {
            **{name: _first_number(_said(command)) for name, command in _VERSIONS.items()},
            "python": ".".join(map(str, sys.version_info[:3])),
            "twisted": version("twisted"),
        },
    }


def _tree() -> str:
    """
    @return: the commit, and C{-dirty} if files differ from it.
    """
    return _said(["git", "describe", "--always", "--dirty"]).strip() or "unknown"


def _processor() -> str:
    found = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    return found[1].strip() if found else "unknown"


def _said(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, env=ENVIRONMENT, timeout=10)
    except FileNotFoundError:
        return ""
    return (done.stdout + done.stderr).decode(errors="replace")


def _first_number(text: str) -> str:
    found = _NUMBER.search(text)
    return found[0] if found else "unknown"
