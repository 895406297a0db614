# SPDX-License-Identifier: MIT
"""
What good clients get while others send SYNs and nothing else.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from attrs import evolve, frozen

from btcp.lab.programs import LabError, run
from btcp.lab.topology import CLIENT, ROUTER, addresses
from tests.bench.measure import loaded, targets
from tests.bench.result import Run
from tests.bench.spoof import SOURCES
from tests.bench.stage import Stage
from tests.bench.systems import System
from tests.bench.wrk import Load

RATE = 10_000
"""SYNs a second."""

_BEFORE = Load(32, 1, close=True)
_DURING = Load(32, 2, close=True)


@frozen
class Flood:
    """
    Short connections without and then with a flood of SYNs to where they connect.
    """

    systems: Sequence[System]
    name: str = "flood"
    title: str = f"New connections during a flood of {RATE:,} SYNs a second"
    primary: str = "requests_per_s"
    shown: Sequence[str] = (
        "kept",
        "requests_per_s",
        "before_per_s",
        "p50_us",
        "p99_us",
        "machine_us",
        "front_us",
    )

    def stage(self) -> None:
        """
        See L{Work.stage<tests.bench.works.Work.stage>}.
        """
        return None

    def measure(self, stage: Stage, system: System) -> Run:
        """
        See L{Work.measure<tests.bench.works.Work.measure>}.
        """
        wanted = targets(system, "1k")
        without = loaded(stage, system, _BEFORE, wanted)
        with _flood(stage, system):
            flooded = loaded(stage, system, _DURING, wanted)
        before = without.values.get("requests_per_s", 0.0)
        values = {**flooded.values, "before_per_s": before}
        if before:
            values["kept"] = values.get("requests_per_s", 0.0) / before
        return evolve(
            flooded,
            values=values,
            errors=without.errors + flooded.errors,
            complaints=[
                *(f"without: {one}" for one in without.complaints),
                *(f"flooded: {one}" for one in flooded.complaints),
            ],
        )


@contextmanager
def _flood(stage: Stage, system: System) -> Iterator[None]:
    """
    Flood while the body runs.  What is answered to the clients that do not exist goes to the
    real one, which drops what is not its own.
    """
    lab = stage.lab(system)
    via = ["via", addresses(CLIENT)[0]]
    run(lab.command(ROUTER, ["ip", "route", "replace", SOURCES, *via]))
    # A direct connection has no front-end: the flood is at one of the origins.
    address, port, _ = targets(system, "1k")[0]
    command = [sys.executable, "-m", "tests.bench.spoof", address, str(port), str(RATE)]
    process = lab.popen(CLIENT, command, stdin=subprocess.PIPE)
    assert process.stdout is not None
    try:
        if process.stdout.readline() != b"ready\n":
            raise LabError(f"no flood: {process.communicate()[1].decode(errors='replace')}")
        yield
    finally:
        process.communicate()
