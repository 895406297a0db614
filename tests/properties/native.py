# SPDX-License-Identifier: MIT
"""
C of the kernel's programs, compiled for this machine, to be called by tests.
"""

from __future__ import annotations

import subprocess
from ctypes import CDLL
from pathlib import Path
from tempfile import TemporaryDirectory

from btcp.datapath.ebpf.programs import OBJECT

_SHIMS = Path(__file__).parents[1] / "native"


def compiled(shim: str) -> CDLL:
    """
    @param shim: a file of C{tests/native}.
    @return: its functions; undefined behaviour in them ends the process.
    """
    with TemporaryDirectory() as directory:
        built = str(Path(directory) / "shim.so")
        options = ["-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
        options += ["-fsanitize=undefined", "-fsanitize-undefined-trap-on-error"]
        command = ["cc", *options, "-I", str(OBJECT.parent), str(_SHIMS / shim), "-o", built]
        subprocess.run(command, check=True)
        return CDLL(built)
