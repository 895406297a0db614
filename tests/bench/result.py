# SPDX-License-Identifier: MIT
"""
What was measured, as values and as JSON; C{docs/benchmark.md} describes the schema.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import field, frozen

from tests.bench.statistic import Spread, spread

SCHEMA = 1


def _tuple(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(texts)


@frozen
class Run:
    """
    One measurement of one system.

    @ivar values: by metric, in the metric's unit.
    @ivar errors: how many requests failed.
    @ivar complaints: what went wrong, each once.
    @ivar samples: latencies in microseconds, if each request's was taken.
    """

    values: Mapping[str, float]
    errors: int = 0
    complaints: Sequence[str] = field(default=(), converter=_tuple)
    samples: Sequence[float] = ()


@frozen
class Outcome:
    """
    What one work was like in one system, round by round.
    """

    runs: Sequence[Run]

    @property
    def errors(self) -> int:
        """
        Failed requests of all rounds.
        """
        return sum(run.errors for run in self.runs)

    @property
    def complaints(self) -> list[str]:
        """
        What went wrong, each once.
        """
        return list(dict.fromkeys(one for run in self.runs for one in run.complaints))

    @property
    def sound(self) -> bool:
        """
        Whether a figure may be made of it.
        """
        return bool(self.runs) and not self.errors and not self.complaints

    def rounds(self, metric: str) -> list[float]:
        """
        @return: the metric's values of those rounds that have one.
        """
        return [run.values[metric] for run in self.runs if metric in run.values]

    def spread(self, metric: str) -> Spread | None:
        """
        @return: C{None} if there was an error, or no such thing to measure.
        """
        values = self.rounds(metric)
        return spread(values) if self.sound and values else None


@frozen
class Part:
    """
    What a daemon spends in one of its modules, and in what that calls, for a connection.

    @ivar module: as in C{btcp/handoff/accept.py}.
    @ivar own_us: microseconds in the module itself, its system calls included.
    @ivar libraries_us: microseconds in libraries that it called.
    """

    module: str
    own_us: float
    libraries_us: float


@frozen
class Daemon:
    """
    What a daemon spends for a connection.

    @ivar name: C{front-end} or C{back-end}.
    @ivar connections: that were looked at.
    @ivar user_us: microseconds in Python and its libraries.
    @ivar system_us: microseconds in system calls: what its packets cause in the kernel's TCP and
        in others' sockets is in there.
    @ivar parts: the dearest first.
    """

    name: str
    connections: int
    user_us: float
    system_us: float
    parts: Sequence[Part]


@frozen
class Result:
    """
    @ivar about: date, tree, machine, kernel, versions.
    @ivar works: by work, then by system.
    @ivar programs: C{(program, packet, nanoseconds)} of the kernel's programs.
    @ivar profile: of the daemons, where they decide each connection.
    """

    about: Mapping[str, Any]
    works: Mapping[str, Mapping[str, Outcome]]
    programs: Sequence[tuple[str, str, int]] = field(default=())
    profile: Sequence[Daemon] = field(default=())


def dumped(result: Result, ratios: Mapping[str, float | None]) -> str:
    """
    @return: JSON.
    """
    works = {
        work: {system: _outcome(outcome) for system, outcome in outcomes.items()}
        for work, outcomes in result.works.items()
    }
    document = {
        "schema": SCHEMA,
        **result.about,
        "ratios": ratios,
        "works": works,
        "programs": [
            {"program": program, "packet": packet, "ns": ns}
            for program, packet, ns in result.programs
        ],
        "profile": [_daemon(daemon) for daemon in result.profile],
    }
    return json.dumps(document, indent=1) + "\n"


def _outcome(outcome: Outcome) -> dict[str, Any]:
    metrics = dict.fromkeys(name for run in outcome.runs for name in run.values)
    found = {name: outcome.spread(name) for name in metrics}
    return {
        "errors": outcome.errors,
        "complaints": outcome.complaints,
        "metrics": {
            name: _short({"median": one.middle, "min": one.least, "max": one.most})
            for name, one in found.items()
            if one is not None
        },
        "rounds": [
            {"errors": run.errors, "complaints": list(run.complaints), **_short(run.values)}
            for run in outcome.runs
        ],
    }


def _daemon(daemon: Daemon) -> dict[str, Any]:
    parts = [
        {
            "module": part.module,
            **_short({"own_us": part.own_us, "libraries_us": part.libraries_us}),
        }
        for part in daemon.parts
    ]
    spent = _short({"user_us": daemon.user_us, "system_us": daemon.system_us})
    return {"daemon": daemon.name, "connections": daemon.connections, **spent, "parts": parts}


def _short(values: Mapping[str, float]) -> dict[str, float]:
    """
    @return: the same to six digits, more than any of them is good for.
    """
    return {name: float(f"{value:.6g}") for name, value in values.items()}


def loaded(path: Path) -> Result:
    """
    @raise ValueError: it is none of ours, or of another schema.
    """
    document = json.loads(path.read_text())
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise ValueError(f"{path} is no result of schema {SCHEMA}")
    works = {
        work: {system: _read(outcome) for system, outcome in outcomes.items()}
        for work, outcomes in document.pop("works").items()
    }
    programs = [(one["program"], one["packet"], one["ns"]) for one in document.pop("programs")]
    profile = tuple(
        Daemon(
            one["daemon"],
            one["connections"],
            one["user_us"],
            one["system_us"],
            [Part(**part) for part in one["parts"]],
        )
        for one in document.pop("profile", [])
    )
    about = {key: value for key, value in document.items() if key not in ("schema", "ratios")}
    return Result(about, works, programs, profile)


def _read(outcome: Mapping[str, Any]) -> Outcome:
    runs = []
    for one in outcome["rounds"]:
        values = dict(one)
        errors, complaints = values.pop("errors"), values.pop("complaints")
        runs.append(Run(values, errors, complaints))
    return Outcome(runs)
