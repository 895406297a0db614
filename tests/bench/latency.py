# SPDX-License-Identifier: MIT
"""
How long a client waits when the system has little to do.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

from btcp.lab.programs import run
from btcp.lab.topology import CLIENT
from tests.bench.measure import read, targets, with_costs
from tests.bench.result import Run
from tests.bench.stage import Stage
from tests.bench.statistic import percentile
from tests.bench.systems import System
from tests.bench.wrk import Said

RATE = 200
"""New connections per second: a small part of what the slowest system can do."""

SECONDS = 2
_GRACE = 30
_SOURCE = Path(__file__).with_name("openloop.c")
_SIZE = 1 << 10


def built() -> str:
    """
    @return: the client's path, compiled if it is not there or old.
    """
    program = Path("build/bench/openloop").resolve()
    if not program.exists() or program.stat().st_mtime < _SOURCE.stat().st_mtime:
        program.parent.mkdir(parents=True, exist_ok=True)
        run(["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(program), str(_SOURCE)])
    return str(program)


def parsed(output: str) -> Run:
    """
    @param output: of C{openloop}.
    """
    *lines, last = output.strip().splitlines() or [""]
    if not last.startswith("errors "):
        return Run({}, 1, [f"openloop said: {last or 'nothing'}"])
    errors = int(last.removeprefix("errors "))
    samples = [float(line) for line in lines]
    complaints = [f"{errors} x no answer"] if errors else []
    if not samples:
        return Run({}, max(errors, 1), complaints or ["no request was due"])
    values = {
        "requests_per_s": len(samples) / SECONDS,
        "p50_us": percentile(samples, 50),
        "p99_us": percentile(samples, 99),
        "p999_us": percentile(samples, 99.9),
    }
    return Run(values, errors, complaints, samples)


@frozen
class Latency:
    """
    New connections at a low, fixed rate, from a client that does not wait for answers.
    """

    systems: Sequence[System]
    name: str = "latency"
    title: str = f"Latency of a new connection's 1 kB at {RATE} a second, open loop"
    primary: str = "p50_us"
    shown: Sequence[str] = ("p50_us", "p99_us", "p999_us", "machine_us", "front_us")

    def stage(self) -> None:
        """
        See L{Work.stage<tests.bench.works.Work.stage>}.
        """
        return None

    def measure(self, stage: Stage, system: System) -> Run:
        """
        See L{Work.measure<tests.bench.works.Work.measure>}.
        """
        words = [str(word) for target in targets(system, "1k") for word in target]
        command = [built(), str(RATE), str(SECONDS), *words]
        before = read(stage, system)
        process = stage.lab(system).popen(CLIENT, command, stderr=subprocess.STDOUT)
        output = process.communicate(timeout=SECONDS + _GRACE)[0].decode(errors="replace")
        found = parsed(output)
        said = Said(len(found.samples), _SIZE * max(len(found.samples), 1), found)
        return with_costs(said, before, read(stage, system), fronted=not system.direct)
