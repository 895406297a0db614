# SPDX-License-Identifier: MIT
"""
Selection of the datapath and the method of adoption, by configuration and kernel features.
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
    The modes of operation of this host.

    @ivar ebpf: whether the datapath is C{ebpf}; otherwise C{raw}.
    @ivar admits: whether connections are adopted by cookie; otherwise by replay.
    @ivar express: whether the kernel hands connections off where the map allows it.
    """

    ebpf: bool
    admits: bool
    express: bool = False


def decide(datapath: str, adopting: str, express: bool = False) -> Choice:
    """
    Select the best modes that the configuration allows and the host supports, and log the reasons.

    @param datapath: see L{btcp.config.values.DATAPATHS}.
    @param adopting: see L{btcp.config.values.ADOPTIONS}.
    @param express: see L{btcp.config.values.Config}.
    @raise DatapathError: if the host does not support what is configured.
    """
    ebpf = _weigh("datapath", datapath, "ebpf", "raw", programs.probe)
    if not ebpf and adopting == "auto":
        adopting = "replay"
    admits = _weigh("adoption", adopting, "cookie", "replay", adoption.probe)
    if express and not (ebpf and admits):
        raise DatapathError("express needs datapath ebpf and adoption cookie")
    if express:
        tables.probe()
        log.info("express: the kernel hands connections off")
    return Choice(ebpf, admits, express)


def survives(choice: Choice) -> bool:
    """
    Return whether spliced flows survive the daemon and a later daemon can take them over.
    """
    if choice.ebpf and not takeover.allowed():
        log.warn("without CAP_SYS_ADMIN no later daemon can take connections over")
        return False
    return choice.ebpf


def inherit(choice: Choice, device: str) -> Inheritance | None:
    """
    Find the programs and tables that an earlier daemon left.

    @param device: the cluster-facing device.
    @return: L{None} if there are none or this daemon cannot use them.
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
    Make the datapath.

    @param device: the cluster-facing device.
    @param flows: the maximum number of flows.
    @param identity: epoch and secret of the node.
    @param inheritance: programs and tables of an earlier daemon, from L{inherit}.
    @param origin_ports: listeners to the origins' ports, for the listeners whose connections the
        kernel may hand off by reading HTTP.
    @return: the datapath, not started; and the kernel's tables for handoffs, if it has them.
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
    Decide between a better and a plain mode, and log the decision.

    @param wanted: the configured mode, which may be C{auto}.
    @param probe: raises L{DatapathError} if the host does not support the better mode.
    @return: whether to use the better mode.
    """
    if wanted == plain:
        log.info("{what}: {name}", what=what, name=plain)
        return False
    try:
        probe()
    except DatapathError as problem:
        if wanted == better:
            raise DatapathError(f"{what} {better} is not supported: {problem}") from problem
        log.info("{what}: {name}, for {why}", what=what, name=plain, why=str(problem))
        return False
    log.info("{what}: {name}", what=what, name=better)
    return True


def clear(device: str) -> list[str]:
    """
    Remove everything that a datapath of either kind left on the host.

    @param device: the cluster-facing device.
    @return: descriptions of what was removed.
    @raise DatapathError: if it cannot be removed.
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
    A capture that replaces what the other kind of capture left on the host.
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
