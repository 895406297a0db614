# SPDX-License-Identifier: MIT
"""
Makes C{splice.json}, without any of BTCP's code: C{python -m tests.vectors.splice}.

Each packet is built twice, with the fields as they come and with the fields as they
should leave; scapy lays them out and works out the checksums.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from attrs import evolve, field, frozen
from scapy.layers.inet import IP, TCP, IPOption_NOP, IPOption_RR
from scapy.layers.inet6 import IPv6
from scapy.packet import Raw
from scapy.utils import checksum

FILE = Path(__file__).with_name("splice.json")

MODULUS = 2**32
ENDS = {
    4: ("198.51.100.7", "192.0.2.11", "192.0.2.12"),
    6: ("2001:db8:100::7", "2001:db8:2::11", "2001:db8:2::12"),
}
"""Client, front-end, back-end."""
PORTS = (51_515, 80, 8080)

Options = list[tuple[str | int, Any]]


@frozen(kw_only=True)
class Rule:
    """
    What is added to what; see C{README}.
    """

    seq: int = 0
    ack: int = 0
    tsval: int = 0
    tsecr: int = 0
    shift: int = 0


FORWARD = Rule(ack=0x1F2E3D4C, tsecr=-123_456_789)
"""Client to back-end, as a front-end rewrites it."""
RETURN = Rule(seq=-0x1F2E3D4C, tsval=123_456_789, shift=0)
"""Back-end to client."""


@frozen(kw_only=True)
class Packet:
    """
    @ivar route: where it comes from and goes to, before and after.
    @ivar stamps: TSval and TSecr.
    @ivar blocks: of SACK.
    @ivar layout: of the options; C{"ts"} and C{"sack"} stand for the two above.
    @ivar tail: octets that follow the packet in its frame.
    """

    name: str
    rule: Rule
    version: int = 4
    route: str = "forward"
    flags: str = "A"
    seq: int = 1_000_000
    ack: int = 2_000_000
    window: int = 502
    stamps: tuple[int, int] = (3_000_000, 4_000_000)
    blocks: tuple[tuple[int, int], ...] = ()
    layout: tuple[str, ...] = ()
    payload: bytes = b""
    ip_options: bool = False
    partial: bool = False
    wrong: int = 0
    tail: bytes = b""
    urgent: int = 0
    more: Options = field(factory=list)

    def rewritten(self) -> Packet:
        """
        @return: as it should leave.
        """
        rule, acknowledges = self.rule, "A" in self.flags
        shifted = self.window << rule.shift if rule.shift > 0 else self.window >> -rule.shift
        tsval, tsecr = self.stamps
        return evolve(
            self,
            seq=(self.seq + rule.seq) % MODULUS,
            ack=(self.ack + rule.ack) % MODULUS if acknowledges else self.ack,
            window=min(shifted, 65_535),
            stamps=(
                (tsval + rule.tsval) % MODULUS,
                (tsecr + rule.tsecr) % MODULUS if acknowledges else tsecr,
            ),
            blocks=tuple(
                ((left + rule.ack) % MODULUS, (right + rule.ack) % MODULUS)
                for left, right in self.blocks
            ),
        )

    def ends(self, *, leaving: bool) -> tuple[str, int, str, int]:
        """
        @return: source and destination, address and port.
        """
        client, front, back = zip(ENDS[self.version], PORTS, strict=True)
        if self.route == "forward":
            return (*client, *(back if leaving else front))
        return (*(front if leaving else back), *client)

    def pack(self, *, leaving: bool) -> bytes:
        """
        @return: the packet, its checksum as C{partial} and C{wrong} ask.
        """
        source, sport, destination, dport = self.ends(leaving=leaving)
        ip: Any
        if self.version == 6:
            ip = IPv6(src=source, dst=destination, hlim=63)
        else:
            options = [IPOption_RR(length=7, pointer=4, routers=["0.0.0.0"]), IPOption_NOP()]
            ip = IP(src=source, dst=destination, ttl=63, id=0x1234, flags="DF")
            ip.options = options if self.ip_options else []
        tcp: Any = TCP(
            sport=sport,
            dport=dport,
            seq=self.seq,
            ack=self.ack,
            flags=self.flags,
            window=self.window,
            urgptr=self.urgent,
            options=list(self._options()),
        )
        if self.partial:
            whole = bytes(ip / tcp / Raw(self.payload))
            tcp.chksum = self._pseudo_sum(source, destination, len(whole) - _tcp_at(whole))
        return bytes(ip / tcp / Raw(self.payload))

    def _pseudo_sum(self, source: str, destination: str, length: int) -> int:
        addresses = ip_address(source).packed + ip_address(destination).packed
        # RFC 9293's and RFC 8200's pseudo-header add up to the same.
        return 0xFFFF - checksum(addresses + length.to_bytes(4, "big") + b"\0\0\0\x06")

    def _options(self) -> Iterator[tuple[str | int, Any]]:
        for each in self.layout:
            if each == "ts":
                yield "Timestamp", self.stamps
            elif each == "sack":
                yield "SAck", tuple(edge for block in self.blocks for edge in block)
            elif each == "nop":
                yield "NOP", None
            else:
                yield from self.more

    def vector(self) -> dict[str, object]:
        """
        @return: the entry in the file.
        """
        before, after = self.pack(leaving=False), self.rewritten().pack(leaving=True)
        if self.wrong:
            before, after = _spoil(before, after, self.wrong)
        return {
            "name": self.name,
            "old": _key(self.ends(leaving=False)),
            "new": _key(self.ends(leaving=True)),
            "seq": self.rule.seq % MODULUS,
            "ack": self.rule.ack % MODULUS,
            "tsval": self.rule.tsval % MODULUS,
            "tsecr": self.rule.tsecr % MODULUS,
            "shift": self.rule.shift,
            "partial": self.partial,
            "in": (before + self.tail).hex(),
            "out": (after + self.tail).hex(),
        }


def _key(ends: tuple[str, int, str, int]) -> str:
    source, sport, destination, dport = ends
    ports = sport.to_bytes(2, "big") + dport.to_bytes(2, "big")
    return (ip_address(source).packed + ip_address(destination).packed + ports).hex()


def _tcp_at(packet: bytes) -> int:
    return 40 if packet[0] >> 4 == 6 else (packet[0] & 15) * 4


def _spoil(before: bytes, after: bytes, by: int) -> tuple[bytes, bytes]:
    """
    Make both checksums wrong by the same amount, in one's complement.
    """
    spoiled = []
    for packet in (before, after):
        at = _tcp_at(packet) + 16
        check = (int.from_bytes(packet[at : at + 2], "big") + by) % 0xFFFF
        spoiled.append(packet[:at] + check.to_bytes(2, "big") + packet[at + 2 :])
    return spoiled[0], spoiled[1]


DATA = b"GET /a/ HTTP/1.1\r\nHost: www.example\r\n\r\n"
ODD_DATA = DATA + b"!"
TS = ("nop", "nop", "ts")
SACK = ("nop", "nop", "sack")
BLOCKS = tuple((2_100_000 + 3000 * n, 2_101_448 + 3000 * n) for n in range(4))


def packets() -> Iterable[Packet]:
    """
    @return: all kinds, by name.
    """
    yield Packet(name="data", rule=FORWARD, flags="PA", payload=DATA)
    yield Packet(name="data of odd length", rule=FORWARD, flags="PA", payload=ODD_DATA)
    yield Packet(name="response data", rule=RETURN, route="return", flags="PA", payload=DATA)
    yield Packet(name="pure ACK", rule=FORWARD)
    for count in (1, 2, 3, 4):
        yield Packet(name=f"SACK of {count}", rule=FORWARD, blocks=BLOCKS[:count], layout=SACK)
    yield Packet(
        name="D-SACK",
        rule=FORWARD,
        blocks=((1_990_000, 1_991_448), BLOCKS[0]),
        layout=SACK,
    )
    yield Packet(name="timestamps", rule=FORWARD, flags="PA", layout=TS, payload=DATA)
    yield Packet(name="response timestamps", rule=RETURN, route="return", layout=TS)
    for count in (1, 2, 3):
        yield Packet(
            name=f"timestamps and SACK of {count}",
            rule=FORWARD,
            blocks=BLOCKS[:count],
            layout=TS + SACK,
        )
    yield from _numbers()
    yield from _windows()
    yield from _flags()
    yield from _layouts()
    yield from _checksums()
    yield from _six()


def _numbers() -> Iterable[Packet]:
    last = MODULUS - 1
    yield Packet(
        name="wraparound of everything",
        rule=Rule(seq=last, ack=last, tsval=last, tsecr=last),
        seq=0,
        ack=0,
        stamps=(0, 0),
        blocks=((last, 1), (last - 5, last)),
        layout=TS + SACK,
        payload=DATA,
    )
    yield Packet(
        name="wraparound upwards",
        rule=Rule(seq=2, ack=3, tsval=4, tsecr=5),
        seq=last,
        ack=last,
        stamps=(last, last - 1),
        blocks=((last - 10, last),),
        layout=TS + SACK,
    )
    yield Packet(name="no difference", rule=Rule(), layout=TS, payload=DATA)
    yield Packet(
        name="sums that are zero",
        rule=Rule(seq=0xFFFF, ack=0xFFFF0000),
        seq=0,
        ack=0,
        window=0,
        payload=b"\0" * 8,
    )


def _windows() -> Iterable[Packet]:
    for name, window, shift in (
        ("left", 502, 2),
        ("left to the last bit", 65_535 >> 7, 7),
        ("left and saturated", 60_000, 1),
        ("left by 14", 3, 14),
        ("left by 14 and saturated", 65_535, 14),
        ("right", 502, -3),
        ("right to nothing", 100, -7),
        ("right by 14", 65_535, -14),
        ("of nothing left", 0, 7),
    ):
        rule = evolve(RETURN, shift=shift)
        yield Packet(
            name=f"window {name}", rule=rule, route="return", window=window, payload=ODD_DATA
        )


def _flags() -> Iterable[Packet]:
    yield Packet(name="FIN", rule=FORWARD, flags="FA", layout=TS)
    yield Packet(name="FIN with data", rule=RETURN, route="return", flags="FPA", payload=DATA)
    yield Packet(name="RST without ACK", rule=FORWARD, flags="R", ack=0)
    yield Packet(name="RST without ACK, field not zero", rule=FORWARD, flags="R", ack=77)
    yield Packet(name="RST with ACK", rule=RETURN, route="return", flags="RA")
    yield Packet(name="SYN without ACK", rule=FORWARD, flags="S", ack=0, stamps=(9, 0), layout=TS)
    yield Packet(name="urgent", rule=FORWARD, flags="PAU", urgent=3, payload=DATA)
    yield Packet(name="ECN flags", rule=FORWARD, flags="PAEC", payload=DATA)
    yield Packet(name="no flags at all", rule=FORWARD, flags="", payload=DATA)


def _layouts() -> Iterable[Packet]:
    yield Packet(name="timestamps at an odd place", rule=FORWARD, layout=("nop", "ts", "nop"))
    yield Packet(name="timestamps first", rule=RETURN, route="return", layout=("ts", "nop", "nop"))
    yield Packet(
        name="SACK at an odd place",
        rule=FORWARD,
        blocks=BLOCKS[:2],
        layout=("nop", "sack", "nop"),
    )
    yield Packet(
        name="both at odd places",
        rule=FORWARD,
        blocks=BLOCKS[:2],
        layout=("nop", "ts", "sack", "nop"),
        payload=ODD_DATA,
    )
    yield Packet(
        name="SACK before timestamps",
        rule=FORWARD,
        blocks=BLOCKS[:2],
        layout=("sack", "ts", "nop", "nop"),
    )
    yield Packet(
        name="options that mean nothing here",
        rule=FORWARD,
        layout=("more", "ts"),
        more=[("MSS", 1460), ("NOP", None), ("WScale", 7), (254, b"\x05\x0a")],
        payload=DATA,
    )
    yield Packet(
        name="what follows the end of options is no option",
        rule=FORWARD,
        layout=("nop", "more"),
        more=[("EOL", None), ("Timestamp", (1, 2))],
    )


def _checksums() -> Iterable[Packet]:
    yield Packet(name="partial checksum", rule=RETURN, route="return", payload=DATA, partial=True)
    yield Packet(
        name="partial checksum with options",
        rule=FORWARD,
        blocks=BLOCKS[:3],
        layout=TS + SACK,
        partial=True,
    )
    yield Packet(name="wrong checksum", rule=FORWARD, payload=DATA, wrong=1)
    yield Packet(
        name="wrong checksum with options", rule=FORWARD, layout=TS, payload=DATA, wrong=0x8000
    )
    yield Packet(name="padded frame", rule=FORWARD, payload=b"x", tail=b"\xee" * 5)
    yield Packet(name="IPv4 options", rule=FORWARD, ip_options=True, layout=TS, payload=DATA)
    yield Packet(
        name="IPv4 options, partial checksum",
        rule=RETURN,
        route="return",
        ip_options=True,
        payload=ODD_DATA,
        partial=True,
    )


def _six() -> Iterable[Packet]:
    yield Packet(name="IPv6 data", version=6, rule=FORWARD, flags="PA", payload=DATA)
    yield Packet(name="IPv6 pure ACK", version=6, rule=FORWARD)
    yield Packet(
        name="IPv6 timestamps and SACK of 3",
        version=6,
        rule=FORWARD,
        blocks=BLOCKS[:3],
        layout=TS + SACK,
    )
    yield Packet(
        name="IPv6 response",
        version=6,
        rule=evolve(RETURN, shift=2),
        route="return",
        flags="FPA",
        layout=TS,
        payload=ODD_DATA,
    )
    yield Packet(
        name="IPv6 partial checksum",
        version=6,
        rule=RETURN,
        route="return",
        layout=TS,
        payload=DATA,
        partial=True,
    )
    yield Packet(
        name="IPv6 RST without ACK", version=6, rule=FORWARD, flags="R", ack=0, tail=b"\0" * 2
    )
    yield Packet(
        name="IPv6 options at odd places",
        version=6,
        rule=FORWARD,
        blocks=BLOCKS[:2],
        layout=("nop", "ts", "sack", "nop"),
        payload=DATA,
    )


def text() -> str:
    """
    @return: what the file should hold.
    """
    entries = ",\n".join(json.dumps(packet.vector()) for packet in packets())
    return f"[\n{entries}\n]\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="ascii")
