# SPDX-License-Identifier: MIT
"""
A result as text for people, in Markdown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tests.bench.metrics import METRICS
from tests.bench.ratios import compared, peers_of, ratio
from tests.bench.result import Daemon, Outcome, Result
from tests.bench.works import Work

_QUIET = 0.1
_DEAREST = 12
"""Modules of a profile that have a row of their own."""

START, END = "<!-- bench -->", "<!-- end of bench -->"


def rewritten(text: str, inside: str, first: str = START, last: str = END) -> str:
    """
    @return: the page with another part between the marks.
    @raise ValueError: it has no marks.
    """
    before, start, rest = text.partition(first)
    _, end, after = rest.partition(last)
    if not start or not end:
        raise ValueError(f"{first} and {last} are not there")
    return f"{before}{first}\n\n{inside}\n\n{last}{after}"


def page(result: Result, works: Sequence[Work], plots: str, beside: Sequence[str] = ()) -> str:
    """
    @param works: those that are in the result.
    @param plots: where the plots are, from the page; empty if there are none.
    @param beside: lines about an earlier result.
    """
    lines = [*_head(result), ""]
    lines += ["### Ratios of medians", "", *_ratios(result, works), ""]
    lines += ["### Where BTCP is behind", "", *_behind(result, works), ""]
    if beside:
        lines += [*beside, ""]
    for work in works:
        outcomes = result.works[work.name]
        lines += [f"### {work.title}", "", f"`WORK={work.name}`", ""]
        lines += [*rows(work, outcomes), ""]
        lines += [*_complaints(outcomes)]
        if plots:
            lines += [f"![{work.title}]({plots}/{work.name}.svg)", ""]
    if result.profile:
        title = "Where the microseconds go of a connection that Python decides"
        lines += [f"### {title}", "", "`WORK=profile`", "", *_profile(result), ""]
    if result.programs:
        lines += ["### The kernel's programs", "", "`WORK=programs`", "", *_programs(result), ""]
    return "\n".join(lines).rstrip()


def _head(result: Result) -> Iterator[str]:
    machine, versions = result.about["machine"], result.about["versions"]
    names = ", ".join(f"{name} {number}" for name, number in versions.items())
    yield (
        f"{result.about['date']}, tree {result.about['tree']}, {result.about['rounds']} rounds. "
        f"{machine['kernel']}, {machine['processors']} x {machine['processor']}, "
        f"{machine['memory_mb']:,} MB. {names}."
    )
    if machine["busy_before"] > _QUIET:
        yield ""
        yield (
            f"**The machine was not quiet**: others had {machine['busy_before']:.0%} of it before "
            "this began. Two such runs do not agree."
        )


def _table(heading: Sequence[str], body: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(heading)} |"
    yield f"|{'---|' * len(heading)}"
    for row in body:
        yield f"| {' | '.join(row)} |"


def rows(work: Work, outcomes: Mapping[str, Outcome]) -> Iterator[str]:
    """
    @return: a table with a row for each system: medians, and the least and the most.
    """
    shown = [name for name in work.shown if any(one.rounds(name) for one in outcomes.values())]
    body = []
    for system, outcome in outcomes.items():
        cells = []
        for name in shown:
            spread = outcome.spread(name)
            nothing = "–" if outcome.sound else "errors"
            cells.append(METRICS[name].text(spread) if spread else nothing)
        body.append([system, *cells])
    return _table(["", *(METRICS[name].title for name in shown)], body)


def _complaints(outcomes: Mapping[str, Outcome]) -> Iterator[str]:
    for system, outcome in outcomes.items():
        if not outcome.sound:
            said = "; ".join(outcome.complaints[:4])
            yield f"- {system}: no figure, {outcome.errors} errors in all rounds: {said}"
    if not all(outcome.sound for outcome in outcomes.values()):
        yield ""


def _ratios(result: Result, works: Sequence[Work]) -> Iterator[str]:
    """
    One table for the works that have the same peers.
    """
    groups: dict[tuple[str, ...], list[Work]] = {}
    for work in works:
        groups.setdefault(tuple(peers_of(result.works[work.name])), []).append(work)
    for peers, members in groups.items():
        body = []
        for work in members:
            outcomes = result.works[work.name]
            metric = METRICS[work.primary]
            for mode in outcomes:
                if mode not in peers:
                    found = [ratio(outcomes, work.primary, mode, peer) for peer in peers]
                    cells = ["errors" if one is None else f"{one:.2f}" for one in found]
                    better = "more is better" if metric.rises else "less is better"
                    body.append([work.name, f"{metric.title}, {better}", mode, *cells])
        yield from _table(["work", "of", "mode", *(f"/ {peer}" for peer in peers)], body)
        yield ""


def _behind(result: Result, works: Sequence[Work]) -> Iterator[str]:
    found = False
    for work in works:
        outcomes, rises = result.works[work.name], METRICS[work.primary].rises
        behind: dict[str, list[str]] = {}
        for mode, peer in compared(outcomes):
            value = ratio(outcomes, work.primary, mode, peer)
            if value is not None and (value < 1 if rises else value > 1):
                behind.setdefault(mode, []).append(f"{value:.2f} of {peer}")
        for mode, ratios in behind.items():
            found = True
            yield f"- {work.name}, {mode}: {', '.join(ratios)}"
    if not found:
        yield "Nowhere in this run."


def _programs(result: Result) -> Iterator[str]:
    body = [[program, packet, str(ns)] for program, packet, ns in result.programs]
    return _table(["program", "packet", "ns"], body)


def _profile(result: Result) -> Iterator[str]:
    for daemon in result.profile:
        yield (
            f"The {daemon.name}'s daemon: {daemon.user_us + daemon.system_us:,.0f} µs, of which "
            f"{daemon.system_us:,.0f} in system calls, over {daemon.connections:,} connections."
        )
        yield ""
        yield from _table(["module", "itself, µs", "in libraries, µs"], list(_parts(daemon)))
        yield ""


def _parts(daemon: Daemon) -> Iterator[Sequence[str]]:
    dear, others = daemon.parts[:_DEAREST], daemon.parts[_DEAREST:]
    for part in dear:
        yield f"`{part.module}`", f"{part.own_us:,.0f}", f"{part.libraries_us:,.0f}"
    own = sum(one.own_us for one in others)
    libraries = sum(one.libraries_us for one in others)
    yield f"{len(others)} others", f"{own:,.0f}", f"{libraries:,.0f}"
