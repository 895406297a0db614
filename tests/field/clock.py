# SPDX-License-Identifier: MIT
"""
A wall clock for single processes, which a test can set; see C{wall_clock.c}.
"""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

_SOURCE = Path(__file__).with_name("wall_clock.c")


@cache
def _library() -> Path:
    """
    @return: the compiled library, removed when this process ends.
    """
    directory = Path(tempfile.mkdtemp(prefix="btcp-clock-"))
    atexit.register(shutil.rmtree, directory, True)
    library = directory / "wall_clock.so"
    compiler = ["cc", "-O1", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([*compiler, str(_SOURCE), "-o", str(library)], check=True)
    return library


def environment(file: Path) -> Mapping[str, str]:
    """
    Prepare a process whose wall clock L{set_clock} sets.

    @param file: says how far the process's clock is off; the true time until it exists.
    @return: variables for the process.
    """
    return {"LD_PRELOAD": str(_library()), "WALL_CLOCK": str(file)}


def set_clock(file: Path, seconds: int) -> None:
    """
    Set the clock of the processes that were started with this file.

    @param seconds: ahead of the true time; negative: behind it.
    """
    # A process may read the file at any time, so it must never be seen half written.
    written = file.with_suffix(".new")
    written.write_text(f"{seconds}\n")
    os.replace(written, file)
