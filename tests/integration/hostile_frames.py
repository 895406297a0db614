# SPDX-License-Identifier: MIT
"""
Throws Ethernet frames at node C{a}: whatever a network can carry.

C{frames DEVICE MAC SEED COUNT RATE CLIENT4 CLIENT6 PORT...}: of all kinds, among them some
that look like the client's on the given ports; C{syns DEVICE MAC COUNT}: SYNs of as many
clients; C{resets CLIENT PORT SEQ}: run by the client, RSTs in the name of a connection that
expects C{SEQ}, none of them with that number.
"""

from __future__ import annotations

import random
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from scapy.config import conf
from scapy.layers.inet import ICMP, IP, TCP, UDP, fragment
from scapy.layers.inet6 import (
    ICMPv6PacketTooBig,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet, Raw

LISTENER, ORIGIN, CONTROL = 80, 8080, 7311
_SOURCE = "02:00:00:00:00:01"
_STOCK = 80
"""Frames of each kind; it takes scapy a millisecond to make one."""

_NODE = {4: "192.0.2.11", 6: "2001:db8:2::11"}


class Frames:
    """
    Packets to a node, seeded.

    @ivar live: the client's ends of connections that must survive this, by version of IP.
    """

    def __init__(self, seed: int, live: dict[int, list[tuple[str, int]]]) -> None:
        self._random = random.Random(seed)
        self._live = live

    def kinds(self) -> list[Callable[[], Packet | bytes]]:
        """
        What makes a packet each.
        """
        return [
            self.any_flags,
            self.options,
            self.syn_with_data,
            self.of_live_flow,
            self.bad_header,
            self.fragmented,
            self.extension_headers,
            self.other_protocol,
            self.too_big,
            self.tagged,
            self.noise,
        ]

    def forever(self, mac: str) -> Iterator[bytes]:
        """
        Frames of a stock, in any order, some of them cut off or with octets changed.
        """
        kinds = self.kinds()
        stock = [self._framed(mac, make()) for make in kinds for _ in range(_STOCK)]
        while True:
            yield self._spoilt(self._random.choice(stock))

    def _framed(self, mac: str, made: Packet | bytes) -> bytes:
        if isinstance(made, Dot1Q):
            return bytes(Ether(dst=mac, src=_SOURCE) / made)
        kind = 0x86DD if bytes(made)[0] >> 4 == 6 else 0x0800
        return bytes(Ether(dst=mac, src=_SOURCE, type=kind)) + bytes(made)

    def _spoilt(self, frame: bytes) -> bytes:
        rng = self._random
        if rng.random() < 0.2:
            frame = frame[: rng.randrange(15, len(frame) + 1)]
        if rng.random() < 0.2:
            changed = bytearray(frame)
            for _ in range(rng.randrange(1, 4)):
                changed[rng.randrange(14, len(changed))] = rng.randrange(256)
            frame = bytes(changed)
        return frame

    def _version(self) -> int:
        return self._random.choice((4, 6))

    def _ip(self, family: int, source: str | None = None, **fields: Any) -> Packet:
        rng = self._random
        if family == 4:
            source = source or rng.choice((f"198.51.100.{rng.randrange(20, 250)}", "203.0.113.7"))
            return IP(src=source, dst=_NODE[4], **fields)
        source = source or f"2001:db8:1::{rng.randrange(0x100, 0xFFFF):x}"
        return IPv6(src=source, dst=_NODE[6], **fields)

    def _tcp(self, flags: int, **fields: Any) -> Packet:
        rng = self._random
        port = rng.choice((LISTENER, LISTENER, LISTENER, ORIGIN, CONTROL, rng.randrange(65536)))
        numbers: dict[str, Any] = {
            "sport": rng.randrange(1024, 65536),
            "dport": port,
            "seq": rng.getrandbits(32),
            "ack": rng.getrandbits(32),
            "window": rng.getrandbits(16),
        }
        return TCP(flags=flags, **(numbers | fields))

    def _data(self) -> Packet:
        return Raw(self._random.randbytes(self._random.choice((0, 1, 100, 1400))))

    def any_flags(self) -> Packet:
        """
        All combinations of flags, Christmas trees and null packets included.
        """
        flags = self._random.getrandbits(8)
        return self._ip(self._version()) / self._tcp(flags) / self._data()

    def options(self) -> Packet:
        """
        Options of length 0 and 1, longer than the header, repeated, unknown, or random.
        """
        rng = self._random
        area = rng.choice(
            (
                b"\x02\x00\x05\xb4",
                b"\x08\x01" + bytes(10),
                b"\x05\xff" + bytes(6),
                b"\x03\x03\xff\x01",
                b"\x02\x04\x00\x00" * 5,
                b"\x08\x0a" + rng.randbytes(8) + b"\x08\x0a" + rng.randbytes(8),
                b"\x1e\x0c" + rng.randbytes(10),
                b"\x22\x06" + rng.randbytes(4) + b"\0\0",
                rng.randbytes(4 * rng.randrange(11)),
            )
        )
        area += bytes(-len(area) % 4)
        flags = rng.choice((0x02, 0x10, 0x12, 0x18))
        # Built by hand: scapy would put the options in order.
        header = bytes(self._tcp(flags, dataofs=5 + len(area) // 4))
        version = self._version()
        said: dict[str, Any] = {"proto": 6} if version == 4 else {"nh": 6}
        return self._ip(version, **said) / Raw(header[:20] + area)

    def syn_with_data(self) -> Packet:
        """
        With and without the Fast Open cookie request.
        """
        options = self._random.choice(([], [("TFO", (1, 2))], [("MSS", 0), ("WScale", 255)]))
        return self._ip(self._version()) / self._tcp(0x02, options=options) / self._data()

    def of_live_flow(self) -> Packet:
        """
        RST, FIN, SYN, ACK or data of a connection that is in use; the numbers are guessed.
        """
        version = self._version()
        address, port = self._random.choice(self._live[version])
        flags = self._random.choice((0x04, 0x14, 0x11, 0x02, 0x10, 0x10, 0x18, 0x12))
        data = self._data() if flags == 0x18 else Raw()
        return self._ip(version, address) / self._tcp(flags, sport=port, dport=LISTENER) / data

    def bad_header(self) -> Packet:
        """
        Wrong checksums, lengths and offsets.
        """
        rng = self._random
        fields: dict[str, Any] = rng.choice(
            ({"dataofs": rng.randrange(16)}, {"chksum": rng.getrandbits(16)}, {"urgptr": 0xFFFF})
        )
        lies: dict[str, Any] = rng.choice(
            ({}, {"ihl": rng.randrange(16)}, {"len": rng.getrandbits(16)}, {"version": 5})
        )
        return self._ip(4, **lies) / self._tcp(rng.choice((0x02, 0x10)), **fields) / self._data()

    def fragmented(self) -> Packet:
        """
        One of the fragments of a segment, tiny ones too.
        """
        rng = self._random
        whole = self._ip(4, id=rng.getrandbits(16)) / self._tcp(0x18) / Raw(rng.randbytes(200))
        piece: Packet = rng.choice(fragment(whole, rng.choice((8, 24, 64))))
        return piece

    def extension_headers(self) -> Packet:
        """
        Between IPv6 and TCP.
        """
        rng = self._random
        packet = self._ip(6)
        for _ in range(rng.randrange(1, 4)):
            kind = rng.choice((IPv6ExtHdrHopByHop, IPv6ExtHdrDestOpt, IPv6ExtHdrRouting))
            packet /= kind()
        if rng.random() < 0.5:
            packet /= IPv6ExtHdrFragment(m=rng.randrange(2), offset=rng.choice((0, 0, 1, 100)))
        return packet / self._tcp(rng.choice((0x02, 0x10))) / self._data()

    def other_protocol(self) -> Packet:
        rng = self._random
        if rng.random() < 0.5:
            return self._ip(self._version()) / UDP(dport=LISTENER) / self._data()
        return self._ip(4, proto=rng.randrange(256)) / self._data()

    def too_big(self) -> Packet:
        """
        ICMP about packets that were never sent, and about those of live flows.
        """
        rng = self._random
        version = self._version()
        address, port = rng.choice(self._live[version])
        quoted = TCP(sport=LISTENER, dport=port, seq=rng.getrandbits(32))
        mtu = rng.choice((0, 1, 68, 576, 1280, 1400, 65535))
        if version == 4:
            inner = bytes(IP(src=_NODE[4], dst=address) / quoted)
            outer = self._ip(4) / ICMP(type=3, code=4, nexthopmtu=mtu)
        else:
            inner = bytes(IPv6(src=_NODE[6], dst=address) / quoted)
            outer = self._ip(6) / ICMPv6PacketTooBig(mtu=mtu)
        return outer / Raw(inner[: rng.randrange(len(inner) + 1)])

    def tagged(self) -> Packet:
        """
        Of a VLAN nobody knows.
        """
        version = self._version()
        inner = self._ip(version) / self._tcp(self._random.choice((0x02, 0x10)))
        return Dot1Q(vlan=7, type=0x86DD if version == 6 else 0x0800) / inner

    def noise(self) -> bytes:
        """
        Random octets that at least say which version of IP they are.
        """
        rng = self._random
        return bytes([rng.choice((0x45, 0x4F, 0x60))]) + rng.randbytes(rng.randrange(1, 200))


def send(device: str, frames: Iterable[bytes], rate: float) -> None:
    """
    @param rate: frames per second.
    """
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind((device, 0))
        began = time.monotonic()
        for number, frame in enumerate(frames):
            if number % 32 == 0:
                time.sleep(max(began + number / rate - time.monotonic(), 0))
            wire.send(frame[:1514].ljust(15, b"\0"))


def throw_frames(device: str, mac: str, seed: str, count: str, rate: str, *ends: str) -> None:
    """
    See the module.
    """
    conf.verb = 0
    address4, address6, *ports = ends
    live = {
        4: [(address4, int(port)) for port in ports],
        6: [(address6, int(port)) for port in ports],
    }
    frames = islice(Frames(int(seed), live).forever(mac), int(count))
    # Made before the first is sent: what making them takes is not to be caught up with.
    send(device, list(frames), float(rate))


def throw_syns(device: str, mac: str, count: str) -> None:
    """
    See the module.
    """
    packet = IP(src="203.0.113.7", dst=_NODE[4]) / TCP(dport=LISTENER, sport=65535, flags="S")
    syn = bytes(Ether(dst=mac, src=_SOURCE) / packet)

    def frames() -> Iterator[bytes]:
        for number in range(int(count)):
            # The sum of port and sequence number stays, so the checksum does.
            ports = (1024 + number).to_bytes(2, "big"), (64511 - number).to_bytes(2, "big")
            yield syn[:34] + ports[0] + syn[36:38] + ports[1] + syn[40:]

    send(device, frames(), 20000)


def throw_resets(client: str, port: str, seq: str) -> None:
    """
    See the module.
    """
    rng = random.Random(int(seq))
    guesses = [1, 1000, -1, -1000, 1 << 31, *(rng.randrange(1, 1 << 32) for _ in range(50))]
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as wire:
        for guess in guesses:
            number = (int(seq) + guess) & 0xFFFFFFFF
            tcp = TCP(sport=int(port), dport=LISTENER, seq=number, flags="R")
            wire.sendto(bytes(IP(src=client, dst=_NODE[4]) / tcp), (_NODE[4], 0))


if __name__ == "__main__":
    _THROW: dict[str, Callable[..., None]] = {
        "frames": throw_frames,
        "syns": throw_syns,
        "resets": throw_resets,
    }
    _THROW[sys.argv[1]](*sys.argv[2:])
