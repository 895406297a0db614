# SPDX-License-Identifier: MIT
"""
Whether many idle flows make the others slower.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

from attrs import evolve, frozen

from btcp.lab.programs import LabError
from btcp.lab.topology import CLIENT
from tests.bench import fill
from tests.bench.measure import loaded, targets
from tests.bench.result import Run
from tests.bench.stage import Stage
from tests.bench.systems import FRONT, System
from tests.bench.wrk import Load

FEW = 1000
MANY = 1_000_000
"""In the kernel's table, of clients that do not exist."""

REAL = 3000
"""Of real clients, where there is no such table: as many as Python has time to take over."""

SECONDS = 1
_LOAD = Load(64, SECONDS, close=True)
_LIMITS = {"limits": {"flows": 1 << 20}}
_PATIENCE = 90


@frozen
class Flows:
    """
    Short connections beside few and then beside many idle ones.
    """

    systems: Sequence[System]
    name: str = "flows"
    title: str = "New connections beside many idle flows"
    primary: str = "kept"
    shown: Sequence[str] = (
        "kept",
        "flows_before",
        "before_per_s",
        "flows",
        "requests_per_s",
        "p99_us",
        "octets_per_flow",
    )

    def stage(self) -> AbstractContextManager[Stage]:
        """
        See L{Work.stage<tests.bench.works.Work.stage>}.
        """
        return Stage("benchflows", self.systems, extra=_LIMITS).standing()

    def measure(self, stage: Stage, system: System) -> Run:
        """
        See L{Work.measure<tests.bench.works.Work.measure>}.
        """
        kernel = (system.config or {}).get("datapath") == "ebpf"
        return (_synthetic if kernel else _real)(stage, system)


def _compared(few: Run, many: Run, flows: int) -> Run:
    before = few.values.get("requests_per_s", 0.0)
    values = {**many.values, "before_per_s": before, "flows_before": FEW, "flows": flows}
    if before:
        values["kept"] = values.get("requests_per_s", 0.0) / before
    complaints = [*few.complaints, *many.complaints]
    return evolve(many, values=values, errors=few.errors + many.errors, complaints=complaints)


def _synthetic(stage: Stage, system: System) -> Run:
    pid = stage.lab(system).daemon_pid(FRONT)
    if pid is None:
        raise LabError(f"{system.name}: the front-end's daemon has ended")
    wanted = targets(system, "1k")
    address, port, _ = wanted[0]
    destination = socket.inet_aton(address) + port.to_bytes(2, "big")
    table, few = fill.find(pid), Run({})
    kept = 0
    try:
        fill.fill(table, destination, FEW)
        few = loaded(stage, system, _LOAD, wanted)
        fill.fill(table, destination, MANY)
        many = loaded(stage, system, _LOAD, wanted)
    finally:
        kept = fill.clear(table, destination, MANY)
        os.close(table.fd)
    found = _compared(few, many, MANY)
    if kept != MANY:
        return evolve(found, complaints=[*found.complaints, f"{MANY - kept} flows vanished"])
    return evolve(found, values={**found.values, "octets_per_flow": table.octets / table.entries})


def _real(stage: Stage, system: System) -> Run:
    wanted = targets(system, "1k")
    with _held(stage, system, FEW):
        few = loaded(stage, system, _LOAD, wanted)
        with _held(stage, system, REAL - FEW):
            many = loaded(stage, system, _LOAD, wanted)
    return _compared(few, many, REAL)


@contextmanager
def _held(stage: Stage, system: System, count: int) -> Iterator[None]:
    words = [str(word) for target in targets(system, "1k") for word in target]
    command = [sys.executable, "-m", "tests.bench.hold", str(count), *words]
    process = stage.lab(system).popen(CLIENT, command, stdin=subprocess.PIPE)
    assert process.stdout is not None
    try:
        if not process.stdout.readline().startswith(b"ready"):
            said = process.communicate()[1].decode(errors="replace").strip().splitlines()
            raise LabError(f"{system.name}: {count} clients cannot connect: {said[-1:]}")
        yield
    finally:
        process.communicate(timeout=_PATIENCE)
