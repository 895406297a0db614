# SPDX-License-Identifier: MIT
"""
Netlink messages that pyroute2 does not wrap: notifications of changes, and the generation of the
nftables ruleset.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from struct import Struct

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from btcp.datapath.interface import DatapathError

ROUTE = 0
FILTER = 12
"""Families: linux/netlink.h."""

LINK, TRAFFIC_CONTROL, IPV4_ADDRESS, IPV6_ADDRESS, IPV4_SETTINGS = 1, 4, 5, 9, 24
"""Groups of L{ROUTE}: linux/rtnetlink.h."""

RULES = 7
"""The group of L{FILTER} for changes of nftables: linux/netfilter/nfnetlink.h."""

_SOL_NETLINK = 270
_ADD_MEMBERSHIP = 1

_HEADER = Struct("=IHHII")
_REQUEST = 1
_NF_HEADER = Struct("=BBH")
_GET_GENERATION = 10 << 8 | 16  # NFNL_SUBSYS_NFTABLES, NFT_MSG_GETGEN
_ATTRIBUTE = Struct("=HH")
_GENERATION_ID = 1
_ERROR = 2

_QUOTA = 64
_LARGEST = 65_536


def ruleset_generation() -> int:
    """
    Return the generation of the host's nftables ruleset, which changes with each change of rules.

    @raise DatapathError: if the kernel does not return it.
    """
    size = _HEADER.size + _NF_HEADER.size
    asked = _HEADER.pack(size, _GET_GENERATION, _REQUEST, 1, 0) + _NF_HEADER.pack(0, 0, 0)
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, FILTER) as asking:
            asking.settimeout(1.0)
            asking.sendto(asked, (0, 0))
            answer = asking.recv(_LARGEST)
    except OSError as problem:
        raise DatapathError(f"no answer of nftables: {problem.strerror}") from problem
    if _HEADER.unpack_from(answer)[1] == _ERROR:
        raise DatapathError("nftables refuses to return the generation of its ruleset")
    at = size
    while at + _ATTRIBUTE.size <= len(answer):
        length, kind = _ATTRIBUTE.unpack_from(answer, at)
        if kind == _GENERATION_ID:
            return int.from_bytes(answer[at + 4 : at + 8], "big")
        at += max(length + 3 & ~3, _ATTRIBUTE.size)
    raise DatapathError("the answer of nftables has no generation of the ruleset")


@implementer(IReadDescriptor)
class ChangeMonitor:
    """
    Calls a function when the kernel reports a change of the host, from L{start} to L{stop}.
    """

    def __init__(
        self,
        reactor: IReactorFDSet,
        family: int,
        groups: Iterable[int],
        happened: Callable[[], None],
        concerns: Callable[[bytes], bool] = lambda message: True,
    ) -> None:
        """
        @param family: the netlink family, L{ROUTE} or L{FILTER}.
        @param groups: the multicast groups to join.
        @param happened: called after each batch of relevant messages, and when messages were lost.
        @param concerns: returns whether a message is relevant.
        """
        self._reactor = reactor
        self._family, self._groups = family, list(groups)
        self._happened, self._concerns = happened, concerns
        self._socket: socket.socket | None = None

    def start(self) -> None:
        """
        Open the socket and join the groups.

        @raise OSError: if the kernel does not permit it.
        """
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        made = socket.socket(socket.AF_NETLINK, kind, self._family)
        try:
            made.bind((0, 0))
            for group in self._groups:
                made.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
        except OSError:
            made.close()
            raise
        self._socket = made
        self._reactor.addReader(self)

    def stop(self) -> None:
        """
        Close the socket.
        """
        if self._socket is not None:
            self._reactor.removeReader(self)
            self._socket.close()
            self._socket = None

    def fileno(self) -> int:
        """
        Return the socket's descriptor.
        """
        return -1 if self._socket is None else self._socket.fileno()

    def doRead(self) -> None:
        """
        Read the available messages and call back if any is relevant.
        """
        assert self._socket is not None
        worth = False
        for _ in range(_QUOTA):
            try:
                worth |= self._concerns(self._socket.recv(_LARGEST))
            except BlockingIOError:
                break
            except OSError:  # ENOBUFS: messages were lost
                worth = True
        if worth:
            self._happened()

    def connectionLost(self, reason: Failure) -> None:
        """
        Do nothing: L{stop} closes the socket.
        """

    def logPrefix(self) -> str:
        """
        See L{twisted.internet.interfaces.ILoggingContext}.
        """
        return "host changes"
