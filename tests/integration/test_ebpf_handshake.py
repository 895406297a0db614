# SPDX-License-Identifier: MIT
"""
The handshake that the tc programs do by themselves, run by the kernel on packets that tests make
(C{BPF_PROG_TEST_RUN}).  scapy reads the answers, L{Established} the numbers in them.
"""

from __future__ import annotations

from ipaddress import ip_address
from itertools import product
from random import Random
from unittest import SkipTest

from attrs import evolve
from scapy.layers.inet import TCP
from scapy.layers.l2 import Ether

from btcp.datapath.raw.frame import BEGINNING
from btcp.handoff.reassembly import WINDOW
from btcp.wire import checksum
from btcp.wire.build import compose
from btcp.wire.segment import ACK, FIN, PSH, RST, SYN, URG, Malformed, Segment
from btcp.wire.seqnum import add
from tests.integration.handshake_case import (
    BROKEN,
    ECN,
    IRS,
    LAYOUTS,
    WHOLE,
    HandshakeTestCase,
    Told,
    model,
    mss,
    of_scapy,
    read_told,
    scale,
    stamps,
)
from tests.integration.loaded import (
    ETHERNET,
    PASS,
    REDIRECT,
    Outcome,
    frame,
    parsed,
)
from tests.integration.program_case import (
    BOTH,
    LISTENERS,
    SHORTEST,
    V4,
)


class SynTests(HandshakeTestCase):
    def test_layouts(self) -> None:
        for flow, options in product(BOTH, LAYOUTS.values()):
            self.assert_answered(self.syn(flow, options))

    def test_every_combination(self) -> None:
        """
        Of what is offered and what can be kept.
        """
        for sack, timestamps, scaling in product((False, True), repeat=3):
            self.promise(sack=sack, timestamps=timestamps, window_scaling=scaling)
            for flow, options in product(BOTH, LAYOUTS.values()):
                self.assert_answered(self.syn(flow, options))

    def test_as_scapy_reads_it(self) -> None:
        for flow in BOTH:
            outcome = self.loaded.ingress(self.syn(flow, LAYOUTS["Linux"]))
            ip, tcp = of_scapy(outcome.frame)
            self.assertEqual(ip_address(ip.src).packed, flow.front)
            self.assertEqual(ip_address(ip.dst).packed, flow.client)
            self.assertEqual((tcp.sport, tcp.dport), (80, flow.port))
            self.assertEqual((tcp.flags, tcp.ack, tcp.window), ("SA", 0, WINDOW))
            self.assertEqual((tcp.reserved, tcp.dataofs, tcp.urgptr), (0, 10, 0))
            options = dict(tcp.options)
            self.assertEqual(options["MSS"], 1460 if ip.version == 4 else 1440)
            self.assertEqual(options["WScale"], WHOLE.window_scale)
            self.assertEqual(options["Timestamp"][1], 0xFFFF_FFF0)
            self.assertIn("SAckOK", options)
            self.assertEqual(ip.ttl if ip.version == 4 else ip.hlim, 64)
            self.assert_sums(outcome.frame)

    def assert_sums(self, octets: bytes) -> None:
        """
        Checksums are what scapy would write.
        """
        again = Ether(octets)
        for layer, name in ((again.payload, "chksum"), (again[TCP], "chksum")):
            if name in layer.fields:
                del layer.fields[name]
        self.assertEqual(bytes(again).hex(), octets.hex())

    def test_hops(self) -> None:
        """
        However far the client is, the answer has as far to go.
        """
        for flow, hops in product(BOTH, (0, 1, 63, 64, 65, 128, 255)):
            octets = bytearray(self.syn(flow, LAYOUTS["Linux"]))
            if flow is V4:
                octets[ETHERNET + 8] = hops
                octets[ETHERNET + 10 : ETHERNET + 12] = b"\0\0"
                summed = checksum.field(checksum.total(octets[ETHERNET : ETHERNET + 20]))
                octets[ETHERNET + 10 : ETHERNET + 12] = summed.to_bytes(2, "big")
            else:
                octets[ETHERNET + 7] = hops
            outcome = self.loaded.ingress(bytes(octets))
            ip, _ = of_scapy(outcome.frame)
            self.assertEqual(ip.ttl if ip.version == 4 else ip.hlim, 64)
            self.assert_sums(outcome.frame)

    def test_padding(self) -> None:
        for flow in BOTH:
            octets = self.syn(flow, mss()) + b"padding"
            self.assert_answered(octets)
            self.assertEqual(self.loaded.ingress(octets).frame[-7:], b"padding")

    def test_the_same_again(self) -> None:
        """
        Who sends his SYN again, gets the same number, and time goes on.
        """
        for flow in BOTH:
            octets = self.syn(flow, LAYOUTS["Linux"])
            first, second = self.assert_answered(octets), self.assert_answered(octets)
            while second.iss >> 31 != first.iss >> 31:  # a time slot ended in between
                first, second = second, self.assert_answered(octets)
            self.assertEqual(first.iss, second.iss)
            self.assertLess(second.stamp - first.stamp & 0xFFFFFFFF, 10_000)

    def test_numbers_of_others_differ(self) -> None:
        flows = [evolve(flow, port=port) for flow in BOTH for port in range(2000, 2100)]
        numbers = {self.assert_answered(self.syn(flow, mss())).iss for flow in flows}
        self.assertGreater(len(numbers), 190)

    def test_time_of_a_pair_of_hosts(self) -> None:
        """
        Monotonic over all ports (RFC 7323, 5.3).
        """
        for flow in BOTH:
            flows = [evolve(flow, port=port) for port in range(2000, 2010)]
            told = [self.assert_answered(self.syn(each, LAYOUTS["Linux"])) for each in flows]
            passed = [b.stamp - a.stamp & 0xFFFFFFFF for a, b in zip(told, told[1:], strict=False)]
            self.assertLess(max(passed), 10_000)

    def test_congestion_notification_is_not_promised(self) -> None:
        """
        Neither by the old bits (RFC 3168) nor by the third one (RFC 9768), which alone would
        say that it is.
        """
        for flow, options in product(BOTH, (LAYOUTS["Linux"], mss())):
            self.assert_answered(self.syn(flow, options, SYN | ECN))
            self.assert_answered(self.accurate(self.syn(flow, options, SYN | ECN)))

    def accurate(self, octets: bytes) -> bytes:
        """
        @return: a frame whose segment has the third bit as well, and a right checksum.
        """
        segment = parsed(octets)
        segment.buffer[segment.tcp + 12] |= 1
        segment.complete_checksum()
        return bytes(segment.buffer)

    def test_damaged(self) -> None:
        """
        The answer to a damaged SYN is damaged by the same difference.
        """
        for flow, damage in product(BOTH, (1, 0x80)):
            octets = bytearray(self.syn(flow, LAYOUTS["Linux"]))
            octets[parsed(bytes(octets)).tcp + 16] ^= damage
            self.assertFalse(parsed(bytes(octets)).intact())
            self.assert_answered(bytes(octets))

    def test_sums_of_devices_stay_right(self) -> None:
        """
        A device that sums up whole packets is to be believed still.
        """
        octets = frame(compose(V4.response, 5, 3000, ACK, 99))
        if not self.loaded.checksum_survives("btcp_ingress", octets):
            raise SkipTest("this kernel cannot pretend that a device summed up a packet")
        for flow, options in product(BOTH, LAYOUTS.values()):
            octets = self.syn(flow, options)
            self.assertTrue(self.loaded.checksum_survives("btcp_ingress", octets))

    def test_only_to_listeners(self) -> None:
        for flow in BOTH:
            for key in (flow.forwarded, flow.request[:-1] + b"\x51"):
                octets = self.framed(compose(key, 5, 0, SYN, 99, mss()))
                self.assert_untouched(self.loaded.ingress(octets), octets, PASS)

    def test_flow_has_a_route(self) -> None:
        """
        Then the core decides whether the connection is a new one.
        """
        for flow in BOTH:
            self.loaded.install(flow.forward())
            self.assert_up(self.syn(flow, LAYOUTS["Linux"]))


class UpTests(HandshakeTestCase):
    """
    What only the core can answer.
    """

    def test_options(self) -> None:
        for flow, options in product(BOTH, BROKEN.values()):
            self.assert_up(self.syn(flow, options))

    def test_nothing_promised(self) -> None:
        self.loaded.programs.promise(None)
        for flow in BOTH:
            self.assert_up(self.syn(flow, LAYOUTS["Linux"]))

    def test_promise_is_over(self) -> None:
        """
        Who was told already, may go on; nobody else is told.
        """
        for flow in BOTH:
            self.promise()
            told = self.assert_answered(self.syn(flow, LAYOUTS["Linux"]))
            self.promise(left=-0.001)
            self.assert_up(self.syn(flow, LAYOUTS["Linux"]))
            first = compose(flow.request, add(IRS, 1), add(told.iss, 1), ACK, 99, b"", b"G")
            self.assert_up(self.framed(first), BEGINNING)

    def test_flags(self) -> None:
        for flow in BOTH:
            for others in (ACK, FIN, RST, URG, PSH, ACK | RST, FIN | ACK, RST | FIN):
                self.assert_up(self.syn(flow, mss(), SYN | others))
            for flags in (0, FIN, RST, RST | ACK, PSH, URG, FIN | RST | ACK):
                self.assert_up(self.syn(flow, mss(), flags))

    def test_data(self) -> None:
        """
        Fast Open, or an old habit.
        """
        for flow in BOTH:
            octets = frame(compose(flow.request, IRS, 0, SYN, 99, LAYOUTS["Linux"], b"G"))
            self.assert_up(octets)

    def test_options_of_ip(self) -> None:
        octets = bytearray(self.syn(V4, LAYOUTS["Linux"]))
        octets[ETHERNET] = 0x46
        octets[ETHERNET + 2 : ETHERNET + 4] = (len(octets) + 4 - ETHERNET).to_bytes(2, "big")
        octets[ETHERNET + 20 : ETHERNET + 20] = b"\1\1\1\0"
        self.assert_up(bytes(octets))

    def test_no_room_to_answer(self) -> None:
        """
        What is promised may take more words than it was offered in: MSS without no-operations.
        """
        for flow in BOTH:
            crowded = scale(7) + b"\4\2" + mss() + b"\x22\2\0"
            self.assert_answered(self.syn(flow, crowded))


class FuzzTests(HandshakeTestCase):
    """
    Whatever a SYN is like: it goes up as it is, or is answered as the model says, or, if it is
    none, is none of ours.
    """

    CASES = 4000

    def test_options(self) -> None:
        random = Random(4)
        answered = sum(self.assert_right(_drawn(random)) for _ in range(self.CASES))
        self.assertGreater(answered, self.CASES // 10)
        self.assertLess(answered, self.CASES * 9 // 10)

    def test_truncated(self) -> None:
        """
        At every octet.
        """
        for flow, name in product(BOTH, ("Linux", "macOS", "Linux without anything")):
            octets = self.syn(flow, LAYOUTS[name])
            for size in range(SHORTEST[flow], len(octets)):
                self.assert_right(octets[:size])
                self.assert_right(_with_length(octets[:size]))

    def test_any_bit(self) -> None:
        """
        Wrong in the headers.
        """
        for flow in BOTH:
            octets = self.syn(flow, LAYOUTS["FreeBSD"])
            for bit in range(8 * ETHERNET, 8 * len(octets)):
                wrong = bytearray(octets)
                wrong[bit // 8] ^= 1 << bit % 8
                self.assert_right(bytes(wrong))

    def assert_right(self, octets: bytes) -> bool:
        """
        @return: whether it was answered.
        """
        outcome = self.loaded.ingress(octets)
        if outcome.counted == {"answered": 1}:
            self.assert_modelled(octets, outcome.frame, read_told(outcome.frame))
            return True
        self.assertEqual(outcome.frame.hex(), octets.hex())
        self.assert_left_alone(octets, outcome)
        return False

    def assert_left_alone(self, octets: bytes, outcome: Outcome) -> None:
        syn = _to_listener(octets)
        if syn is None:
            self.assertEqual((outcome.verdict, outcome.counted), (PASS, {}), octets.hex())
            return
        self.assertEqual((outcome.verdict, outcome.counted), (REDIRECT, {"punted": 1}))
        plain = syn.flags & ~ECN == SYN and (syn.version == 6 or syn.tcp - syn.ip == 20)
        if plain:
            self.assertIsNone(model(syn, self.promised, Told(0, 0)), octets.hex())


def _to_listener(octets: bytes) -> Segment | None:
    """
    @return: the segment in a frame, if it is one to a listener.
    """
    try:
        segment = parsed(octets)
    except Malformed:
        return None
    ours = segment.version == (4 if octets[12:14] == b"\x08\0" else 6)
    end = segment.destination, segment.destination_port
    return segment if ours and end in LISTENERS else None


def _with_length(octets: bytes) -> bytes:
    """
    @return: a frame whose IP header says how long it is.
    """
    made = bytearray(octets)
    if octets[12:14] == b"\x08\0":
        made[ETHERNET + 2 : ETHERNET + 4] = (len(octets) - ETHERNET).to_bytes(2, "big")
    else:
        made[ETHERNET + 4 : ETHERNET + 6] = (len(octets) - ETHERNET - 40).to_bytes(2, "big")
    return bytes(made)


def _drawn(random: Random) -> bytes:
    """
    @return: a frame with a SYN with options, most of them well-formed.
    """
    pieces = b""
    for _ in range(random.randrange(1, 8)):
        pieces += random.choice(
            (
                mss(random.getrandbits(16)),
                mss(random.choice((536, 1220, 1460, 8960))),
                stamps(random.getrandbits(32), random.getrandbits(32)),
                scale(random.choice((0, 7, 14, 15, 255))),
                b"\4\2",
                b"\1",
                bytes((random.getrandbits(8), random.randrange(12))),
                random.randbytes(3) if not random.randrange(4) else b"",
                b"\0" if not random.randrange(4) else b"",
            )
        )
    options = pieces[:40]
    options += bytes((random.choice((0, 1)),)) * (-len(options) % 4)
    flow = random.choice(BOTH)
    flags = SYN | random.choice((0, 0, ECN, 0x40))
    window = random.getrandbits(16)
    return frame(compose(flow.request, random.getrandbits(32), 0, flags, window, options))
