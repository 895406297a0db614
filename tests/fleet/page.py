# SPDX-License-Identifier: MIT
"""
What was found, as the tables of C{docs/scale.md}.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable, Iterator, Sequence

START, END = "<!-- fleet -->", "<!-- end of fleet -->"


def rewritten(page: str, text: str) -> str:
    """
    @param text: sections; those of the page with other headings stay.
    @return: the page with C{text} between the marks.
    @raise ValueError: it has no marks.
    """
    before, start, rest = page.partition(START)
    old, end, after = rest.partition(END)
    if not start or not end:
        raise ValueError(f"{START} and {END} are not there")
    found = "\n".join((_sections(old) | _sections(text)).values())
    return f"{before}{START}\n\n{found}\n{END}{after}"


def _sections(text: str) -> dict[str, str]:
    """
    @return: each by its heading, what is before the first by an empty one.
    """
    parts = re.split(r"^(?=### )", text.strip() + "\n", flags=re.MULTILINE)
    found = {part.partition("\n")[0] if part.startswith("### ") else "": part for part in parts}
    return {heading: f"{part.strip()}\n" for heading, part in found.items() if part.strip()}


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """
    @return: the lines of a Markdown table; all columns but the first are numbers.
    """
    yield f"| {' | '.join(heads)} |"
    yield f"|---|{'---:|' * (len(heads) - 1)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def machine() -> str:
    """
    @return: what the measured figures were measured on.
    """
    return (
        f"Linux {platform.release()}, {os.cpu_count()} processors, Python"
        f" {platform.python_version()}"
    )


def micro(seconds: float) -> str:
    """
    @return: such as C{12 us}.
    """
    value = seconds * 1e6
    return f"{value:,.0f} us" if value >= 10 else f"{value:.1f} us"


def octets(count: float) -> str:
    """
    @return: such as C{3.7 kB}.
    """
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count:,.0f} B"


def times(ratio: float) -> str:
    """
    @return: such as C{1.25}.
    """
    return f"{ratio:.2f}" if abs(ratio - 1) >= 0.005 else f"{ratio:.5f}"


def share(part: float) -> str:
    """
    @return: such as C{12.5 %}.
    """
    return f"{part:.1%}".replace("%", " %")
