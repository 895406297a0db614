# SPDX-License-Identifier: MIT
"""
The cells of C{WORK=wan}: combinations of distance, object and way of use.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

from attrs import evolve, frozen

from tests.bench.systems import System

SIZES = {"1k": 1 << 10, "100k": 100 << 10, "10m": 10 << 20}

WAYS: Mapping[str, Mapping[str, float]] = {
    "new": {},
    "early": {"wait": 10.0},
    "kept": {"wait": 10.0, "warm": 1},
    "slow": {"pace": 200_000},
}
"""How a connection is used: at once; ten seconds after it was made; again after ten seconds; by a
client that reads 200 kB/s from a small buffer."""


@frozen
class Cell:
    """
    @ivar rtt: milliseconds that the lab adds.
    @ivar control: congestion control of client and nodes.
    @ivar loss: per cent, in each direction.
    @ivar upload: the client sends the octets with POST, else it gets them.
    @ivar way: one of L{WAYS}.
    @ivar wait: seconds, in place of the way's own.
    """

    rtt: int
    control: str
    size: str
    loss: float = 0.0
    timestamps: bool = True
    upload: bool = False
    family: int = 4
    way: str = "new"
    wait: float = 0.0

    def __str__(self) -> str:
        words = [f"{self.rtt} ms", self.control, self.size]
        words += [f"{self.loss:g} % loss"] * bool(self.loss) + ["POST"] * self.upload
        words += ["no timestamps"] * (not self.timestamps) + ["IPv6"] * (self.family == 6)
        waits = f" {self.wait:g} s" if self.wait else ""
        words += [f"{self.way}{waits}"] * (self.way != "new")
        return ", ".join(words)

    @property
    def waits(self) -> bool:
        """
        @return: whether a round takes long by itself.
        """
        return self.way in ("early", "kept")

    @property
    def exchanges(self) -> tuple[int, int]:
        """
        @return: how many in a round, and how many of them at a time.
        """
        if self.size == "10m":
            return (2, 1) if not self.loss else (3, 3)
        return (20, 10) if self.loss else (8, 8 if self.rtt >= 30 else 1)

    def suits(self, system: System) -> bool:
        """
        The peers listen on IPv4 only; the raw datapath is for small objects.
        """
        if self.family == 6 and system.command:
            return False
        return not (self.size == "10m" and system.name.startswith("raw"))


CHOICE: tuple[Cell, ...] = (
    *(
        Cell(rtt, control, size)
        for rtt, control, size in product((1, 30, 100, 250), ("cubic", "bbr"), SIZES)
    ),
    *(
        Cell(30, control, size, loss=1)
        for control, size in product(("cubic", "bbr"), ("1k", "100k"))
    ),
    *(Cell(10, control, "10m", loss=1) for control in ("cubic", "bbr")),
    *(Cell(100, "cubic", size, timestamps=False) for size in SIZES),
    *(Cell(100, "cubic", size, upload=True) for size in SIZES),
    *(Cell(100, "bbr", size, family=6) for size in ("1k", "100k", "10m")),
    Cell(100, "cubic", "100k", way="early"),
    Cell(100, "cubic", "100k", way="kept"),
    Cell(250, "cubic", "100k", way="slow"),
)
"""What says most, in a quarter of an hour."""

EVERYTHING: tuple[Cell, ...] = (
    *(
        Cell(rtt, control, size, loss, timestamps, upload)
        for rtt, control, size, loss, timestamps, upload in product(
            (1, 10, 30, 100, 250),
            ("cubic", "bbr"),
            SIZES,
            (0.0, 1.0),
            (True, False),
            (False, True),
        )
    ),
    *(evolve(cell, family=6) for cell in CHOICE if cell.family == 4),
    *(Cell(100, "cubic", "100k", way=way, wait=60) for way in ("early", "kept")),
    Cell(100, "cubic", "100k", way="early", wait=300),
)
