# SPDX-License-Identifier: MIT
"""
C of the kernel's programs, compiled for this machine, to be called by tests.
"""

from __future__ import annotations

import os
import subprocess
from contextlib import AbstractContextManager, nullcontext
from ctypes import CDLL
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

from btcp.datapath.ebpf.programs import OBJECT

COVERAGE = "BTCP_NATIVE_COVERAGE"
"""
The environment variable that names a directory for the coverage data of gcov; without it, none is
collected.
"""

_SHIMS = Path(__file__).parents[1] / "native"


def compiled(shim: str) -> CDLL:
    """
    @param shim: a file of C{tests/native}.
    @return: its functions; undefined behaviour in them ends the process.
    """
    with _build_directory() as directory:
        built = str(Path(directory) / "shim.so")
        options = ["-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
        options += ["-fsanitize=undefined", "-fsanitize-undefined-trap-on-error"]
        options += ["--coverage"] * (COVERAGE in os.environ)
        command = ["cc", *options, "-I", str(OBJECT.parent), str(_SHIMS / shim), "-o", built]
        subprocess.run(command, check=True)
        return CDLL(built)


def _build_directory() -> AbstractContextManager[str]:
    # gcov writes when the process ends, next to what the compiler wrote.
    if COVERAGE in os.environ:
        return nullcontext(mkdtemp(dir=os.environ[COVERAGE]))
    return TemporaryDirectory()
