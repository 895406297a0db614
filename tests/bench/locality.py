# SPDX-License-Identifier: MIT
"""
Three nodes, each with a cache in front of a slow store, and more content than one cache holds.

Round robin sends each request to the next node, so each cache ends up with the same popular
objects; a map, or a policy that looks at what is asked for, lets each node cache a part.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from attrs import define, evolve, field

from btcp.lab.programs import LabError
from btcp.lab.topology import NODES, ORIGIN_PORT, addresses
from btcp.partition.policy import POLICIES
from tests.bench.measure import loaded
from tests.bench.result import Run
from tests.bench.stage import Stage
from tests.bench.systems import System
from tests.bench.wrk import Load

ROUND_ROBIN = "round-robin"
MAP = "map"
OBJECTS = 1800
EXPONENT = 0.8
"""Of the Zipf law that requests follow; the web's is between 0.6 and 0.9."""

DELAY = 40
"""Milliseconds for a read of a node's store."""

SECONDS = 3
_WARM = 4
_LOAD = Load(48, SECONDS, close=True)
_CACHE = (Path(__file__).with_name("peers") / "cache.conf").read_text()
_START = 5.0
_FRONT = NODES[0]
_WHOLE = [{"path": "/", "nodes": list(NODES[:3])}]


def ways(mode: System) -> tuple[System, ...]:
    """
    @param mode: of BTCP, in which all of them run.
    @return: round robin, the partition map, and each further policy there is.
    """
    assert mode.config is not None
    parted = [{"path": f"/{node}/", "nodes": [node]} for node in NODES[:3]]
    found = [System(MAP, config={**mode.config, "partition": parted})]
    for name in sorted(POLICIES, key=lambda name: name != ROUND_ROBIN):
        found.append(System(name, config={**mode.config, "partition": _WHOLE, "policy": name}))
    return (found[1], found[0], *found[2:])


@define
class Locality:
    """
    Zipf requests, each on a connection of its own.

    @ivar mode: of BTCP, in which each policy is tried.
    """

    mode: System
    systems: Sequence[System] = field(init=False)
    name: str = "locality"
    primary: str = "requests_per_s"
    shown: Sequence[str] = ("requests_per_s", "hits", "store_reads_per_s", "p50_us", "p99_us")

    def __attrs_post_init__(self) -> None:
        self.systems = ways(self.mode)

    @property
    def title(self) -> str:
        """
        See L{Work<tests.bench.works.Work>}.
        """
        return f"Cache locality, {self.mode.name}, {OBJECTS:,} objects"

    @contextmanager
    def stage(self) -> Iterator[Stage]:
        """
        See L{Work.stage<tests.bench.works.Work.stage>}.  The caches are warm.
        """
        with Stage("benchcache", self.systems, origin=_CACHE).standing() as stage:
            for system in self.systems:
                self._start_stores(stage, system)
            for system in self.systems:
                self._warm(stage, system)
            yield stage

    def measure(self, stage: Stage, system: System) -> Run:
        """
        See L{Work.measure<tests.bench.works.Work.measure>}.
        """
        before = self._reads(stage, system)
        found = self._asked(stage, system, _LOAD)
        reads = self._reads(stage, system) - before
        rate = found.values.get("requests_per_s", 0.0)
        if not rate:
            return found
        hits = max(1 - reads / (rate * SECONDS), 0.0)
        costs = {"hits": hits, "store_reads_per_s": reads / SECONDS}
        return evolve(found, values={**found.values, **costs})

    def _asked(self, stage: Stage, system: System, load: Load) -> Run:
        wanted = [system.target(_FRONT, "")] * 2
        return loaded(stage, system, load, wanted, [str(OBJECTS), str(EXPONENT)])

    def _start_stores(self, stage: Stage, system: System) -> None:
        lab = stage.lab(system)
        for node in lab.nodes:
            with (lab.home(node) / "store.log").open("wb") as log:
                command = [sys.executable, "-m", "tests.bench.store"]
                lab.popen(node, command, stdout=log, stderr=log)
        deadline = time.monotonic() + _START
        while self._reads(stage, system, patient=True) < 0:
            if time.monotonic() > deadline:
                raise LabError("a store does not start")
            time.sleep(0.1)

    def _warm(self, stage: Stage, system: System) -> None:
        """
        Fill the caches as the way fills them, from stores that are not slow yet.
        """
        self._ask_stores(stage, system, "delay/0")
        self._asked(stage, system, evolve(_LOAD, seconds=_WARM))
        self._ask_stores(stage, system, f"delay/{DELAY}")

    def _reads(self, stage: Stage, system: System, patient: bool = False) -> int:
        said = self._ask_stores(stage, system, "reads")
        numbers = [int(text) for text in said if re.fullmatch(r"\d+\s*", text)]
        if len(numbers) == len(said):
            return sum(numbers)
        if patient:
            return -1
        raise LabError(f"a store does not answer: {said}")

    def _ask_stores(self, stage: Stage, system: System, what: str) -> list[str]:
        lab = stage.lab(system)
        said = []
        for node in lab.nodes:
            url = f"http://{addresses(node)[0]}:{ORIGIN_PORT}/store/{what}"
            done = lab.exec(node, ["curl", "-sS", "-m", "5", url])
            said.append(done.stdout.decode(errors="replace"))
        return said
