# SPDX-License-Identifier: MIT
"""
The command; see C{docs/benchmark.md}.
"""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from btcp.lab.programs import LabError
from tests.bench import counters, documents, profile, programs, wan
from tests.bench.about import about
from tests.bench.baseline import agreement, falls
from tests.bench.flood import Flood
from tests.bench.flows import Flows
from tests.bench.latency import Latency
from tests.bench.locality import Locality
from tests.bench.ratios import flat
from tests.bench.result import Daemon, Outcome, Result, Run, loaded
from tests.bench.stage import Stage
from tests.bench.systems import SYSTEMS, System, lacking
from tests.bench.works import Work, plain

ROUNDS = 5
_REST = 0.3
"""Seconds between two measurements, for connections to end."""

_LOOK = 2.0
"""Seconds, for what others do on this machine."""

PROGRAMS = "programs"
PROFILE = "profile"
WAN = "wan"
"""Not one of L{works}: it does not measure what a machine can do, and has cells."""

_OTHERS = (PROGRAMS, PROFILE)
"""What compares no systems."""

OUTPUT = Path("build/bench")


def works(systems: Sequence[System]) -> dict[str, Work]:
    """
    @return: by name, in the order in which they are done.
    """
    # HAProxy's defaults say nothing more in these, and a run is long enough.
    fewer = [system for system in systems if system.name != "haproxy-default"]
    every: tuple[Work, ...] = (
        *plain(systems),
        Latency(systems),
        Flood(fewer),
        Flows(fewer),
        Locality(_daemons(systems)),
    )
    return {work.name: work for work in every}


def _daemons(systems: Sequence[System]) -> System:
    """
    @return: the fastest mode in which the daemon decides, for policies are its own.
    """
    return [each for each in systems if not (each.config or {}).get("express")][-1]


def main(arguments: Sequence[str] | None = None) -> int:
    """
    @return: the exit status.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    if words[:1] == [WAN]:
        return wan.main(words[1:])
    lacks = lacking()
    for name, why in lacks.items():
        _say(f"without {name}: {'; '.join(why)}")
    systems = [system for system in SYSTEMS if system.name not in lacks]
    if systems[-1].config is None:
        return 1
    known = works(systems)
    options = _options(known, arguments)
    try:
        before = loaded(options.baseline) if options.baseline else None
        again = loaded(options.result) if options.result else None
    except (OSError, ValueError) as problem:
        print(f"btcp: {problem}", file=sys.stderr)
        return 2
    try:
        result = again or _measured(known, systems, options)
    except LabError as error:
        print(f"btcp: {error}", file=sys.stderr)
        return 1
    chosen = [known[name] for name in known if name in result.works]
    everything = not options.work and len(chosen) == len(known)
    _report(result, chosen, everything, before, options.output)
    return 0


def _measured(known: Mapping[str, Work], systems: Sequence[System], options: Namespace) -> Result:
    """
    @raise LabError: it cannot be done.
    """
    busy = counters.busy(_LOOK)
    wanted = options.work or [*known, *_OTHERS]
    measured: list[tuple[str, str, int]] = []
    profiled: list[Daemon] = []
    if PROGRAMS in wanted:
        _say("the kernel's programs")
        measured = programs.measured()
    if PROFILE in wanted:
        _say("where the microseconds go")
        profiled = profile.profiled(_daemons(systems))
    chosen = [known[name] for name in wanted if name in known]
    found = _measure(chosen, systems, options.rounds, options.output / "logs")
    return Result(about(options.rounds, busy), found, measured, profiled)


def _options(known: Mapping[str, Work], arguments: Sequence[str] | None) -> Namespace:
    parser = ArgumentParser(prog="python -m tests.bench", description=__doc__)
    choices = [*known, *_OTHERS]
    parser.add_argument("work", nargs="*", help=f"one of {', '.join(choices)}; all if none is said")
    parser.add_argument("--baseline", type=Path, help="an earlier results.json to compare with")
    parser.add_argument("--result", type=Path, help="measure nothing; report this results.json")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--output", type=Path, default=OUTPUT, help="the results' directory")
    options = parser.parse_args(arguments)
    for name in options.work:
        if name not in choices:
            parser.error(f"there is no work {name!r}: {', '.join(choices)}")
    if options.rounds < 1:
        parser.error("at least one round")
    return options


def _measure(
    chosen: Sequence[Work], systems: Sequence[System], rounds: int, logs: Path
) -> dict[str, dict[str, Outcome]]:
    """
    Those works first that share their labs.

    @param logs: where those of systems with errors are left.
    """
    found: dict[str, dict[str, Outcome]] = {}
    staged = [(work, work.stage()) for work in chosen]
    shared = [work for work, stage in staged if stage is None]
    if shared:
        with Stage("bench", systems).standing() as stage:
            for work in shared:
                found[work.name] = _rounds(work, stage, rounds, logs)
    for work, own in staged:
        if own is not None:
            _say(f"{work.name}: labs of its own")
            with own as stage:
                found[work.name] = _rounds(work, stage, rounds, logs)
    return {work.name: found[work.name] for work in chosen}


def _rounds(work: Work, stage: Stage, rounds: int, logs: Path) -> dict[str, Outcome]:
    """
    Each system once, and again from the first, so that all have their share of the machine's moods.
    """
    runs: dict[str, list[Run]] = {system.name: [] for system in work.systems}
    start = time.monotonic()
    for number in range(1, rounds + 1):
        for system in work.systems:
            runs[system.name].append(_once(work, stage, system, logs))
            time.sleep(_REST)
        _say(f"{work.name}: round {number} of {rounds}, {time.monotonic() - start:.0f} s")
    return {name: Outcome(of) for name, of in runs.items()}


def _once(work: Work, stage: Stage, system: System, logs: Path) -> Run:
    try:
        run = work.measure(stage, system)
    except LabError as problem:
        run = Run({}, 1, [str(problem)])
    if run.errors or run.complaints:
        _say(f"{work.name}: {system.name}: {'; '.join(run.complaints)}")
        stage.keep_logs(system, logs / f"{work.name}.{system.name}")
    return run


def _report(
    result: Result,
    chosen: Sequence[Work],
    everything: bool,
    before: Result | None,
    output: Path,
) -> None:
    primary = {work.name: work.primary for work in chosen}
    ratios = flat(result.works, primary)
    beside = [] if before is None else list(_compared(before, result, primary))
    print(documents.write_some(result, chosen, ratios, beside, output))
    if everything:
        documents.write_all(result, chosen, ratios, beside)
    print()
    print(documents.line(ratios))


def _compared(before: Result, result: Result, primary: Mapping[str, str]) -> Iterator[str]:
    yield f"### Beside the result of {before.about['date']}, tree {before.about['tree']}"
    yield ""
    fell = list(falls(before.works, result.works, primary))
    yield from (f"- fell: {one}" for one in fell)
    if not fell:
        yield "Nothing fell by more than the noise of both."
    apart = agreement(before.works, result.works, primary)
    if apart:
        key = max(apart, key=lambda key: abs(apart[key]))
        near = sum(abs(one) <= 0.1 for one in apart.values())
        yield ""
        yield (
            f"{near} of {len(apart)} ratios agree within 10 %; "
            f"furthest apart is {key}, by {apart[key]:+.1%}."
        )


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
