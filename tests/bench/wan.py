# SPDX-License-Identifier: MIT
"""
C{WORK=wan}: clients at a distance; see C{docs/benchmark.md}.

A cell is a combination of round-trip time, congestion control, size, loss, options and way of use.
Each is measured for each system in turn, and again from the first, so that all have their share of
the machine's moods.  Unlike the other works, this one looks at what a client waits for, and at
packets that are sent again, not at what it costs.
"""

from __future__ import annotations

import json
import re
import sys
import time
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from statistics import median

from attrs import evolve, field, frozen

from btcp.lab import origin
from btcp.lab.cluster import Lab
from btcp.lab.programs import LabError, run
from btcp.lab.topology import CLIENT, ROUTER
from tests.bench.about import about
from tests.bench.counters import busy
from tests.bench.markdown import rewritten
from tests.bench.stage import Stage
from tests.bench.statistic import percentile
from tests.bench.systems import FRONT, SYSTEMS, System, lacking

DOCS = Path("docs")
PAGE = DOCS / "performance.md"
MARKS = "<!-- wan -->", "<!-- end of wan -->"
CLIENT_PROGRAM = Path(__file__).with_name("far.py")
OUTPUT = Path("build/bench")
HOLDER = "b"
SIZES = {"1k": 1 << 10, "100k": 100 << 10, "10m": 10 << 20}
DIRECT = "direct"
_LEFT_OUT = ("haproxy-default",)
_LONGEST = 600.0

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


def main(arguments: Sequence[str]) -> int:
    """
    @return: the exit status.
    """
    parser = ArgumentParser(prog="python -m tests.bench wan", description=__doc__)
    parser.add_argument("--all", action="store_true", help="every cell; takes hours")
    parser.add_argument("--only", default="", help="cells whose names have this regular expression")
    parser.add_argument("--systems", default="", help="likewise")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="rewrite docs/performance.md")
    options = parser.parse_args(arguments)
    lacks = lacking()
    for name, why in lacks.items():
        _say(f"without {name}: {'; '.join(why)}")
    systems = [
        each
        for each in SYSTEMS
        if each.name not in (*lacks, *_LEFT_OUT)
        and (each.direct or re.search(options.systems, each.name))
    ]
    cells = [each for each in (EVERYTHING if options.all else CHOICE)]
    cells = [each for each in cells if re.search(options.only, str(each))]
    head = about(options.rounds, busy(1.0))
    try:
        with Stage("benchwan", systems, origin=origin.CONFIG).standing() as stage:
            result = measured(stage, systems, cells, options.rounds)
    except LabError as problem:
        print(f"btcp: {problem}", file=sys.stderr)
        return 1
    _write(head, cells, result, options.write)
    return 0


def measured(stage: Stage, systems: Sequence[System], cells: Sequence[Cell], rounds: int) -> Result:
    """
    Measure all cells, one after the other.
    """
    began, result = time.monotonic(), Result()
    labs = {id(stage.lab(system)): stage.lab(system) for system in systems}.values()
    for lab in labs:
        for host in (CLIENT, *lab.nodes):
            # What was learnt of a path is not to be known to the next connection.
            run(lab.command(host, ["sysctl", "-q", "net.ipv4.tcp_no_metrics_save=1"]))
    for number, cell in enumerate(cells, 1):
        for lab in labs:
            prepare(lab, cell)
        found = {system.name: Found() for system in systems if cell.suits(system)}
        for _ in range(1 if cell.waits else rounds):
            for system in systems:
                if cell.suits(system):
                    _once(stage.lab(system), system, cell, found[system.name])
        result[str(cell)] = found
        _say(f"{number}/{len(cells)}, {time.monotonic() - began:.0f} s: {cell}: {_line(found)}")
    return result


def prepare(lab: Lab, cell: Cell) -> None:
    """
    Bring a lab to a cell's distance.
    """
    lab.distance(cell.rtt / 1000, loss=cell.loss)
    for host in (CLIENT, *lab.nodes):
        for family, gateway in zip(("-4", "-6"), _gateways(lab, host), strict=True):
            way = ["via", gateway, "congctl", cell.control]
            run(lab.command(host, ["ip", family, "route", "change", "default", *way]))
    stamps = f"net.ipv4.tcp_timestamps={int(cell.timestamps)}"
    run(lab.command(CLIENT, ["sysctl", "-q", stamps]))


def _gateways(lab: Lab, host: str) -> tuple[str, str]:
    if host == CLIENT:
        return "198.51.100.1", "2001:db8:1::1"
    return lab.address(ROUTER, 4), lab.address(ROUTER, 6)


def _once(lab: Lab, system: System, cell: Cell, found: Found) -> None:
    _, port, path = system.target(HOLDER, f"upload/{cell.size}" if cell.upload else cell.size)
    count, parallel = cell.exchanges
    task = {
        "host": lab.address(HOLDER if system.direct else FRONT, cell.family),
        "port": port,
        "path": path,
        "upload": SIZES[cell.size] if cell.upload else 0,
        "count": count,
        "parallel": parallel,
        "wait": 0.0,
        "warm": False,
        "pace": 0,
        **WAYS[cell.way],
    }
    if cell.wait:
        task["wait"] = cell.wait
    before = _sent_again(lab)
    command = [sys.executable, str(CLIENT_PROGRAM), json.dumps(task)]
    done = lab.exec(CLIENT, command, timeout=_LONGEST)
    try:
        said = json.loads(done.stdout)
    except ValueError:
        raise LabError(f"the client failed: {done.stderr.decode(errors='replace')}") from None
    found.seconds.extend(said["seconds"])
    found.errors.extend(said["errors"])
    found.again.append(_sent_again(lab) - before)


def _sent_again(lab: Lab) -> int:
    """
    @return: segments that the hosts have sent again so far; of the nodes without SYN/ACKs, which
        a replay makes the local TCP send twice, and does not let out.
    """
    total = _counter(lab, CLIENT, "snmp", "Tcp", "RetransSegs")
    for node in lab.nodes:
        total += _counter(lab, node, "snmp", "Tcp", "RetransSegs")
        total -= _counter(lab, node, "netstat", "TcpExt", "TCPSynRetrans")
    return total


def _counter(lab: Lab, host: str, file: str, group: str, name: str) -> int:
    text = lab.exec(host, ["cat", f"/proc/net/{file}"]).stdout.decode()
    keys, values = re.findall(rf"^{group}: (.*)$", text, re.MULTILINE)
    return int(dict(zip(keys.split(), values.split(), strict=True))[name])


# -- what is told of it ------------------------------------------------------------


def _line(found: Mapping[str, Found]) -> str:
    return "; ".join(f"{name} {_text(each)}" for name, each in found.items())


def _text(found: Found) -> str:
    if not found.seconds or found.errors:
        return f"{len(found.errors)} errors ({', '.join(sorted(set(found.errors)))})"
    return f"{median(found.seconds) * 1000:.4g}/{percentile(found.seconds, 99) * 1000:.4g}"


def _rows(cells: Sequence[Cell], result: Result) -> Iterator[str]:
    systems = list(dict.fromkeys(name for found in result.values() for name in found))
    yield f"| cell | {' | '.join(systems)} |"
    yield "|---|" + "---|" * len(systems)
    for cell in cells:
        found = result[str(cell)]
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


def _write(
    head: Mapping[str, object], cells: Sequence[Cell], result: Result, rewrite: bool
) -> None:
    lines = [
        f"{head['date']}, tree {head['tree']}. Milliseconds to the last octet, median / 99th "
        "percentile, in brackets the median beside the direct one's; *again*: segments that any "
        "host sent again, in all exchanges of the cell.",
        "",
        *_rows(cells, result),
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


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)
