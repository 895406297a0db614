# SPDX-License-Identifier: MIT
"""
Draws the state tables of L{btcp.handoff.states} into C{docs/control-protocol.md}.

Run C{python docs/states.py} after a change to the tables; a unit test compares.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path

from btcp.handoff.states import ACCEPT, ADOPT

PAGE = Path(__file__).with_name("control-protocol.md")
START, END = "<!-- states -->", "<!-- end of states -->"

Table = Mapping[Enum, Mapping[Enum, tuple[Enum, str]]]


def _name(state: Enum) -> str:
    return str(state.value).replace("-", "_")


def diagram(table: Table) -> Iterator[str]:
    """
    @return: the lines of a Mermaid diagram: the events that change the state.
    """
    yield "```mermaid"
    yield "stateDiagram-v2"
    yield "    direction TB"
    for state, events in table.items():
        arrows: dict[Enum, list[str]] = {}
        for event, (following, _) in events.items():
            if following is not state:
                arrows.setdefault(following, []).append(str(event.value))
        for following, causes in arrows.items():
            yield f"    {_name(state)} --> {_name(following)} : {'; '.join(causes)}"
    yield "```"


def rows(table: Table) -> Iterator[str]:
    """
    @return: the lines of a Markdown table: every transition.
    """
    yield "| state | event | what is done | next state |"
    yield "|---|---|---|---|"
    for state, events in table.items():
        for event, (following, action) in events.items():
            done = action.replace("_", " ")
            yield f"| {state.value} | {event.value} | {done} | {following.value} |"


def section() -> str:
    """
    @return: what belongs between the two marks.
    """
    lines = ["### Front-end", "", *diagram(ACCEPT), "", *rows(ACCEPT), ""]  # type: ignore[arg-type]
    lines += ["### Back-end", "", *diagram(ADOPT), "", *rows(ADOPT)]  # type: ignore[arg-type]
    return "\n".join(lines)


def redrawn(page: str) -> str:
    """
    @return: the page with the present tables.
    """
    before, rest = page.split(START)
    after = rest.partition(END)[2]
    return f"{before}{START}\n\n{section()}\n\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(redrawn(PAGE.read_text()))
