# SPDX-License-Identifier: MIT
"""
Formatting of values as text with aligned columns.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Control characters but tabs and newlines, and those that change the direction of text."""


def printable(text: str) -> str:
    """
    Escape the characters by which another host's text could control a terminal.
    """
    return _CONTROLS.sub(lambda found: ascii(found[0])[1:-1], text)


def table(rows: Iterable[Sequence[object]]) -> str:
    """
    Format rows of equal length as aligned columns.

    @param rows: the heading and the other rows.  Columns whose cells are all numbers, except in
        the heading, are aligned to the right.
    @return: lines without trailing blanks, the last without a newline.
    """
    grid = list(rows)
    columns = list(zip(*grid, strict=True))
    widths = [max(len(str(cell)) for cell in column) for column in columns]
    right = [all(isinstance(cell, (int, float)) for cell in column[1:]) for column in columns]
    return "\n".join(
        "  ".join(
            str(cell).rjust(width) if numeric else str(cell).ljust(width)
            for cell, width, numeric in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in grid
    )


def flat(values: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """
    Flatten nested mappings; keys are joined with dots.
    """
    leaves: dict[str, object] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            leaves |= flat(value, f"{prefix}{key}.")
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves


def describe(name: str, values: object) -> str:
    """
    Format a JSON value as tables: one for each list in it, and one for everything else.

    @param name: the heading for values that have no name of their own.
    """
    if isinstance(values, list):
        return _listed(name, values)
    if not isinstance(values, dict):
        return f"{name} {values}"
    lists = {key: value for key, value in values.items() if isinstance(value, list)}
    single = flat({key: value for key, value in values.items() if key not in lists})
    parts = [table([("name", "value"), *single.items()])] if single else []
    parts += [_listed(key, items) for key, items in lists.items()]
    return "\n\n".join(parts)


def _listed(name: str, items: Sequence[object]) -> str:
    if not items:
        return f"no {name}"
    rows = [flat(item) if isinstance(item, Mapping) else {name: item} for item in items]
    heading = list(dict.fromkeys(key for row in rows for key in row))
    return table([heading, *([row.get(key, "") for key in heading] for row in rows)])
