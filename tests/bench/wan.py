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
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from btcp.lab import origin
from btcp.lab.cluster import Lab
from btcp.lab.programs import LabError, run
from btcp.lab.topology import CLIENT, ROUTER
from tests.bench.about import about
from tests.bench.counters import busy
from tests.bench.stage import Stage
from tests.bench.systems import FRONT, SYSTEMS, System, lacking
from tests.bench.wan_cells import CHOICE, EVERYTHING, SIZES, WAYS, Cell
from tests.bench.wan_result import Found, Result, line, loaded, write

CLIENT_PROGRAM = Path(__file__).with_name("far.py")
HOLDER = "b"
_LEFT_OUT = ("haproxy-default",)
_LONGEST = 600.0


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
    parser.add_argument("--result", type=Path, help="measure nothing; report this wan.json")
    options = parser.parse_args(arguments)
    if options.result:
        head, result = loaded(options.result)
        write(head, result, options.write)
        return 0
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
    write(head, result, options.write)
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
        suited = [system for system in systems if cell.suits(system)]
        found = {system.name: Found() for system in suited}
        if cell.waits:
            _at_once(stage, suited, cell, found)
        else:
            for system in suited * rounds:
                _once(stage.lab(system), system, cell, found[system.name])
        result[str(cell)] = found
        _say(f"{number}/{len(cells)}, {time.monotonic() - began:.0f} s: {cell}: {line(found)}")
    return result


def _at_once(
    stage: Stage, systems: Sequence[System], cell: Cell, found: Mapping[str, Found]
) -> None:
    """
    Measure all systems once, those of different labs at the same time: they wait.
    """
    groups: dict[int, list[System]] = {}
    for system in systems:
        groups.setdefault(id(stage.lab(system)), []).append(system)

    def measure(group: list[System]) -> None:
        for system in group:
            _once(stage.lab(system), system, cell, found[system.name])

    with ThreadPoolExecutor(len(groups)) as pool:
        list(pool.map(measure, groups.values()))


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


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)
