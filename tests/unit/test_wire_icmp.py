# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.wire.icmp}.
"""

from __future__ import annotations

from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6PacketTooBig, IPv6
from scapy.packet import Packet
from twisted.trial.unittest import SynchronousTestCase

from btcp.wire.icmp import PacketTooBig
from btcp.wire.segment import Malformed, flow_key
from tests.simulation.cluster import packed

CLIENT, FRONT, BACK, ROUTER = "198.51.100.7", "192.0.2.11", "192.0.2.12", "198.51.100.1"
CLIENT6, FRONT6, BACK6, ROUTER6 = (
    "2001:db8:100::7",
    "2001:db8:2::11",
    "2001:db8:2::12",
    "2001:db8:100::1",
)
TO_BACK = flow_key(packed(CLIENT), 51515, packed(BACK), 8080)
TO_BACK6 = flow_key(packed(CLIENT6), 51515, packed(BACK6), 8080)


def sent(source: str, destination: str, sport: int = 80, seq: int = 5000) -> Packet:
    """
    A packet of a response.
    """
    ip = IPv6 if ":" in source else IP
    return ip(src=source, dst=destination) / TCP(sport=sport, dport=51515, seq=seq) / (b"x" * 900)


def told(quoted: bytes) -> bytes:
    """
    What a router says of it, over IPv4.
    """
    return bytes(IP(src=ROUTER, dst=FRONT) / ICMP(type=3, code=4, nexthopmtu=1300) / quoted)


def told6(quoted: bytes) -> bytes:
    """
    What a router says of it, over IPv6.
    """
    return bytes(IPv6(src=ROUTER6, dst=FRONT6) / ICMPv6PacketTooBig(mtu=1300) / quoted)


def rebuilt(packet: bytes) -> bytes:
    """
    The packet as scapy writes it, what it quotes left as it is.
    """
    quoted = packet[28:] if packet[0] >> 4 == 4 else packet[48:]
    parsed: Packet = IP(packet[:28]) if packet[0] >> 4 == 4 else IPv6(packet[:48])
    if IP in parsed:
        del parsed.len, parsed.chksum, parsed[ICMP].chksum
    else:
        del parsed.plen, parsed[ICMPv6PacketTooBig].cksum
    return bytes(parsed / quoted)


class PacketTooBigTests(SynchronousTestCase):
    """
    From a router, to the front-end, to the back-end.
    """

    def test_whose_packet_it_was(self) -> None:
        """
        Routers need to quote no more than 8 octets of TCP.
        """
        four = bytes(sent(FRONT, CLIENT))[:28]
        expected = flow_key(packed(CLIENT), 51515, packed(FRONT), 80)
        self.assertEqual(PacketTooBig(told(four)).client_key, expected)
        six = bytes(sent(FRONT6, CLIENT6))
        expected = flow_key(packed(CLIENT6), 51515, packed(FRONT6), 80)
        self.assertEqual(PacketTooBig(told6(six)).client_key, expected)

    def test_translated(self) -> None:
        """
        It says of the packet that the back-end sent what the router said of the one
        that the router saw.
        """
        for length in (28, 200, None):
            quoted = bytes(sent(FRONT, CLIENT))[:length]
            packet = PacketTooBig(told(quoted)).translated(TO_BACK, -6000)
            parsed = IP(packet[:28])
            self.assertEqual((parsed.src, parsed.dst), (ROUTER, BACK))
            self.assertEqual(parsed[ICMP].nexthopmtu, 1300)
            inner = bytes(sent(BACK, CLIENT, 8080, 2**32 - 1000))[:length]
            self.assertEqual(packet[28:56], inner[:28])
            self.assertEqual(packet[56:], quoted[28:])
            self.assertEqual(rebuilt(packet), packet)

    def test_translated_six(self) -> None:
        quoted = bytes(sent(FRONT6, CLIENT6))
        packet = PacketTooBig(told6(quoted)).translated(TO_BACK6, 1234)
        parsed = IPv6(packet)
        self.assertEqual((parsed.src, parsed.dst), (ROUTER6, BACK6))
        inner = bytes(sent(BACK6, CLIENT6, 8080, 6234))
        self.assertEqual(packet[48:96], inner[:48])
        self.assertEqual(rebuilt(packet), packet)

    def refused(self, packet: bytes, counter: str) -> None:
        """
        It is something else.
        """
        raised = self.assertRaises(Malformed, PacketTooBig, packet)
        self.assertEqual(raised.counter, counter)

    def test_cut_anywhere(self) -> None:
        for whole, needed in (
            (told(bytes(sent(FRONT, CLIENT))[:28]), 56),
            (told6(bytes(sent(FRONT6, CLIENT6))[:48]), 96),
        ):
            self.assertEqual(len(whole), needed)
            for end in range(needed):
                raised = self.assertRaises(Malformed, PacketTooBig, whole[:end])
                self.assertIn(raised.counter, ("truncated", "not-too-big"))

    def test_other_messages(self) -> None:
        four, six = bytes(sent(FRONT, CLIENT)), bytes(sent(FRONT6, CLIENT6))
        echo = bytes(IP(src=ROUTER, dst=FRONT) / ICMP() / four)
        self.refused(echo, "not-too-big")
        unreachable = bytes(IPv6(src=ROUTER6, dst=FRONT6) / ICMPv6DestUnreach() / six)
        self.refused(unreachable, "not-too-big")
        self.refused(four, "not-too-big")

    def test_about_another_protocol(self) -> None:
        quoted = bytearray(bytes(sent(FRONT, CLIENT)))
        quoted[9] = 17
        self.refused(told(bytes(quoted)), "not-tcp")

    def test_about_another_version(self) -> None:
        self.refused(told(bytes(sent(FRONT6, CLIENT6))), "truncated")

    def test_headers_too_short_to_be(self) -> None:
        """
        An IPv4 header has at least 20 octets, whatever it says.
        """
        quoted = bytearray(bytes(sent(FRONT, CLIENT)))
        quoted[0] = 0x43
        self.refused(told(bytes(quoted)), "bad-ip-header")
        whole = bytearray(told(bytes(sent(FRONT, CLIENT))))
        whole[0] = 0x41
        whole[4:6] = b"\x03\x04"
        whole[12] = 0x45
        self.refused(bytes(whole), "bad-ip-header")
