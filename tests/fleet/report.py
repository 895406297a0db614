# SPDX-License-Identifier: MIT
"""
Runs all parts.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType

from tests.fleet import needs
from tests.fleet.dying import deaths
from tests.fleet.page import machine
from tests.fleet.scale import Scale
from tests.fleet.spreading import balance, cost, lasting


def _costs(scale: Scale) -> Iterator[str]:
    costs = needs.costs(scale)
    for of in (needs.links_of, needs.memory, needs.sizes):
        yield from of(costs)


PARTS: Mapping[str, Callable[[Scale], Iterator[str]]] = MappingProxyType(
    {
        "balance": balance,
        "lasting": lasting,
        "decisions": cost,
        "deaths": deaths,
        "costs": _costs,
    }
)


def report(scale: Scale, parts: Sequence[str] = tuple(PARTS)) -> Iterator[str]:
    """
    @return: the lines of the tables, in Markdown.
    """
    yield f"Written by `make fleet`; what is marked as measured, on {machine()}."
    yield ""
    for part in parts:
        print(part, file=sys.stderr)
        yield from PARTS[part](scale)
