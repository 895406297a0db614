# SPDX-License-Identifier: MIT
"""
Which datapath a host gets.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from twisted.internet.interfaces import IReactorFDSet
from twisted.logger import Logger

from btcp.datapath.ebpf.datapath import EbpfDatapath
from btcp.datapath.ebpf.programs import Programs, probe
from btcp.datapath.interface import Capture, Datapath, DatapathError, End
from btcp.datapath.raw.datapath import TAP, RawDatapath
from btcp.datapath.raw.guard import Guard

log = Logger()


def choose(
    wanted: str,
    reactor: IReactorFDSet,
    device: str,
    listeners: Sequence[End],
    origins: Sequence[End],
    flows: int,
) -> Datapath:
    """
    @param wanted: see L{btcp.config.values.DATAPATHS}.
    @param device: the device that faces the cluster.
    @param flows: how many there may be at once.
    @return: the datapath, not started.
    @raise DatapathError: if the one that is wanted cannot be had.
    """
    guard = Guard(device, TAP, listeners, origins)
    programs = Programs(device, TAP, listeners, flows)
    why = "it is configured" if wanted != "auto" else "the host has all it needs"
    if wanted != "raw":
        try:
            probe()
        except DatapathError as problem:
            if wanted == "ebpf":
                raise
            wanted, why = "raw", str(problem)
        else:
            wanted = "ebpf"
    log.info("datapath {name}: {why}", name=wanted, why=why)
    if wanted == "ebpf":
        raw = RawDatapath(reactor, time.monotonic, device, _Instead(programs, guard))
        return EbpfDatapath(raw, programs)
    return RawDatapath(reactor, time.monotonic, device, _Instead(guard, programs))


class _Instead:
    """
    A capture that first clears away what is left of the other kind.
    """

    def __init__(self, capture: Capture, other: Capture) -> None:
        self._other = other
        self._capture = capture

    def set_up(self) -> None:
        self._other.clear()
        self._capture.set_up()

    def take_down(self) -> None:
        self._capture.take_down()

    def clear(self) -> None:
        self._capture.clear()
