# SPDX-License-Identifier: MIT
"""
Programs of the kernel run on other processors meanwhile.
"""

from __future__ import annotations

import platform
from ctypes import CDLL

_NUMBERS = {"x86_64": 324, "aarch64": 283, "riscv64": 283}
"""Of C{membarrier} (linux/unistd.h), for which the C library has no function."""

_GLOBAL = 1  # linux/membarrier.h: MEMBARRIER_CMD_GLOBAL, the kernel's synchronize_rcu()


def await_programs() -> None:
    """
    Wait, some milliseconds as a rule, until all tc programs that run now have ended.  Where
    that cannot be had, go on: they run for a microsecond.
    """
    number = _NUMBERS.get(platform.machine())
    if number is not None:
        CDLL(None).syscall(number, _GLOBAL, 0, 0)
