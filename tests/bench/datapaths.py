# SPDX-License-Identifier: MIT
"""
How fast each datapath is beside a direct connection; prints, asserts nothing.

Labs stand side by side: one for each mode of BTCP, and one where clients connect to the origins
themselves.  All of a cluster shares this one machine with its clients, so the figures are good for
comparing what was measured side by side in one run, and for nothing else.  The last line is a
JSON object.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from shutil import which
from statistics import median

from attrs import define, field, frozen

from btcp.lab.cluster import Lab
from btcp.lab.programs import ENVIRONMENT, LabError, run
from btcp.lab.topology import CLIENT, ORIGIN_PORT, url
from btcp.table import table

ROUNDS = 5
_SECONDS = 2
_REST = 0.3
"""Seconds between two measurements, for connections to end."""

DIRECT = "direct"
MODES = {
    "raw+replay": {"datapath": "raw"},
    "ebpf+replay": {"datapath": "ebpf", "adoption": "replay"},
    "ebpf+cookie": {"datapath": "ebpf", "adoption": "cookie"},
}
"""What the nodes' configuration says in each mode."""

_PAIRS = (("a", "b"), ("b", "c"), ("c", "a"))
"""Front-end, and the node that has the content."""

_READ = re.compile(r"(\d+) requests in ([\d.]+)s, ([\d.]+)([KMG]?)B read")

_ERRORS = re.compile(r"Socket errors: .*|Non-2xx or 3xx responses: .*")
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_TICK = 1e6 / os.sysconf("SC_CLK_TCK")
"""Microseconds."""

_MEGABYTE = 1e6
_OBJECT = 10 << 20


@frozen
class Work:
    """
    What wrk is told to do.

    @ivar name: for people.
    @ivar key: for the JSON object.
    @ivar pairs: over how many pairs of front-end and back-end.
    @ivar connections: at once, of each pair.
    @ivar file: of the node's content.
    @ivar options: further ones.
    """

    name: str
    key: str
    pairs: int
    connections: int
    file: str
    options: tuple[str, ...] = ()


_CLOSE = ("-H", "Connection: close")
WORKS = (
    Work("new connections, 1 kB, three front-ends", "new", 3, 8, "1k", _CLOSE),
    Work("new connections, 1 kB, one front-end", "new_one", 1, 16, "1k", _CLOSE),
    Work("keep-alive requests, 1 kB, three front-ends", "kept", 3, 8, "1k"),
    Work("10 MB objects, three front-ends", "bulk", 3, 2, "10m"),
    Work("10 MB objects, one front-end", "bulk_one", 1, 4, "10m"),
)


@frozen
class Measured:
    """
    One run.

    @ivar rate: requests per second.
    @ivar speed: octets per second.
    @ivar machine: microseconds of all processors for a request.
    @ivar front: microseconds of the first front-end's daemon for a request.
    @ivar back: microseconds of its back-end's daemon for a request.
    @ivar share: octets that left the first front-end, of those delivered.
    @ivar errors: what wrk complains about, or empty.
    """

    rate: float
    speed: float
    machine: float
    front: float
    back: float
    share: float
    errors: str


@define
class Counters:
    """
    What the machine has used and sent so far.
    """

    machine: float
    front: float
    back: float
    sent: int


@define
class Bench:
    """
    Measurements in standing labs.

    @ivar labs: by way, L{DIRECT} or one of L{MODES}.
    @ivar runs: by work's key and way.
    """

    labs: dict[str, Lab]
    runs: dict[tuple[str, str], list[Measured]] = field(factory=dict)

    def round(self) -> None:
        """
        Each work once in each lab.
        """
        for work in WORKS:
            for way in self.labs:
                self.runs.setdefault((work.key, way), []).append(self._measure(work, way))
                time.sleep(_REST)

    def _measure(self, work: Work, way: str) -> Measured:
        before = self._counters(way)
        running = [self._wrk(work, way, *pair) for pair in _PAIRS[: work.pairs]]
        said = [process.communicate()[0].decode() for process in running]
        after = self._counters(way)
        finds = [_READ.search(text) for text in said]
        errors = [error for text in said for error in _ERRORS.findall(text)]
        requests = seconds = octets = 0.0
        for found in finds:
            if found is None:
                errors.append("wrk said nothing")
                continue
            seconds = max(seconds, float(found[2]))
            # Objects that did not end in time count as well.
            size = float(found[3]) * _UNITS[found[4]]
            octets += size
            requests += size / _OBJECT if work.file == "10m" else int(found[1])
        per = max(requests, 1e-9)
        return Measured(
            rate=requests / max(seconds, 1e-9),
            speed=octets / max(seconds, 1e-9),
            machine=(after.machine - before.machine) / per,
            front=(after.front - before.front) / per,
            back=(after.back - before.back) / per,
            share=(after.sent - before.sent) / max(octets, 1),
            errors="; ".join(errors),
        )

    def _wrk(self, work: Work, way: str, front: str, holder: str) -> subprocess.Popen[bytes]:
        path = f"/{holder}/{work.file}"
        target = url(holder, 4, path, ORIGIN_PORT) if way == DIRECT else url(front, 4, path)
        load = [f"-c{work.connections}", "-t1", f"-d{_SECONDS}", "--timeout", "5"]
        return self.labs[way].popen(CLIENT, ["wrk", *load, *work.options, target])

    def _counters(self, way: str) -> Counters:
        lab, (front, holder) = self.labs[way], _PAIRS[0]
        shown = run(lab.command(front, ["ip", "-s", "-j", "link", "show", "eth0"]))
        return Counters(
            _machine(),
            _process(lab.daemon_pid(front)),
            _process(lab.daemon_pid(holder)),
            json.loads(shown)[0]["stats64"]["tx"]["bytes"],
        )


def _machine() -> float:
    """
    Microseconds that all processors have worked.
    """
    with open("/proc/stat") as stat:
        user, nice, system, _, _, irq, softirq, *_ = map(int, stat.readline().split()[1:])
    return (user + nice + system + irq + softirq) * _TICK


def _process(pid: int | None) -> float:
    """
    Microseconds that a process has worked, 0 if there is none.
    """
    if pid is None:
        return 0.0
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK


# -- the report --------------------------------------------------------------------------------


@frozen
class Figure:
    """
    A line of the report.

    @ivar key: what it is called in the JSON object, after the work's key and the way.
    @ivar of: gives the value of one run.
    @ivar only: of BTCP; it means nothing for a direct connection.
    """

    name: str
    key: str
    of: Callable[[Measured], float]
    form: str = "{:,.0f}"
    only: bool = False


_RATE = Figure("requests/s", "per_s", lambda m: m.rate)
_SPEED = Figure("MB/s", "mb_per_s", lambda m: m.speed / _MEGABYTE)
_CPU = Figure("CPU of machine, us/request", "cpu_us", lambda m: m.machine)
_FRONT = Figure("CPU of front-end's daemon", "front_us", lambda m: m.front, only=True)
_BACK = Figure("CPU of back-end's daemon", "back_us", lambda m: m.back, only=True)
_SHARE = Figure("bytes front-end sent/delivered", "front_share", lambda m: m.share, "{:.2%}", True)

_FIGURES = {
    "new": (_RATE, _CPU),
    "new_one": (_RATE, _CPU, _FRONT, _BACK, _SHARE),
    "kept": (_RATE, _CPU),
    "bulk": (_SPEED, _CPU),
    "bulk_one": (_SPEED, _CPU, _FRONT, _BACK, _SHARE),
}


def _spread(figure: Figure, runs: Sequence[Measured]) -> str:
    values = [figure.of(one) for one in runs]
    middle, least, most = map(figure.form.format, (median(values), min(values), max(values)))
    return f"{middle} ({least} - {most})"


def report(runs: dict[tuple[str, str], list[Measured]]) -> str:
    """
    @return: a table for people, and below it one line for programs.
    """
    ways = tuple(dict.fromkeys(way for _, way in runs))
    rows: list[tuple[object, ...]] = [("", *ways)]
    flat: dict[str, float | str] = {}
    for work in WORKS:
        rows.append((work.name.upper(), *("" for _ in ways)))
        for figure in _FIGURES[work.key]:
            found = {way: _value(figure, way, runs[work.key, way]) for way in ways}
            cells = (_cell(figure, way, runs[work.key, way], found) for way in ways)
            rows.append((figure.name, *cells))
            named = {f"{work.key}.{way}.{figure.key}": value for way, value in found.items()}
            flat |= {name: round(value, 4) for name, value in named.items() if value is not None}
        for way in ways:
            if error := _complaint(runs[work.key, way]):
                flat[f"{work.key}.{way}.errors"] = error
    return f"{table(rows)}\n\n{json.dumps(flat)}"


def _value(figure: Figure, way: str, runs: Sequence[Measured]) -> float | None:
    """
    @return: the median, C{None} if there is none to show.
    """
    if _complaint(runs) or (figure.only and way == DIRECT):
        return None
    return median(map(figure.of, runs))


def _cell(
    figure: Figure, way: str, runs: Sequence[Measured], found: dict[str, float | None]
) -> str:
    value, direct = found[way], found[DIRECT]
    if value is None:
        return _complaint(runs) or "-"
    ratio = f"  {value / direct:.2f}" if direct and way != DIRECT else ""
    return _spread(figure, runs) + ratio


def _complaint(runs: Sequence[Measured]) -> str:
    """
    What went wrong in the first run with an error.
    """
    return next((f"errors: {one.errors}" for one in runs if one.errors), "")


def main() -> int:
    """
    @return: the exit status.
    """
    if which("wrk", path=ENVIRONMENT["PATH"]) is None:
        print("btcp: wrk is missing: apt-get install wrk", file=sys.stderr)
        return 1
    labs = {DIRECT: Lab("benchdirect")}
    for number, (mode, config) in enumerate(MODES.items()):
        labs[mode] = Lab(f"bench{number}", config=config)
    bench = Bench(labs)
    try:
        for way, lab in labs.items():
            lab.up(daemons=way != DIRECT)
        for number in range(1, ROUNDS + 1):
            bench.round()
            print(f"round {number} of {ROUNDS}", file=sys.stderr)
    except LabError as error:
        print(f"btcp: {error}", file=sys.stderr)
        return 1
    finally:
        for lab in labs.values():
            lab.down()
    print(f"Linux {os.uname().release}, {os.cpu_count()} processors")
    print(f"median of {ROUNDS} runs of {_SECONDS} s (least - most), and its ratio to direct\n")
    print(report(bench.runs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
