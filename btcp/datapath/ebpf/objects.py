# SPDX-License-Identifier: MIT
"""
Compiled BPF programs on disk.
"""

from __future__ import annotations

from pathlib import Path

from btcp.datapath.interface import DatapathError

_DIRECTORY = Path(__file__).parent.parent / "bpf"
REMEDY = "install a package of BTCP for this machine, or run 'make build' in its source tree"

NAMES = ("btcp.bpf.o", "adopt.bpf.o", "express.bpf.o")
"""Every object that a complete installation has."""


class ObjectMissing(DatapathError):
    """
    This installation of BTCP lacks a compiled program; no other kernel would help.
    """


def path(name: str) -> Path:
    """
    Return where an object is installed.

    @param name: one of L{NAMES}.
    """
    return _DIRECTORY / name


def require(object_path: Path) -> None:
    """
    Check that an object is installed.

    @raise ObjectMissing: if it is not.
    """
    if not object_path.exists():
        name = object_path.name
        raise ObjectMissing(f"this installation has no {name}, a compiled BPF program: {REMEDY}")
