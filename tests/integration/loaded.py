# SPDX-License-Identifier: MIT
"""
The tc programs loaded, and attached nowhere: a packet goes in, a packet comes out.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from errno import E2BIG
from struct import Struct
from types import MappingProxyType

from attrs import frozen

from btcp.datapath.ebpf.abi import Account
from btcp.datapath.ebpf.programs import OBJECT, Programs
from btcp.datapath.interface import End
from btcp.handoff.route import Route
from btcp.wire.segment import Segment

ETHERNET = 14
IPV4 = bytes(12) + b"\x08\x00"
IPV6 = bytes(12) + b"\x86\xdd"

PASS = 0xFFFFFFFF
"""To whoever is next: other filters of the device, then the kernel's own way."""

DROP = 2
"""On egress, the sender takes this for local congestion."""

SWALLOWED = 4
"""C{TC_ACT_STOLEN}: discarded as well, but the sender believes that it was sent."""

REDIRECT = 7

# struct __sk_buff, up to gso_size
_CONTEXT = Struct("=8xI28xI120xI8xI")
_CHECKSUM_COMPLETE = 1 << 1


def lacking() -> list[str]:
    """
    @return: what is missing to load programs here.
    """
    lacks = []
    if os.geteuid() != 0:
        lacks.append("only root may load programs into the kernel")
    if not OBJECT.exists():
        lacks.append(f"{OBJECT} is not built: make build")
    return lacks


def frame(segment: Segment, padding: bytes = b"") -> bytes:
    """
    @return: the segment's packet as it comes over an Ethernet.
    """
    header = IPV4 if segment.version == 4 else IPV6
    return header + bytes(segment.buffer[segment.ip : segment.end]) + padding


def without_rtt(octets: bytes) -> bytes:
    """
    @param octets: a frame with the first octets of a connection, on its way to the daemon.
    @return: the same, without the round-trip time in its destination.
    """
    return octets[:4] + bytes(2) + octets[6:]


def parsed(octets: bytes) -> Segment:
    """
    @return: the segment in a frame.
    @raise Malformed: if there is none.
    """
    return Segment(bytearray(octets), ETHERNET, len(octets), frame=0)


@frozen
class Outcome:
    """
    What became of a frame.

    @ivar verdict: L{PASS}, L{DROP}, L{SWALLOWED} or L{REDIRECT}.
    @ivar frame: as it is then.
    @ivar counted: the programs' counters that moved.
    """

    verdict: int
    frame: bytes
    counted: dict[str, int]


class Loaded:
    """
    @ivar programs: to install routes and read their accounts.
    """

    def __init__(
        self,
        listeners: list[End],
        flows: int = 64,
        origin_ports: Mapping[End, int] = MappingProxyType({}),
    ) -> None:
        """
        @raise DatapathError: if the kernel will not have them.
        """
        self.programs = Programs("lo", "lo", listeners, flows, origin_ports=origin_ports)
        self._object = self.programs.load()

    def close(self) -> None:
        """
        Forget the programs.
        """
        self._object.close()

    def install(self, *routes: Route) -> None:
        """
        Have the programs know routes.

        @raise OSError: if there is no room for them.
        """
        if self.programs.install(routes):
            raise OSError(E2BIG, "no room")

    def account(self, route: Route) -> Account:
        """
        @return: what the kernel has to say of a route.
        """
        account = self.programs.account(route.key)
        assert account is not None
        return account

    def ingress(self, octets: bytes, **how: int) -> Outcome:
        """
        What becomes of a frame that comes in; see L{_run}.
        """
        return self._run("btcp_ingress", octets, **how)

    def egress(self, octets: bytes, **how: int) -> Outcome:
        """
        What becomes of a frame that goes out; see L{_run}.
        """
        return self._run("btcp_egress", octets, **how)

    def _run(self, name: str, octets: bytes, mark: int = 0, gso_size: int = 0) -> Outcome:
        """
        @param mark: of the packet.
        @param gso_size: makes the packet a super-packet.
        """
        before = self.programs.counters()
        context = _context(mark, gso_size, len(octets))
        ran = self._object.run(name, octets, context)
        after = self.programs.counters()
        counted = {name: after[name] - before[name] for name in after}
        moved = {name: count for name, count in counted.items() if count}
        return Outcome(ran.result, ran.packet, moved)

    def repeated(self, name: str, octets: bytes, times: int) -> bytes:
        """
        @return: what a frame is after so many runs of a program.
        """
        return self._object.run(name, octets, repeat=times).packet

    def checksum_survives(self, name: str, octets: bytes) -> bool:
        """
        Whether what a device computed over the whole packet (CHECKSUM_COMPLETE) is still
        right behind the program.

        @param octets: with right checksums.
        """
        try:
            self._object.run(name, octets, flags=_CHECKSUM_COMPLETE)
        except OSError:
            return False
        return True

    def steps(self, name: str) -> int:
        """
        @return: how many instructions the verifier had to look at.
        """
        return self._object.steps(name)

    def nanoseconds(self, name: str, octets: bytes, repeat: int = 1_000_000) -> int:
        """
        @return: how long a program takes for a frame, on average.
        """
        return self._object.run(name, octets, repeat=repeat).nanoseconds


def _context(mark: int, gso_size: int, size: int) -> bytes:
    segments = -(-size // gso_size) if gso_size else 0
    return _CONTEXT.pack(mark, 1, segments, gso_size)
