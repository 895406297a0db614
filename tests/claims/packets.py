# SPDX-License-Identifier: MIT
"""
Captured packets, read and rebuilt by scapy, which has no line in common with BTCP.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from attrs import frozen
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether  # noqa: F401  # without it PcapReader knows no Ethernet
from scapy.packet import Raw
from scapy.utils import PcapReader

from tests.claims.stage import End

MODULUS = 1 << 32
HEADERS = 160
"""Octets to capture of a packet that have all of its headers."""

_ETHERNET = 14


@frozen(kw_only=True)
class Change:
    """
    What is expected to have become of a packet on its way; all else stays as it is.

    @ivar source: the new source, unless it stays.
    @ivar destination: the new destination, unless it stays.
    @ivar seq: added to the sequence number.
    @ivar ack: added to the acknowledgment number and to every SACK edge.
    @ivar tsval: added to TSval.
    @ivar tsecr: added to TSecr.
    @ivar shift: the window field is shifted left by so many bits, to 65535 at most.
    @ivar hops: routers passed.
    """

    source: End | None = None
    destination: End | None = None
    seq: int = 0
    ack: int = 0
    tsval: int = 0
    tsecr: int = 0
    shift: int = 0
    hops: int = 0


ARRIVAL = Change(hops=1)
"""From a node to the client, or back: there is one router between them."""


@frozen(eq=False)
class Seen:
    """
    A TCP segment as it was captured.

    @ivar time: seconds since the epoch.
    @ivar frame: as scapy dissected it.
    """

    time: float
    frame: Any
    ip: Any
    tcp: Any
    source: End
    destination: End

    def __str__(self) -> str:
        return (
            f"{self.time:.6f} {_text(self.source)} > {_text(self.destination)} {self.flags} "
            f"seq {self.seq} ack {self.ack} data {len(self.payload)} {self.options}"
        )

    @property
    def octets(self) -> bytes:
        """
        The IP packet.
        """
        return bytes(self.frame)[_ETHERNET:]

    @property
    def ends(self) -> tuple[End, End]:
        """
        Source and destination.
        """
        return self.source, self.destination

    @property
    def seq(self) -> int:
        return int(self.tcp.seq)

    @property
    def ack(self) -> int:
        return int(self.tcp.ack)

    @property
    def flags(self) -> str:
        """
        A letter each, such as C{PA}.
        """
        return str(self.tcp.flags)

    @property
    def window(self) -> int:
        """
        The field as it is, not scaled.
        """
        return int(self.tcp.window)

    @property
    def length(self) -> int:
        """
        Octets of payload that were sent, be they captured or not.
        """
        total = self.ip.len - 4 * self.ip.ihl if self.ip.version == 4 else self.ip.plen
        return int(total) - 4 * int(self.tcp.dataofs)

    @property
    def payload(self) -> bytes:
        return bytes(self.tcp.payload)

    @property
    def options(self) -> dict[str, Any]:
        """
        By scapy's names: C{MSS}, C{WScale}, C{SAckOK}, C{Timestamp}, C{SAck}.
        """
        return {name: value for name, value in self.tcp.options if isinstance(name, str)}

    @property
    def timestamps(self) -> tuple[int, int]:
        """
        TSval and TSecr.
        """
        tsval, tsecr = self.options["Timestamp"]
        return tsval, tsecr

    @property
    def edges(self) -> tuple[int, ...]:
        """
        Of all SACK blocks, left and right in turn.
        """
        return tuple(self.options.get("SAck", ()))

    def after(self, change: Change) -> bytes:
        """
        @return: the octets of the packet that should have come of this one, with all
            checksums computed anew.
        """
        ip = self.ip.copy()
        tcp = ip[TCP]
        tcp.remove_payload()
        if change.source is not None:
            ip.src, tcp.sport = change.source
        if change.destination is not None:
            ip.dst, tcp.dport = change.destination
        tcp.seq = (tcp.seq + change.seq) % MODULUS
        if "A" in self.flags:
            tcp.ack = (tcp.ack + change.ack) % MODULUS
        tcp.window = min(tcp.window << change.shift, 0xFFFF)
        tcp.options = [_moved(option, change, "A" in self.flags) for option in tcp.options]
        del tcp.chksum
        if ip.version == 4:
            ip.ttl -= change.hops
            del ip.chksum
        else:
            ip.hlim -= change.hops
        return bytes(ip / Raw(self.payload) if self.payload else ip)

    def intact(self) -> bool:
        """
        @return: whether scapy computes the very checksums that the packet has.
        """
        return self.after(Change()) == self.octets


def _moved(option: tuple[Any, Any], change: Change, acknowledges: bool) -> tuple[Any, Any]:
    name, value = option
    if name == "Timestamp":
        tsval, tsecr = value
        echoed = change.tsecr if acknowledges else 0
        return name, ((tsval + change.tsval) % MODULUS, (tsecr + echoed) % MODULUS)
    if name == "SAck":
        return name, tuple((edge + change.ack) % MODULUS for edge in value)
    return option


def _text(end: End) -> str:
    return f"{end[0]}.{end[1]}"


def read(path: Path) -> list[Seen]:
    """
    @return: the TCP segments of a capture, in order.
    """
    return list(_read(path))


def _read(path: Path) -> Iterator[Seen]:
    with PcapReader(str(path)) as reader:
        for frame in reader:
            if TCP in frame:
                ip, tcp = frame[IP] if IP in frame else frame[IPv6], frame[TCP]
                ends = (ip.src, tcp.sport), (ip.dst, tcp.dport)
                yield Seen(float(frame.time), frame, ip, tcp, *ends)


def between(packets: Iterable[Seen], source: End, destination: End) -> list[Seen]:
    """
    @return: those that went from one end to the other.
    """
    return [each for each in packets if each.ends == (source, destination)]


def of(packets: Iterable[Seen], end: End) -> list[Seen]:
    """
    @return: those to and from an end.
    """
    return [each for each in packets if end in each.ends]
