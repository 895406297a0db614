# SPDX-License-Identifier: MIT
"""
Run in a booted kernel: which of BTCP's kernel programs it takes.
"""

from __future__ import annotations

import sys

from btcp.datapath.ebpf import adoption, express, programs
from btcp.datapath.interface import DatapathError

PARTS = {"ebpf": programs, "cookie": adoption, "express": express}
"""What a node can be configured to use, and the module that tries whether the kernel has it."""


def main() -> int:
    """
    Print a line for each part: its name, and C{yes}, or why not.

    @return: the exit status, 0 if the kernel takes the tc programs.
    """
    found = {}
    for name, part in PARTS.items():
        try:
            part.probe()
            found[name] = "yes"
        except DatapathError as problem:
            found[name] = f"no: {problem}"
        print(f"kernel-part {name} {found[name]}", flush=True)
    return found["ebpf"] != "yes"


if __name__ == "__main__":
    sys.exit(main())
