# SPDX-License-Identifier: MIT
"""
One load on one system, and what it cost.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from attrs import evolve

from btcp.lab.topology import CLIENT
from tests.bench import counters
from tests.bench.counters import Counters
from tests.bench.result import Run
from tests.bench.stage import Stage
from tests.bench.systems import FRONT, HOLDERS, System
from tests.bench.wrk import Load, Said, command, parsed

_GRACE = 30
"""Seconds that a load may take longer than it should."""


def targets(system: System, path: str) -> list[tuple[str, int, str]]:
    """
    @return: the same object of each of L{HOLDERS}.
    """
    return [system.target(holder, path) for holder in HOLDERS]


def loaded(
    stage: Stage,
    system: System,
    load: Load,
    wanted: Sequence[tuple[str, int, str]],
    further: Sequence[str] = (),
) -> Run:
    """
    Run wrk, and read the counters before and after.
    """
    before = read(stage, system)
    done = stage.lab(system).popen(CLIENT, command(load, wanted, further), stderr=subprocess.STDOUT)
    output = done.communicate(timeout=load.seconds + _GRACE)[0].decode(errors="replace")
    said = parsed(output, load)
    return with_costs(said, before, read(stage, system), fronted=not system.direct)


def read(stage: Stage, system: System) -> Counters:
    """
    @return: the counters of the system's front-end, and of the machine.
    """
    inside = stage.lab(system).origin_pid(FRONT)
    assert inside is not None, "an origin has ended"
    return counters.read(stage.front_pids(system), inside)


def with_costs(said: Said, before: Counters, after: Counters, fronted: bool) -> Run:
    """
    @param fronted: whether there is a front-end at all.
    """
    if not said.requests:
        return said.run
    per = said.requests
    values = {**said.run.values, "machine_us": (after.machine - before.machine) / per}
    if fronted:
        old, new = before.traffic, after.traffic
        values |= {
            "front_us": (after.front - before.front) / per,
            "fe_bytes": (new.octets_out - old.octets_out) / said.octets,
            "fe_bytes_in": (new.octets_in - old.octets_in) / said.octets,
            "fe_packets": (new.packets_out - old.packets_out) / per,
            "fe_packets_in": (new.packets_in - old.packets_in) / per,
        }
    return evolve(said.run, values=values)
