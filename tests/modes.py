# SPDX-License-Identifier: MIT
"""
The ways in which a cluster can do its work.  What is true of BTCP is true in all of them, so
tests on whole clusters run in each.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import cache
from typing import ClassVar, Protocol, TypeVar

from attrs import frozen

from btcp.datapath.ebpf import adoption, express, programs
from btcp.datapath.interface import DatapathError
from btcp.lab.programs import missing


@frozen
class Mode:
    """
    @ivar datapath: who moves the packets of spliced flows: C{raw}, the daemon, or C{ebpf}, the
        kernel.
    @ivar adoption: how a back-end's TCP is brought to the connection: C{replay} or C{cookie}.
    @ivar prefix: for names of test cases in this mode.
    @ivar express: whether the kernel hands connections off by itself, where the map allows it.
    """

    datapath: str
    adoption: str
    prefix: str
    express: bool = False

    def __str__(self) -> str:
        return f"{self.datapath}+{self.adoption}" + "+express" * self.express

    @property
    def config(self) -> Mapping[str, object]:
        """
        Top-level keys of a node's configuration.
        """
        known = {"datapath": self.datapath, "adoption": self.adoption}
        return {**known, "express": True} if self.express else known

    @property
    def in_kernel(self) -> bool:
        """
        The kernel moves the packets.
        """
        return self.datapath == "ebpf"

    @property
    def by_cookie(self) -> bool:
        """
        The back-end's TCP gets no handshake.
        """
        return self.adoption == "cookie"

    @property
    def overtakes(self) -> bool:
        """
        What the kernel moves of a flow may overtake packets that came before the kernel had the
        flow's route, and wait for the daemon still.  TCP bears it, but it shows: in ACKs
        too old for PAWS, and in a client's reset when an ACK comes after the FIN.
        """
        return self.in_kernel

    def lacks(self) -> list[str]:
        """
        What keeps this machine from having a cluster that works in this way.
        """
        return _lacks(self)


RAW_REPLAY = Mode("raw", "replay", "")
EBPF_REPLAY = Mode("ebpf", "replay", "EbpfReplay")
EBPF_COOKIE = Mode("ebpf", "cookie", "EbpfCookie")
MODES = (RAW_REPLAY, EBPF_REPLAY, EBPF_COOKIE)
"""In which every connection is handed off by the daemon."""

EXPRESS = Mode("ebpf", "cookie", "Express", express=True)


@cache
def _lacks(mode: Mode) -> list[str]:
    lacks = missing()
    probes = [programs.probe] * mode.in_kernel + [adoption.probe] * mode.by_cookie
    probes += [express.probe] * mode.express
    for probe in probes if not lacks else ():
        try:
            probe()
        except DatapathError as problem:
            lacks.append(f"{mode} cannot be had: {problem}")
    return lacks


class HasMode(Protocol):
    """
    @cvar mode: in which its tests run.
    """

    mode: ClassVar[Mode]


Case = TypeVar("Case", bound=HasMode)


def in_modes(*modes: Mode) -> Callable[[type[Case]], type[Case]]:
    """
    Have the tests of a case, which are run in the mode that it names, run in others as well.
    Each makes a case of its own, beside it, such as C{EbpfCookieLossTests} of C{LossTests}.
    """

    def decorate(case: type[Case]) -> type[Case]:
        for mode in modes:
            name = mode.prefix + case.__name__
            about = {"mode": mode, "__module__": case.__module__, "__qualname__": name}
            setattr(sys.modules[case.__module__], name, type(name, (case,), about))
        return case

    return decorate


in_all_modes = in_modes(EBPF_REPLAY, EBPF_COOKIE)
"""For a case that is in C{raw+replay}."""

in_every_mode = in_modes(EBPF_REPLAY, EBPF_COOKIE, EXPRESS)
"""Likewise, if it is not about what the daemon knows of connections."""
