# SPDX-License-Identifier: MIT
"""
What lies between the hosts.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from random import Random

from attrs import define, field, frozen
from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import ICMPv6PacketTooBig, IPv6

from tests.simulation.clock import Clock

Receiver = Callable[[bytes], None]

MTU = 1500


@frozen
class Faults:
    """
    What happens to packets, and how often (0.0-1.0).

    @ivar late: a packet takes up to C{jitter} seconds more, so others overtake it.
    """

    loss: float = 0.0
    doubling: float = 0.0
    late: float = 0.0
    jitter: float = 0.02


def ends(packet: bytes) -> tuple[bytes, bytes]:
    """
    @return: packed source and destination address.
    """
    return (packet[12:16], packet[16:20]) if packet[0] >> 4 == 4 else (packet[8:24], packet[24:40])


def too_big(packet: bytes, mtu: int) -> bytes:
    """
    @return: what a router says of a packet that does not fit (RFC 1191, RFC 8201).
    """
    if packet[0] >> 4 == 4:
        source = str(IPv4Address(packet[12:16]))
        message = IP(src="198.51.100.1", dst=source) / ICMP(type=3, code=4, nexthopmtu=mtu)
        return bytes(message / packet[:28])
    source = str(IPv6Address(packet[8:24]))
    told = IPv6(src="2001:db8:100::1", dst=source) / ICMPv6PacketTooBig(mtu=mtu)
    return bytes(told / packet[:1200])


@define
class Network:
    """
    @ivar faults: of all ways.
    @ivar delay: seconds that every packet takes.
    @ivar hosts: who gets packets to an address.
    @ivar watch: sees each packet as it is sent, lost or not.
    @ivar narrow: how large packets to an address may be (octets), because of a
        router on the way; it tells the sender.
    @ivar oversized: complaints of packets that no device could have sent.
    """

    clock: Clock
    random: Random
    faults: Faults = Faults()
    delay: float = 0.001
    hosts: dict[bytes, Receiver] = field(factory=dict)
    watch: list[Receiver] = field(factory=list)
    narrow: dict[bytes, int] = field(factory=dict)
    oversized: list[str] = field(factory=list)

    def send(self, packet: bytes) -> None:
        """
        Take a packet on its way.
        """
        for see in self.watch:
            see(packet)
        if len(packet) > MTU:
            self.oversized.append(f"a packet of {len(packet)} octets")
        limit = self.narrow.get(ends(packet)[1], MTU)
        if len(packet) > limit:
            packet = too_big(packet, limit)
        faults, chance = self.faults, self.random.random
        copies = 1 + (chance() < faults.doubling)
        for _ in range(copies):
            if chance() < faults.loss:
                continue
            extra = chance() * faults.jitter if chance() < faults.late else 0.0
            self.clock.call_later(self.delay + extra, lambda: self._arrive(packet))

    def _arrive(self, packet: bytes) -> None:
        receiver = self.hosts.get(ends(packet)[1])
        if receiver is not None:
            receiver(packet)
