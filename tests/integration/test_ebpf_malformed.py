# SPDX-License-Identifier: MIT
"""
The tc programs on packets that are not what they look like.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6PacketTooBig,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
)
from scapy.layers.l2 import Dot1Q, Ether

from btcp.datapath.ebpf import abi
from btcp.datapath.ebpf.adoption import Adoption
from btcp.handoff.route import Route
from btcp.wire.build import compose
from btcp.wire.segment import ACK, Malformed, flow_key
from tests.amounts import amount
from tests.integration.loaded import (
    ETHERNET,
    IPV4,
    IPV6,
    PASS,
    REDIRECT,
    SWALLOWED,
    Outcome,
    frame,
    parsed,
)
from tests.integration.program_case import (
    BOTH,
    NUMBERS,
    OTHER_4,
    OTHER_6,
    SHORTEST,
    STARTED,
    UNUSUAL,
    USUAL,
    V4,
    V6,
    ProgramsTestCase,
    stamps,
)


def ethernet(kind: int | None = None) -> Any:
    """
    @return: a header with addresses, for which scapy would ask the network.
    """
    made = Ether(src="02:00:00:00:00:07", dst="00:00:00:00:00:00")
    if kind is not None:
        made.type = kind
    return made


class NotOursTests(ProgramsTestCase):
    """
    What only looks like a flow's packet passes as it is.
    """

    def setUp(self) -> None:
        super().setUp()
        self.routes = [
            route for flow in BOTH for route in (flow.forward(ack=1), flow.receive(), flow.send())
        ]
        self.loaded.install(*self.routes)

    def assert_passes(self, *packets: Any) -> None:
        for packet in packets:
            octets = bytes(packet)
            self.assert_untouched(self.loaded.ingress(octets), octets, PASS)
            self.assert_untouched(self.loaded.egress(octets), octets, PASS)
        for route in self.routes:
            self.assert_account(route)

    def test_fragments(self) -> None:
        tcp = TCP(sport=1000, dport=80, flags="A")
        self.assert_passes(
            ethernet() / IP(src="192.0.2.7", dst="192.0.2.8", flags="MF") / tcp,
            ethernet() / IP(src="192.0.2.7", dst="192.0.2.8", frag=1, proto=6) / bytes(tcp),
        )

    def test_ipv6_extension_headers(self) -> None:
        ip, tcp = IPv6(src="2001:db8::7", dst="2001:db8::8"), TCP(sport=1000, dport=80, flags="A")
        for header in (IPv6ExtHdrHopByHop(), IPv6ExtHdrDestOpt(), IPv6ExtHdrFragment(id=1)):
            self.assert_passes(ethernet() / ip / header / tcp)

    def test_other_protocols(self) -> None:
        v4, v6 = IP(src="192.0.2.7", dst="192.0.2.8"), IPv6(src="2001:db8::7", dst="2001:db8::8")
        udp = UDP(sport=1000, dport=80)
        arp = ethernet(0x0806) / bytes(60)
        self.assert_passes(ethernet() / v4 / udp, ethernet() / v6 / udp, arp)

    def test_tag_in_the_frame(self) -> None:
        v4 = IP(src="192.0.2.7", dst="192.0.2.8") / TCP(sport=1000, dport=80, flags="A")
        self.assert_passes(ethernet() / Dot1Q(vlan=7) / v4, ethernet() / Dot1Q(vlan=0) / v4)

    def test_wrong_version(self) -> None:
        """
        Of the two that say which version of IP it is, one lies.
        """
        for flow, lie in ((V4, 0x65), (V6, 0x45)):
            octets = bytearray(frame(compose(flow.request, 5, 3000, ACK, 99, b"", b"x" * 40)))
            octets[ETHERNET] = lie
            self.assert_passes(octets)

    def test_ipv4_addresses_in_ipv6(self) -> None:
        """
        They stand for IPv4 addresses in the tables, and for nothing on a wire.
        """
        mapped = [ip_address("::ffff:0.0.0.0").packed[:12] + each for each in (V4.client, V4.front)]
        for source, destination in (mapped, [V6.client, mapped[1]], [mapped[0], V6.front]):
            key = flow_key(source, V4.port, destination, 80)
            self.assert_passes(frame(compose(key, 5, 3000, ACK, 99)))

    def test_short(self) -> None:
        """
        Every length that is too short for what the headers say.
        """
        for flow in BOTH:
            octets = frame(compose(flow.request, 5, 3000, ACK, 99, stamps(), b"xyz"))
            for size in range(SHORTEST[flow], len(octets)):
                self.assert_passes(octets[:size])

    def test_bad_lengths(self) -> None:
        for flow, at in ((V4, ETHERNET + 2), (V6, ETHERNET + 4)):
            whole = frame(compose(flow.request, 5, 3000, ACK, 99, stamps(), b"xyz"))
            for length in (0, 19, 31, 2000, 0xFFFF):
                octets = bytearray(whole)
                octets[at : at + 2] = struct.pack("!H", length)
                self.assert_passes(octets)
            header = ETHERNET + (20 if flow is V4 else 40) + 12
            for offset in (0, 1, 4, 15):
                octets = bytearray(whole)
                octets[header] = offset << 4
                self.assert_passes(octets)

    def test_ipv4_header_too_short(self) -> None:
        octets = bytearray(frame(compose(V4.request, 5, 3000, ACK, 99)))
        octets[ETHERNET] = 0x44
        self.assert_passes(octets)


class TooBigTests(ProgramsTestCase):
    """
    ICMP that may concern a flow.
    """

    v4, v6 = IP(src="192.0.2.1", dst="192.0.2.8"), IPv6(src="2001:db8::1", dst="2001:db8::8")
    quoted = IP(src="192.0.2.8", dst="192.0.2.7") / TCP(sport=80, dport=1000)

    def test_goes_up(self) -> None:
        for packet in (
            ethernet() / self.v4 / ICMP(type=3, code=4, nexthopmtu=1400) / self.quoted,
            ethernet() / IP(bytes(self._with_options())) / ICMP(type=3, code=4) / self.quoted,
            ethernet() / self.v6 / ICMPv6PacketTooBig(mtu=1400) / bytes(48),
        ):
            octets = bytes(packet)
            self.assert_untouched(self.loaded.ingress(octets), octets, REDIRECT, "punted")
            self.assert_untouched(self.loaded.egress(octets), octets, PASS)

    def _with_options(self) -> bytes:
        return bytes(IP(src="192.0.2.1", dst="192.0.2.8", options=b"\1\1\1\1", proto=1))

    def test_does_not_concern_us(self) -> None:
        elsewhere = IP(src="192.0.2.1", dst="192.0.2.99")
        for packet in (
            ethernet() / self.v4 / ICMP(type=3, code=3) / self.quoted,
            ethernet() / self.v4 / ICMP(type=8),
            ethernet() / elsewhere / ICMP(type=3, code=4) / self.quoted,
            ethernet() / self.v6 / ICMPv6EchoRequest(),
            ethernet() / self.v4,
            ethernet() / self.v6,
        ):
            octets = bytes(packet)
            self.assert_untouched(self.loaded.ingress(octets), octets, PASS)


octet = st.integers(0, 255)


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    """
    Packets of installed flows, and what becomes of them on bad days.
    """
    flow = draw(st.sampled_from(BOTH))
    key = draw(st.sampled_from([flow.request, flow.forwarded, flow.answer, flow.response]))
    options = draw(st.one_of(st.sampled_from(USUAL + UNUSUAL), st.binary(max_size=40)))
    octets = bytearray(
        frame(
            compose(
                key,
                draw(st.integers(0, 2**32 - 1)),
                draw(st.integers(0, 2**32 - 1)),
                draw(st.one_of(st.just(ACK), octet)),
                draw(st.integers(0, 0xFFFF)),
                (options + bytes(-len(options) % 4))[:40],
                draw(st.binary(max_size=64)),
            )
        )
    )
    if key in (V4.request, V4.forwarded, V4.answer) and draw(st.booleans()):
        octets = _with_ipv4_options(octets, draw(st.binary(min_size=4, max_size=40)))
    for at, value in draw(st.lists(st.tuples(st.integers(12, 120), octet), max_size=3)):
        if at < len(octets):
            octets[at] = value
    octets += draw(st.binary(max_size=8))
    sizes = st.integers(SHORTEST[V6], len(octets))
    return bytes(octets[: draw(st.one_of(st.just(len(octets)), sizes))])


def _with_ipv4_options(octets: bytearray, options: bytes) -> bytearray:
    options = options[: len(options) // 4 * 4]
    made = octets[: ETHERNET + 20] + options + octets[ETHERNET + 20 :]
    made[ETHERNET] += len(options) // 4
    length = struct.unpack_from("!H", made, ETHERNET + 2)[0] + len(options)
    struct.pack_into("!H", made, ETHERNET + 2, length)
    return made


class FuzzTests(ProgramsTestCase):
    """
    Any frame is taken as Python would take it, or goes up, or on, as it is; or is dropped.
    Never does it get another flow's numbers, or another flow its account.
    """

    def _fuzz(self, octets: bytes, run: Callable[[bytes], Outcome]) -> None:
        routes = [
            route
            for flow in BOTH
            for route in (flow.forward(**NUMBERS), flow.receive(), flow.send(**NUMBERS))
        ]
        others = [
            route for flow in (OTHER_4, OTHER_6) for route in (flow.forward(ack=9), flow.send())
        ]
        self.loaded.install(*routes, *others)
        outcome = run(octets)
        self.assertLessEqual(sum(outcome.counted.values()), 1)
        taken = next((route for route in routes if self.loaded.account(route).packets), None)
        if taken is None:
            self.assertEqual(outcome.frame, octets)
            verdicts = {(): PASS, ("punted",): REDIRECT, ("guarded",): SWALLOWED}
            self.assertEqual(outcome.verdict, verdicts[tuple(outcome.counted)])
        else:
            self._check_taken(outcome, octets, taken)
        for route in routes + others:
            if route is not taken:
                self.assert_account(route)

    def _check_taken(self, outcome: Outcome, octets: bytes, taken: Route) -> None:
        try:
            segment = parsed(octets)
            key = segment.key
            taken.take(segment, STARTED)
        except Malformed as problem:
            self.fail(f"moved what is malformed: {problem}")
        self.assertEqual(key, taken.key)
        self.assert_account(taken)
        ours = {"forwarded": REDIRECT, "admitted": PASS, "sent": PASS}
        (counter,) = outcome.counted
        self.assertEqual(outcome.verdict, ours[counter])
        self.assertEqual(_canonical(outcome.frame), _canonical(bytes(segment.buffer)))

    @settings(max_examples=amount(1000, 200), deadline=None)
    @given(frames())
    @example(frame(compose(V4.request, 1, 2, ACK, 3, stamps())))
    def test_ingress(self, octets: bytes) -> None:
        self._fuzz(octets, self.loaded.ingress)

    @settings(max_examples=amount(1000, 200), deadline=None)
    @given(frames())
    @example(frame(compose(V4.answer, 1, 2, ACK, 3, stamps())))
    def test_egress(self, octets: bytes) -> None:
        self._fuzz(octets, self.loaded.egress)

    @settings(max_examples=amount(500, 100), deadline=None)
    @given(st.one_of(st.just(IPV4), st.just(IPV6), st.binary(min_size=14, max_size=14)), st.data())
    def test_anything(self, header: bytes, data: st.DataObject) -> None:
        octets = header + data.draw(st.binary(min_size=40, max_size=200))
        self._fuzz(octets, self.loaded.ingress)
        self._fuzz(octets, self.loaded.egress)


class AdoptFuzzTests(ProgramsTestCase):
    """
    The program that admits requests changes no frame.  Without a listener it sends back what it
    was told of, and lets all else pass.
    """

    def setUp(self) -> None:
        super().setUp()
        self.program = Adoption().load()
        self.addCleanup(self.program.close)
        adoptions = self.program.map("adoptions", abi.ADOPTION.size)
        for flow in BOTH:
            adoptions.update(abi.pack_key(flow.forwarded), bytes(abi.ADOPTION.size))

    def _fuzz(self, octets: bytes) -> None:
        ran = self.program.run("btcp_adopt", octets)
        verdict = REDIRECT if self._is_ours(octets) else 0
        self.assertEqual((ran.result, ran.packet), (verdict, octets))

    def _is_ours(self, octets: bytes) -> bool:
        try:
            segment = parsed(octets)
        except Malformed:
            return False
        kind = {4: IPV4, 6: IPV6}[segment.version]
        return octets[:14] == kind and segment.key in (V4.forwarded, V6.forwarded)

    @settings(max_examples=amount(1000, 200), deadline=None)
    @given(frames())
    @example(frame(compose(V4.forwarded, 1, 2, ACK, 3)))
    @example(frame(compose(V6.forwarded, 1, 2, ACK, 3)))
    def test_adopt(self, octets: bytes) -> None:
        self._fuzz(octets)


def _canonical(octets: bytes) -> bytes:
    """
    @return: the frame with all checksum fields of 0xFFFF written as zero: a wrong checksum
        may come to either, which are the same number.
    """
    made = bytearray(octets)
    first = made[ETHERNET]
    fields = [ETHERNET + 40 + 16]
    if first >> 4 == 4:
        fields = [ETHERNET + 10, ETHERNET + (first & 15) * 4 + 16]
    for at in fields:
        if made[at : at + 2] == b"\xff\xff":
            made[at : at + 2] = b"\0\0"
    return bytes(made)
