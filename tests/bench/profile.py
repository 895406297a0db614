# SPDX-License-Identifier: MIT
"""
Where the microseconds go of a connection that Python decides.

Two daemons are looked at while new connections come as fast as they can: a front-end's and a
back-end's.  A sampling profiler says on whose behalf each worked, the kernel says how long.
"""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from attrs import frozen

import btcp
from btcp.lab.cluster import Lab
from btcp.lab.programs import LabError
from btcp.lab.topology import CLIENT
from tests.bench.counters import process_times
from tests.bench.measure import targets
from tests.bench.result import Daemon, Part
from tests.bench.stage import Stage
from tests.bench.systems import FRONT, HOLDERS, System
from tests.bench.wrk import Load, command

_LOAD = Load(64, 8, close=True)
_WATCHED = 6
"""Seconds, in the middle of the load."""

_RATE = 250
"""Samples a second: the profiler stops nobody for one, and so may miss some."""

_GRACE = 30
_PACKAGE = str(Path(btcp.__file__).parent)
_LIBRARIES = [Path(sysconfig.get_path(name)) for name in ("purelib", "platlib", "stdlib")]
_WAITING = re.compile(r";(?:\w+\.)?doPoll \([^;]*$")
"""A stack of Twisted's, while there is nothing to do."""

_PLACE = re.compile(r" \((.*?)(?::\d+)?\)$")


@frozen
class _Look:
    """
    At one daemon.

    @ivar counter: of its connections.
    """

    name: str
    node: str
    counter: str


_LOOKS = (
    _Look("front-end", FRONT, "handoff.done"),
    _Look("back-end", HOLDERS[0], "adopt.done"),
)


def profiled(system: System) -> list[Daemon]:
    """
    @raise LabError: it could not be done.
    """
    with Stage("profile", [system]).standing() as stage:
        return _watch(stage.lab(system), targets(system, "1k"))


def _watch(lab: Lab, wanted: Sequence[tuple[str, int, str]]) -> list[Daemon]:
    load = lab.popen(CLIENT, command(_LOAD, wanted), stderr=subprocess.STDOUT)
    try:
        before = [_used(lab, look) for look in _LOOKS]
        watching = [_sample(lab, look.node) for look in _LOOKS]
        folded = [_said(process) for process in watching]
        after = [_used(lab, look) for look in _LOOKS]
    finally:
        load.communicate(timeout=_GRACE)
    found = []
    for look, old, new, text in zip(_LOOKS, before, after, folded, strict=True):
        connections, user, system = (late - early for early, late in zip(old, new, strict=True))
        if not connections:
            raise LabError(f"the {look.name} had no connection")
        each = (user + system) / connections
        found.append(
            Daemon(
                look.name,
                int(connections),
                user / connections,
                system / connections,
                list(shared(text, each)),
            )
        )
    return found


def _used(lab: Lab, look: _Look) -> tuple[float, float, float]:
    """
    @return: connections, and microseconds in user and in system mode, so far.
    """
    counters: Mapping[str, int] = lab.query(look.node, "stats")["counters"]
    pid = lab.daemon_pid(look.node)
    assert pid is not None, "a daemon has ended"
    user, system = process_times(Path(f"/proc/{pid}/stat").read_text())
    return counters.get(look.counter, 0), user, system


def _sample(lab: Lab, node: str) -> subprocess.Popen[bytes]:
    """
    @return: a profiler that writes folded stacks to its standard output.
    """
    spy = Path(sys.executable).with_name("py-spy")
    manner = ["--nonblocking", "--full-filenames", "--format", "raw", "--output", "/dev/stdout"]
    span = ["--rate", str(_RATE), "--duration", str(_WATCHED)]
    argv = [str(spy), "record", "--pid", str(lab.daemon_pid(node)), *span, *manner]
    try:
        return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except OSError as problem:
        raise LabError(f"the profiler: {problem}") from None


def _said(process: subprocess.Popen[bytes]) -> str:
    output, complaint = process.communicate(timeout=_WATCHED + _GRACE)
    if process.returncode:
        raise LabError(f"the profiler: {complaint.decode(errors='replace').strip()}")
    return output.decode()


def shared(folded: str, microseconds: float) -> Iterator[Part]:
    """
    Give each module its part of what a connection costs.

    @param folded: a line for each stack, outermost frame first: C{function (file:line);…} and
        how often it was seen.
    @return: the dearest first.  What a library does is its caller's; where nobody in BTCP
        called, it is the library's own.
    """
    own, libraries = Counter[str](), Counter[str]()
    for line in folded.splitlines():
        stack, _, count = line.rpartition(" ")
        if not count.isdigit() or _WAITING.search(stack):
            continue
        files = [match[1] for match in map(_PLACE.search, stack.split(";")) if match]
        if not files:
            continue
        ours = [file for file in files if file.startswith(_PACKAGE)]
        module = (ours or files)[-1]
        (libraries if module != files[-1] or not ours else own)[_module(module)] += int(count)
    seen = own + libraries
    unit = microseconds / (seen.total() or 1)
    for module, _ in seen.most_common():
        yield Part(module, own[module] * unit, libraries[module] * unit)


def _module(file: str) -> str:
    """
    @return: the file below where its package is.
    """
    for place in (*_LIBRARIES, Path(_PACKAGE).parent):
        if Path(file).is_relative_to(place):
            return str(Path(file).relative_to(place))
    return file
