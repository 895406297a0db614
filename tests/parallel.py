# SPDX-License-Identifier: MIT
"""
Modules of tests in several processes at once, those with clusters in one each: tests on
clusters wait most of the time.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from queue import SimpleQueue

_HERE = Path(__file__).parent
_FIGURES = re.compile(rb"^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?\n\Z", re.MULTILINE)

_WHOLE = ("claims",)
"""Suites whose modules look at the same captures: one process makes them once."""

LONGEST = (
    "integration.test_load",
    "integration.test_tcp_rules",
    "integration.test_membership",
    "claims",
    "integration.test_failures",
    "integration.test_takeover",
    "integration.test_lifecycle",
    "integration.test_consoles",
    "integration.test_hostile",
    "field.test_host_changes_under_it",
    "field.test_wall_clock_steps",
    "integration.test_ebpf_lab",
    "unit.test_handoff_following",
    "integration.test_express",
    "integration.test_systemd",
    "integration.test_tls",
    "integration.test_lab",
    "integration.test_trust",
    "integration.test_doctor",
    "unit.test_handoff_takeover",
)
"""What takes long, and so is to be begun before all else: the longest first, as measured.  A long
one that is begun last would have the other processes wait for it."""

_TOGETHER = (
    "integration.test_tcp_rules",
    "integration.test_tcp_closing",
    "integration.test_tcp_segments",
)
"""Modules that use the same labs, one for each mode: one process brings them up once."""

_SHORT = ("unit", "properties")
_BATCH = 10
"""So many short modules of these suites share a process: a process takes longer to import what
most of them need than most of them take."""

SLOT = "BTCP_TEST_SLOT"
"""The environment variable that tells a module which of the processes it is in, so that each of
them has labs of its own."""


def slot() -> str:
    """
    @return: what to add to the name of a lab that several modules use.
    """
    return os.environ.get(SLOT, "")


def modules(suites: Iterable[str]) -> list[str]:
    """
    @return: those of the suites, below C{tests}, or whole suites; first L{LONGEST}, then the
        largest, for of the others the largest takes longest as a rule.
    """
    whole = [suite for suite in suites if suite in _WHOLE]
    rest = [suite for suite in suites if suite not in _WHOLE]
    found = [path for suite in rest for path in (_HERE / suite).glob("test_*.py")]
    found.sort(key=lambda path: path.stat().st_size, reverse=True)
    names = [*whole, *(f"{path.parent.name}.{path.stem}" for path in found)]
    rank = {name: place for place, name in enumerate(LONGEST)}
    return sorted(names, key=lambda name: rank.get(name, len(rank)))


def batches(suites: Iterable[str]) -> list[list[str]]:
    """
    @return: L{modules}, in their order, by the process that they are to run in.
    """
    found = modules(suites)
    same_labs = [name for name in found if name in _TOGETHER]
    short = [name for name in found if name.partition(".")[0] in _SHORT and name not in LONGEST]
    long = [name for name in found if name not in (*short, *same_labs[1:])]
    shared = [short[start : start + _BATCH] for start in range(0, len(short), _BATCH)]
    return [*(same_labs if name in same_labs else [name] for name in long), *shared]


def run(suites: Sequence[str], jobs: int) -> list[int]:
    """
    Run all modules of the suites and print what each process printed, when it is done.

    @return: how many tests passed, failed and were skipped; a process that ends without saying
        so counts as a failure.
    """
    slots: SimpleQueue[str] = SimpleQueue()
    for number in range(jobs):
        slots.put(str(number))

    def batch(names: list[str]) -> bytes:
        free = slots.get()
        try:
            command = [sys.executable, "-m", "tests", *names]
            environment = {**os.environ, SLOT: free}
            done = subprocess.run(command, env=environment, stdout=-1, stderr=-2, check=False)
        finally:
            slots.put(free)
        return done.stdout

    figures = [0, 0, 0]
    with ThreadPoolExecutor(jobs) as pool:
        running: dict[Future[bytes], list[str]] = {
            pool.submit(batch, names): names for names in batches(suites)
        }
        for future in as_completed(running):
            said = future.result()
            sys.stdout.buffer.write(said)
            sys.stdout.flush()
            match = _FIGURES.search(said)
            if match is None:
                print(f"tests of {', '.join(running[future])} did not come to their end")
                figures[1] += 1
                continue
            said_figures = map(int, match.groups(b"0"))
            figures = [sum(pair) for pair in zip(figures, said_figures, strict=True)]
    return figures
