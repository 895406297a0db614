# SPDX-License-Identifier: MIT
"""
The results of C{WORK=wan}: as text, and as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from attrs import field, frozen

from tests.bench.markdown import rewritten
from tests.bench.statistic import percentile

DOCS = Path("docs")
PAGE = DOCS / "performance.md"
MARKS = "<!-- wan -->", "<!-- end of wan -->"
OUTPUT = Path("build/bench")
DIRECT = "direct"
_QUIET = 0.1


@frozen
class Found:
    """
    The exchanges of one system in a cell.

    @ivar seconds: of each exchange.
    @ivar again: segments that client and nodes sent again.
    """

    seconds: list[float] = field(factory=list)
    errors: list[str] = field(factory=list)
    again: list[int] = field(factory=list)


Result = dict[str, dict[str, Found]]


def line(found: Mapping[str, Found]) -> str:
    return "; ".join(f"{name} {_text(each)}" for name, each in found.items())


def _text(found: Found) -> str:
    if not found.seconds or found.errors:
        return f"{len(found.errors)} errors ({', '.join(sorted(set(found.errors)))})"
    return f"{median(found.seconds) * 1000:.4g}/{percentile(found.seconds, 99) * 1000:.4g}"


def loaded(path: Path) -> tuple[Mapping[str, Any], Result]:
    """
    @return: what C{wan.json} says of the run, and its cells.
    """
    head = json.loads(path.read_text())
    cells = head.pop("cells")
    return head, {
        cell: {name: Found(**each) for name, each in found.items()} for cell, found in cells.items()
    }


def rows(result: Result) -> Iterator[str]:
    systems = list(dict.fromkeys(name for found in result.values() for name in found))
    yield f"| cell | {' | '.join(systems)} |"
    yield "|---|" + "---|" * len(systems)
    for cell, found in result.items():
        best = median(found[DIRECT].seconds) if found[DIRECT].seconds else None
        cells_ = [_cell(found[name], best) if name in found else "" for name in systems]
        yield f"| {cell} | {' | '.join(cells_)} |"


def _cell(found: Found, best: float | None) -> str:
    if found.errors or not found.seconds or best is None:
        return f"{len(found.errors)} errors"
    middle, again = median(found.seconds), sum(found.again)
    text = f"{middle * 1000:.4g} / {percentile(found.seconds, 99) * 1000:.4g}"
    text += f" ({middle / best:.2f})"
    return text + (f", {again} again" if again else "")


def write(head: Mapping[str, Any], result: Result, rewrite: bool) -> None:
    busy_before = head["machine"]["busy_before"]
    noise = f" **The machine was not quiet**: others had {busy_before:.0%} of it."
    lines = [
        f"{head['date']}, tree {head['tree']}. Milliseconds to the last octet, median / 99th "
        "percentile, in brackets the median beside the direct one's; *again*: segments that any "
        "host sent again, in all exchanges of the cell." + noise * (busy_before > _QUIET),
        "",
        *rows(result),
    ]
    OUTPUT.mkdir(parents=True, exist_ok=True)
    text = "\n".join(lines)
    (OUTPUT / "wan.md").write_text(f"{text}\n")
    values = {
        cell: {
            name: {"seconds": each.seconds, "errors": each.errors, "again": each.again}
            for name, each in found.items()
        }
        for cell, found in result.items()
    }
    document = json.dumps({**head, "cells": values}, indent=1)
    (OUTPUT / "wan.json").write_text(f"{document}\n")
    print(text)
    if rewrite:
        PAGE.write_text(rewritten(PAGE.read_text(), text, *MARKS))
