# SPDX-License-Identifier: MIT
"""
Stands in for L{btcp.datapath.ebpf.libbpf.Ring}.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class FakeRing(Generic[T]):
    """
    @ivar events: not yet consumed.
    """

    fd = -1

    def __init__(self, take: Callable[[T], None]) -> None:
        self._take = take
        self.events: list[T] = []
        self.closed = False

    def consume(self) -> None:
        for event in self.events:
            self._take(event)
        self.events.clear()

    def close(self) -> None:
        self.closed = True
