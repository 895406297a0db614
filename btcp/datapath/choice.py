# SPDX-License-Identifier: MIT
"""
Which datapath a host gets, and which way to adopt.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from attrs import frozen
from twisted.internet.interfaces import IReactorFDSet
from twisted.logger import Logger

from btcp.datapath.ebpf import adoption, programs, takeover
from btcp.datapath.ebpf import express as tables
from btcp.datapath.ebpf.adoption import Adoption
from btcp.datapath.ebpf.datapath import EbpfDatapath
from btcp.datapath.ebpf.express import ExpressTables
from btcp.datapath.ebpf.programs import Programs
from btcp.datapath.ebpf.takeover import Inheritance
from btcp.datapath.interface import Capture, Datapath, DatapathError, End, Identity, Repair
from btcp.datapath.raw.datapath import TAP, RawDatapath
from btcp.datapath.raw.guard import Guard

log = Logger()


@frozen(slots=True)
class Choice:
    """
    @ivar ebpf: the kernel moves the packets of spliced flows, else the daemon.
    @ivar admits: connections are adopted by cookie, else by replay.
    @ivar express: the kernel hands connections off, where the map allows it.
    """

    ebpf: bool
    admits: bool
    express: bool = False


def decide(datapath: str, adopting: str, express: bool = False) -> Choice:
    """
    Take the best that the configuration allows and the host passes, and say why.

    @param datapath: see L{btcp.config.values.DATAPATHS}.
    @param adopting: see L{btcp.config.values.ADOPTIONS}.
    @param express: see L{btcp.config.values.Config}.
    @raise DatapathError: if what is configured cannot be had.
    """
    ebpf = _weigh("datapath", datapath, "ebpf", "raw", programs.probe)
    if not ebpf and adopting == "auto":
        adopting = "replay"
    admits = _weigh("adoption", adopting, "cookie", "replay", adoption.probe)
    if express and not (ebpf and admits):
        raise DatapathError("express cannot be had without datapath ebpf and adoption cookie")
    if express:
        tables.probe()
        log.info("express: the kernel hands connections off")
    return Choice(ebpf, admits, express)


def survives(choice: Choice) -> bool:
    """
    @return: whether spliced flows go on without the daemon, and the next one, started
        like this one, goes on with them.
    """
    if choice.ebpf and not takeover.allowed():
        log.warn("connections end with this daemon: without CAP_SYS_ADMIN none takes them over")
        return False
    return choice.ebpf


def inherit(choice: Choice, device: str) -> Inheritance | None:
    """
    @param device: the device that faces the cluster.
    @return: what an earlier daemon left, if this one can have use for it.
    """
    return takeover.find(device) if choice.ebpf else None


def make(
    choice: Choice,
    reactor: IReactorFDSet,
    device: str,
    listeners: Sequence[End],
    origins: Sequence[End],
    flows: int,
    identity: Identity,
    inheritance: Inheritance | None,
    origin_ports: Mapping[End, int],
) -> tuple[Datapath, ExpressTables | None]:
    """
    @param device: the device that faces the cluster.
    @param flows: how many there may be at once.
    @param inheritance: what an earlier daemon left, from L{inherit}.
    @param origin_ports: of listeners, where nodes have what answers; of those only whose
        connections the kernel may hand off, by reading HTTP.
    @return: the datapath, not started; and what it hands connections off by, if it does.
    """
    guard = Guard(device, TAP, listeners, origins)
    kernel = Programs(device, TAP, listeners, flows, identity, inheritance, origin_ports)
    if not choice.ebpf:
        return RawDatapath(reactor, time.monotonic, device, _Instead(guard, kernel)), None
    clock = time.monotonic
    raw = RawDatapath(reactor, clock, device, _Instead(kernel, guard), vouches=True)
    adopting = Adoption() if choice.admits else None
    express = ExpressTables() if choice.express else None
    return EbpfDatapath(reactor, clock, raw, kernel, adopting, express), express


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


def clear(device: str) -> list[str]:
    """
    Take away whatever a datapath of either kind left in the host.

    @param device: the device that faces the cluster.
    @return: what was there, in words.
    @raise DatapathError: if it cannot be taken away.
    """
    found = []
    if Programs(device, TAP, [], 1).clear():
        found.append(f"tc programs on {device}, and the connections they moved")
    try:
        if Guard(device, TAP, [], []).clear():
            found.append("the table of the packet filter")
    except DatapathError as problem:
        log.info("no table is looked for: {why}", why=str(problem))
    return found


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

    def leave(self) -> None:
        self._capture.leave()

    def verify(self) -> list[Repair]:
        return self._capture.verify()

    def clear(self) -> bool:
        return self._capture.clear()
