# SPDX-License-Identifier: MIT
"""
C{btcp top}: a live view of a node and its cluster.
"""

from __future__ import annotations

import os
import select
import shutil
import sys
import termios
import time
import tty
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any

from attrs import frozen

from btcp.admin.client import Connection, Unreachable
from btcp.admin.protocol import Status
from btcp.table import table

# The label of each rate, and the prefixes of the counters that are added up for it.
_RATES = (
    ("connections", ("accept.established",)),
    ("handed to peers", ("handoff.sent",)),
    ("handed to itself", ("handoff.local",)),
    ("adopted", ("adopt.done",)),
    ("ended", ("ended.",)),
    ("refused", ("handoff.refused.", "adopt.refused.")),
    ("answered by itself", ("answered.",)),
    ("dropped packets", ("dropped.",)),
    ("packets by the kernel", ("ebpf.forwarded", "ebpf.sent", "ebpf.admitted")),
)

_NODES = ("node", "admin", "health", "link", "weight", "load", "rate", "fronts", "backs")

_CLEAR = "\x1b[H\x1b[2J"
_OTHER_SCREEN, _OWN_SCREEN = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"


@frozen
class Sample:
    """
    The state of a node at one time.

    @ivar at: monotonic seconds.
    @ivar info: the answer to C{show info}.
    @ivar stats: the answer to C{show stats}.
    @ivar nodes: the answer to C{show nodes}.
    """

    at: float
    info: Mapping[str, Any]
    stats: Mapping[str, Any]
    nodes: Sequence[Mapping[str, Any]]


def sample(connection: Connection, now: float) -> Sample:
    """
    Query a node's state.

    @param now: monotonic seconds.
    @raise Unreachable: if the node does not answer.
    """
    said = [connection.ask(f"show {what}") for what in ("info", "stats", "nodes")]
    for reply in said:
        if reply.status is not Status.DONE:
            raise Unreachable(f"{connection.where}: {reply.value['error']}")
    info, stats, nodes = (reply.value for reply in said)
    return Sample(now, info["info"], stats, nodes["nodes"])


def view(before: Sample, after: Sample, width: int, height: int) -> list[str]:
    """
    Lay out a screen.

    @param before: the previous sample, for rates.
    @param after: the current sample.
    @param width: of the screen, in characters.
    @param height: of the screen, in lines.
    @return: the lines of the screen.
    """
    info, flows = after.info, after.stats["flows"]
    lines = [
        f"btcp {info['version']}  node {info['node']}  up {_period(info['uptime'])}"
        f"  {info['datapath']} datapath, adoption by {info['adoption']}",
        f"flows: {flows['front']} as front-end, {flows['back']} as back-end",
        "",
        *table([("per second", "now"), *_rates(before, after)]).splitlines(),
        "",
        *_nodes(after.nodes).splitlines(),
    ]
    return [line[:width] for line in lines[:height]]


def _rates(before: Sample, after: Sample) -> Iterator[tuple[str, int]]:
    seconds = max(after.at - before.at, 1e-3)
    for name, prefixes in _RATES:
        moved = _sum(after.stats["counters"], prefixes) - _sum(before.stats["counters"], prefixes)
        # Negative if the counters were cleared in between.
        yield name, round(max(moved, 0) / seconds)


def _sum(counters: Mapping[str, int], prefixes: tuple[str, ...]) -> int:
    return sum(count for name, count in counters.items() if name.startswith(prefixes))


def _nodes(nodes: Sequence[Mapping[str, Any]]) -> str:
    return table([_NODES, *([_cell(node.get(key)) for key in _NODES] for node in nodes)])


def _cell(value: object) -> object:
    if isinstance(value, float):
        return round(value, 2)
    return "-" if value is None else value


def _period(seconds: float) -> str:
    minutes, whole = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    clock = f"{hours:02}:{minutes:02}:{whole:02}"
    return f"{days}d {clock}" if days else clock


def once(connection: Connection, interval: float, out: IO[str]) -> None:
    """
    Print a single view, with rates over one interval.

    @raise Unreachable: if the node does not answer.
    """
    before = sample(connection, time.monotonic())
    time.sleep(interval)
    shown = view(before, sample(connection, time.monotonic()), 1 << 16, 1 << 16)
    print("\n".join(shown), file=out)


def live(connection: Connection, interval: float, out: IO[str]) -> None:
    """
    Update the view after each interval until the operator presses q.

    @raise Unreachable: if the node does not answer any more.
    """
    before = sample(connection, time.monotonic())
    with _keys() as keys, _screen(out):
        pause = min(interval, 0.2)  # show the first view soon
        while not _quits(keys, pause):
            after = sample(connection, time.monotonic())
            width, height = shutil.get_terminal_size()
            shown = view(before, after, width, height - 1)
            print(_CLEAR + "\n".join(shown), end="", file=out, flush=True)
            before, pause = after, interval


@contextmanager
def _screen(out: IO[str]) -> Iterator[None]:
    print(_OTHER_SCREEN, end="", file=out, flush=True)
    try:
        yield
    finally:
        print(_OWN_SCREEN, end="", file=out, flush=True)


@contextmanager
def _keys() -> Iterator[int | None]:
    """
    Put the terminal into cbreak mode, so that each key is readable at once.

    @return: the descriptor of the terminal; C{None} if standard input is not one.
    """
    if not sys.stdin.isatty():
        yield None
        return
    keys = sys.stdin.fileno()
    as_it_was = termios.tcgetattr(keys)
    tty.setcbreak(keys, termios.TCSANOW)
    try:
        yield keys
    finally:
        termios.tcsetattr(keys, termios.TCSADRAIN, as_it_was)


def _quits(keys: int | None, seconds: float) -> bool:
    """
    Wait for a time or until a key is pressed.

    @return: whether the key was q, or the terminal is gone.
    """
    if keys is None:
        time.sleep(seconds)
        return False
    ready, _, _ = select.select([keys], [], [], seconds)
    # Not through sys.stdin, whose buffer select() does not see.
    pressed = os.read(keys, 64) if ready else b"-"
    return not pressed or b"q" in pressed.lower()
