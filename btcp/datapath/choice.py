# SPDX-License-Identifier: MIT
"""
Which datapath a host gets, and which way to adopt.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from attrs import frozen
from twisted.internet.interfaces import IReactorFDSet
from twisted.logger import Logger

from btcp.datapath.ebpf import adoption, programs
from btcp.datapath.ebpf.adoption import Adoption
from btcp.datapath.ebpf.datapath import EbpfDatapath
from btcp.datapath.ebpf.programs import Programs
from btcp.datapath.interface import Capture, Datapath, DatapathError, End
from btcp.datapath.raw.datapath import TAP, RawDatapath
from btcp.datapath.raw.guard import Guard

log = Logger()


@frozen(slots=True)
class Choice:
    """
    @ivar ebpf: the kernel moves the packets of spliced flows, else the daemon.
    @ivar admits: connections are adopted by cookie, else by replay.
    """

    ebpf: bool
    admits: bool


def decide(datapath: str, adopting: str) -> Choice:
    """
    Take the best that the configuration allows and the host passes, and say why.

    @param datapath: see L{btcp.config.values.DATAPATHS}.
    @param adopting: see L{btcp.config.values.ADOPTIONS}.
    @raise DatapathError: if what is configured cannot be had.
    """
    ebpf = _weigh("datapath", datapath, "ebpf", "raw", programs.probe)
    if not ebpf and adopting == "auto":
        adopting = "replay"
    return Choice(ebpf, _weigh("adoption", adopting, "cookie", "replay", adoption.probe))


def make(
    choice: Choice,
    reactor: IReactorFDSet,
    device: str,
    listeners: Sequence[End],
    origins: Sequence[End],
    flows: int,
) -> Datapath:
    """
    @param device: the device that faces the cluster.
    @param flows: how many there may be at once.
    @return: the datapath, not started.
    """
    guard = Guard(device, TAP, listeners, origins)
    kernel = Programs(device, TAP, listeners, flows)
    if not choice.ebpf:
        return RawDatapath(reactor, time.monotonic, device, _Instead(guard, kernel))
    clock = time.monotonic
    raw = RawDatapath(reactor, clock, device, _Instead(kernel, guard), vouches=True)
    return EbpfDatapath(reactor, clock, raw, kernel, Adoption() if choice.admits else None)


def _weigh(what: str, wanted: str, better: str, plain: str, probe: Callable[[], None]) -> bool:
    """
    @return: whether it is to be the better one.
    """
    if wanted == plain:
        log.info("{what}: {name}", what=what, name=plain)
        return False
    try:
        probe()
    except DatapathError as problem:
        if wanted == better:
            raise DatapathError(f"{what} {better} cannot be had: {problem}") from problem
        log.info("{what}: {name}, for {why}", what=what, name=plain, why=str(problem))
        return False
    log.info("{what}: {name}", what=what, name=better)
    return True


class _Instead:
    """
    A capture that clears away what is left of the other kind.
    """

    def __init__(self, capture: Capture, other: Capture) -> None:
        self._capture = capture
        self._other = other

    def set_up(self) -> None:
        # In this order, so that clients are at no time left to the kernel's TCP.
        self._capture.set_up()
        try:
            self._other.clear()
        except DatapathError as problem:
            log.info("nothing is left of another datapath, for {why}", why=str(problem))

    def take_down(self) -> None:
        self._capture.take_down()

    def clear(self) -> None:
        self._capture.clear()
