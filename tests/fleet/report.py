# SPDX-License-Identifier: MIT
"""
Runs all parts.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from tests.fleet import dying, needs, spreading
from tests.fleet.page import machine
from tests.fleet.scale import Scale


def report(scale: Scale) -> Iterator[str]:
    """
    @return: the lines of the tables, in Markdown.
    """
    yield f"Written by `make fleet`; what is marked as measured, on {machine()}."
    yield ""
    for part in (spreading.balance, spreading.lasting, spreading.cost, dying.deaths):
        print(part.__name__, file=sys.stderr)
        yield from part(scale)
    print("costs", file=sys.stderr)
    costs = needs.costs(scale)
    for of in (needs.links_of, needs.memory, needs.sizes):
        yield from of(costs)
