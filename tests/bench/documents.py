# SPDX-License-Identifier: MIT
"""
Where a result is written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.bench.markdown import page, rewritten
from tests.bench.plots import draw
from tests.bench.result import Result, dumped
from tests.bench.works import Work

DOCS = Path("docs")
PAGE = DOCS / "performance.md"


def write_all(
    result: Result,
    works: Sequence[Work],
    ratios: Mapping[str, float | None],
    beside: Sequence[str],
) -> None:
    """
    What a run of everything leaves in C{docs/}.

    @param beside: lines about an earlier result.
    """
    draw(result, works, DOCS / "performance")
    (DOCS / "performance" / "results.json").write_text(dumped(result, ratios))
    PAGE.write_text(rewritten(PAGE.read_text(), page(result, works, "performance", beside)))


def write_some(
    result: Result,
    works: Sequence[Work],
    ratios: Mapping[str, float | None],
    beside: Sequence[str],
    directory: Path,
) -> str:
    """
    What any run leaves in a directory of its own.

    @return: Markdown.
    """
    directory.mkdir(parents=True, exist_ok=True)
    draw(result, works, directory / "plots")
    (directory / "results.json").write_text(dumped(result, ratios))
    text = page(result, works, "plots", beside)
    (directory / "results.md").write_text(f"{text}\n")
    return text


def line(ratios: Mapping[str, float | None]) -> str:
    """
    @return: one line of JSON.
    """
    return json.dumps(ratios)
