# SPDX-License-Identifier: MIT
"""
C{python -m tests.kernels [SERIES...]}: boot stock kernels, and say what of BTCP each of them takes.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from tests.kernels.machine import run
from tests.kernels.packages import SERIES, KernelError, unpacked

ROOT = Path(__file__).parents[2]
CACHE = ROOT / "build" / "kernels"
_LINE = "kernel-part "


def examine(series: str) -> bool:
    """
    Boot a kernel and print what it takes.

    @return: whether it takes the tc programs.
    """
    try:
        kernel = unpacked(series, CACHE)
        command = f"cd {shlex.quote(str(ROOT))}; {sys.executable} -m tests.kernels.inside"
        console: list[str] = []
        status = run(kernel, command, console.append)
    except KernelError as problem:
        print(f"{series}: {problem}")
        return False
    found = [line.removeprefix(_LINE) for line in console if line.startswith(_LINE)]
    for part in found or console[-20:]:
        print(f"{kernel.release}: {part}")
    return status == 0


def main() -> int:
    """
    Examine all kernels that are named, or all that Debian 12 offers.
    """
    return 0 if all([examine(series) for series in sys.argv[1:] or SERIES]) else 1


if __name__ == "__main__":
    sys.exit(main())
