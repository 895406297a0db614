# SPDX-License-Identifier: MIT
"""
wrk, which asks for the next thing as soon as it has the last: as fast as a system can.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

from tests.bench.result import Run

_SCRIPT = Path(__file__).with_name("load.lua")
_TROUBLES = ("connect", "read", "write", "status", "timeout")
MEGABYTE = 1e6


@frozen
class Load:
    """
    @ivar connections: at once, over all targets.
    @ivar close: a connection for each request, else it is kept.
    @ivar size: octets of the objects, if those count that did not end in time as well.
    """

    connections: int
    seconds: int
    close: bool = False
    size: int = 0


def command(
    load: Load, targets: Sequence[tuple[str, int, str]], further: Sequence[str] = ()
) -> list[str]:
    """
    @param targets: address, port and path; a thread for each.
    @param further: arguments for the script.
    """
    address, port, path = targets[0]
    options = [f"-t{len(targets)}", f"-c{load.connections}", f"-d{load.seconds}s"]
    headers = ["-H", "Connection: close"] if load.close else []
    manner = ["--timeout", "5s", "--latency", "-s", str(_SCRIPT)]
    which = [str(word) for target in targets for word in target]
    url = f"http://{address}:{port}{path}"
    return ["wrk", *options, *headers, *manner, url, "--", *which, *further]


@frozen
class Said:
    """
    @ivar requests: that were answered.
    @ivar octets: delivered, headers included.
    """

    requests: float
    octets: int
    run: Run


def parsed(output: str, load: Load) -> Said:
    """
    @param output: what wrk wrote; the script's line is the last.
    """
    lines = output.strip().splitlines()
    try:
        said = json.loads(lines[-1])
        seconds = said["seconds"]
    except (IndexError, ValueError, TypeError, KeyError):
        last = lines[-1] if lines else "nothing"
        return Said(0, 0, Run({}, 1, [f"wrk said: {last}"]))
    # wrk counts a connection that the server closes after its answer as no error.
    troubles = {name: said[name] for name in _TROUBLES if said[name]}
    complaints = [f"{count} x {name}" for name, count in troubles.items()]
    requests = said["octets"] / load.size if load.size else said["requests"]
    if not requests:
        complaints.append("no request was answered")
    values = {
        "requests_per_s": requests / seconds,
        "mb_per_s": said["octets"] / seconds / MEGABYTE,
        "p50_us": said["p50"],
        "p99_us": said["p99"],
        "p999_us": said["p999"],
    }
    errors = sum(troubles.values()) or (0 if requests else 1)
    return Said(requests, said["octets"], Run(values, errors, complaints))
