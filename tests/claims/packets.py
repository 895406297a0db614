# SPDX-License-Identifier: MIT
"""
Captured packets, rebuilt by scapy, which has no line in common with BTCP.

Scapy takes a millisecond to dissect a packet, and of most packets no more is asked than whose they
are: what all have in the same place is read from there, the rest by scapy if it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from socket import AF_INET, AF_INET6, inet_ntop
from struct import Struct
from typing import Any

from attrs import define, field, frozen
from scapy.layers.inet import TCP
from scapy.layers.inet6 import IPv6  # noqa: F401  # without it Ether knows none
from scapy.layers.l2 import Ether
from scapy.packet import Raw
from scapy.utils import RawPcapReader

from tests.claims.stage import End

MODULUS = 1 << 32
HEADERS = 160
"""Octets to capture of a packet that have all of its headers."""

_ETHERNET = 14
_LINK = 1  # of a capture on Ethernet: LINKTYPE_ETHERNET
_ETHERTYPES = {b"\x08\x00": 4, b"\x86\xdd": 6}
_TCP = 6

# RFC 9293, 3.1: ports, sequence and acknowledgment number, offset and flags, window
_HEADER = Struct("!HHIIHH")
_LETTERS = "FSRPAUECN"  # as scapy has them, from the lowest bit
_FLAGS = [
    "".join(letter for bit, letter in enumerate(_LETTERS) if flags >> bit & 1)
    for flags in range(1 << len(_LETTERS))
]


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


@define(eq=False)
class Seen:
    """
    A TCP segment as it was captured.

    @ivar time: seconds since the epoch.
    @ivar raw: its frame, or as much of it as was captured.
    @ivar ends: source and destination.
    @ivar seq: the sequence number.
    @ivar ack: the acknowledgment number.
    @ivar flags: a letter each, such as C{PA}.
    @ivar window: the field as it is, not scaled.
    @ivar length: octets of payload that were sent, be they captured or not.
    """

    time: float
    raw: bytes
    ends: tuple[End, End]
    seq: int
    ack: int
    flags: str
    window: int
    length: int
    _data: int
    _after: dict[Change, bytes] = field(factory=dict, init=False)

    def __str__(self) -> str:
        return (
            f"{self.time:.6f} {_text(self.source)} > {_text(self.destination)} {self.flags} "
            f"seq {self.seq} ack {self.ack} data {len(self.payload)} {self.options}"
        )

    @property
    def source(self) -> End:
        return self.ends[0]

    @property
    def destination(self) -> End:
        return self.ends[1]

    @property
    def octets(self) -> bytes:
        """
        The IP packet.
        """
        return self.raw[_ETHERNET:]

    @property
    def payload(self) -> bytes:
        """
        As much of it as was captured.
        """
        return self.raw[self._data : self._data + self.length]

    @cached_property
    def frame(self) -> Any:
        """
        As scapy dissects it.
        """
        frame = Ether(self.raw)
        frame.time = self.time
        return frame

    @cached_property
    def options(self) -> dict[str, Any]:
        """
        By scapy's names: C{MSS}, C{WScale}, C{SAckOK}, C{Timestamp}, C{SAck}.
        """
        return {name: value for name, value in self.frame[TCP].options if isinstance(name, str)}

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
        if change not in self._after:
            self._after[change] = self._rebuilt(change)
        return self._after[change]

    def _rebuilt(self, change: Change) -> bytes:
        ip = self.frame.payload.copy()
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
    with RawPcapReader(str(path)) as reader:
        assert reader.linktype == _LINK, reader.linktype
        fraction = 1e-9 if reader.nano else 1e-6
        for raw, meta in reader:
            seen = _seen(meta.sec + meta.usec * fraction, raw)
            if seen is not None:
                yield seen


def _seen(time: float, raw: bytes) -> Seen | None:
    """
    @return: C{None} if there is no TCP segment in it.
    """
    version = _ETHERTYPES.get(raw[12:_ETHERNET])
    if version == 4:
        tcp = _ETHERNET + 4 * (raw[_ETHERNET] & 15)
        end = _ETHERNET + int.from_bytes(raw[16:18], "big")
        protocol, addresses = raw[23], (raw[26:30], raw[30:34])
        # Neither "more fragments" nor an offset: nobody here has a reason to cut TCP into pieces.
        assert protocol != _TCP or not int.from_bytes(raw[20:22], "big") & 0x3FFF, raw
    elif version == 6:
        tcp = _ETHERNET + 40
        end = tcp + int.from_bytes(raw[18:20], "big")
        protocol, addresses = raw[20], (raw[22:38], raw[38:54])
    else:
        return None
    if protocol != _TCP:
        return None
    *ports, seq, ack, flags, window = _HEADER.unpack_from(raw, tcp)
    family = AF_INET if version == 4 else AF_INET6
    source, destination = (
        (inet_ntop(family, address), port) for address, port in zip(addresses, ports, strict=True)
    )
    data = tcp + 4 * (flags >> 12)
    return Seen(
        time=time,
        raw=raw,
        ends=(source, destination),
        seq=seq,
        ack=ack,
        flags=_FLAGS[flags & 511],
        window=window,
        length=end - data,
        data=data,
    )


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
