# SPDX-License-Identifier: MIT
"""
What the tc programs say of packets of connections that they established.
"""

from __future__ import annotations

import time
from itertools import product

from attrs import evolve

from btcp.datapath.ebpf import abi
from btcp.datapath.raw.frame import BEGINNING, CONTINUING, VNET_HEADER, rtt
from btcp.handoff.cookie import Established
from btcp.handoff.messages import UNMEASURED
from btcp.handoff.reassembly import WINDOW
from btcp.handoff.route import BREAKING
from btcp.wire.build import compose
from btcp.wire.options import SynOptions, timestamps
from btcp.wire.segment import ACK, FIN, PSH, RST, SYN, Segment
from btcp.wire.seqnum import add
from tests.integration import test_ebpf_wire
from tests.integration.handshake_case import (
    CLIENTS_ADDRESS,
    ECN,
    IRS,
    LAYOUTS,
    SCALE,
    WHOLE,
    HandshakeTestCase,
    model,
    mss,
    of_scapy,
    read_told,
    stamps,
)
from tests.integration.loaded import (
    DROP,
    REDIRECT,
    Loaded,
    frame,
    parsed,
    without_rtt,
)
from tests.integration.program_case import (
    BOTH,
    LISTENERS,
    V4,
    V6,
    Flow,
    route_of,
)
from tests.integration.wire import Frame


class FirstTests(HandshakeTestCase):
    """
    What comes after the answer.
    """

    def established(self, flow: Flow, options: bytes = LAYOUTS["Linux"]) -> Segment:
        """
        @return: the ACK that completes the handshake.
        """
        told = self.assert_answered(self.syn(flow, options))
        echo = b"" if told.stamp < 0 else b"\1\1" + stamps(3, told.stamp)
        return compose(flow.request, add(IRS, 1), add(told.iss, 1), ACK, 501, echo)

    def but(self, segment: Segment, payload: bytes = b"", seq: int = 0, **other: int) -> bytes:
        """
        @param seq: is added.
        @return: a frame with a segment like this one.
        """
        options = bytes(segment.buffer[segment.tcp + 20 : segment.data])
        flags, ack = other.get("flags", segment.flags), other.get("ack", 0)
        numbers = add(segment.seq, seq), add(segment.ack, ack)
        return self.framed(compose(segment.key, *numbers, flags, segment.window, options, payload))

    def test_acknowledgment(self) -> None:
        """
        Nothing is remembered of who says nothing else.
        """
        for flow, ecn in product(BOTH, (0, ECN)):
            octets = self.but(self.established(flow), flags=ACK | ecn)
            self.assert_untouched(self.loaded.ingress(octets), octets, DROP, "established")

    def test_round_trip_time(self) -> None:
        """
        The daemon is told how old the echo was in the ACK of the handshake.
        """
        for flow, (options, expected) in product(
            BOTH, ((LAYOUTS["Linux"], range(90)), (LAYOUTS["Windows"], (UNMEASURED,)))
        ):
            acknowledgment = self.established(flow, options)
            self.loaded.ingress(self.but(acknowledgment))
            octets = self.but(acknowledgment, b"GET / HTTP/1.1\r\n", flags=ACK | PSH)
            self.assertIn(rtt(bytearray(VNET_HEADER) + self.loaded.ingress(octets).frame), expected)

    def test_beginning(self) -> None:
        """
        The core reads what was agreed.
        """
        for flow, (name, options) in product(BOTH, LAYOUTS.items()):
            acknowledgment = self.established(flow, options)
            octets = self.but(acknowledgment, b"GET / HTTP/1.1\r\n", flags=ACK | PSH)
            self.assert_up(octets, BEGINNING)
            read = Established.read(parsed(octets))
            offered = SynOptions.read(parsed(self.syn(flow, options)))
            self.assertEqual((read.irs, add(read.iss, 1)), (IRS, acknowledgment.ack), name)
            self.assertEqual((read.offered.scale, read.offered.sack), (offered.scale, offered.sack))
            self.assertEqual(read.offered.tsval >= 0, offered.tsval >= 0)
            self.assertEqual(read.window, min(501 << max(offered.scale, 0), 65_535))

    def test_fin(self) -> None:
        """
        Who has nothing to ask for, ends the connection; the core has to say so, too.
        """
        for flow in BOTH:
            octets = self.but(self.established(flow), flags=ACK | FIN)
            self.assert_up(octets, BEGINNING)

    def test_repeated(self) -> None:
        for flow in BOTH:
            octets = self.but(self.established(flow), b"G")
            for _ in range(3):
                self.assert_up(octets, BEGINNING)

    def test_probe(self) -> None:
        """
        A keep-alive probe of a client that waits is answered; some send an octet with it.
        """
        for flow, name, data in product(BOTH, ("Linux", "Windows"), (b"", b"\0", b"\xa7")):
            acknowledgment = self.established(flow, LAYOUTS[name])
            self.loaded.ingress(self.but(acknowledgment))
            outcome = self.loaded.ingress(self.but(acknowledgment, data, seq=-1))
            self.assertEqual((outcome.verdict, outcome.counted), (REDIRECT, {"probed": 1}))
            answer = parsed(outcome.frame)
            self.assertEqual(answer.key, flow.response)
            numbers = answer.seq, answer.ack, answer.size, answer.flags
            self.assertEqual(numbers, (acknowledgment.ack, acknowledgment.seq, 0, ACK))
            self.assertTrue(answer.intact())
            self.assertEqual(of_scapy(outcome.frame)[1].window, WINDOW >> SCALE)
            stamped = timestamps(answer)
            self.assertEqual(stamped is None, name == "Windows")
            if stamped is not None:
                self.assertEqual(stamped[1], 3)
                self.assertIn(stamped[0] - (timestamps(acknowledgment) or (0, 0))[1], range(90))
            # The connection is as it was.
            octets = self.but(acknowledgment, b"GET / HTTP/1.1\r\n", flags=ACK | PSH)
            self.assert_up(octets, BEGINNING)

    def test_no_probe(self) -> None:
        """
        Of a client that has not waited, or has another place, the core sees it.
        """
        for flow in BOTH:
            acknowledgment = self.established(flow)
            self.assert_up(self.but(acknowledgment, seq=-1), CONTINUING)
            self.loaded.ingress(self.but(acknowledgment))
            self.assert_up(self.but(acknowledgment, seq=-2), CONTINUING)
            self.assert_up(self.but(acknowledgment, b"ab", seq=-1), CONTINUING)
            self.assert_up(self.but(acknowledgment, seq=-1, flags=ACK | FIN), CONTINUING)

    def test_cookie_is_too_old(self) -> None:
        """
        A client that acknowledged it in time is known however late the request comes, others are
        not.
        """
        for flow, acknowledges in product(BOTH, (True, False)):
            acknowledgment = self.established(flow)
            if acknowledges:
                self.loaded.ingress(self.but(acknowledgment))
            # With another secret, as after two minutes, no number of before is right.
            self.loaded.programs._promises.update(
                abi.WORD.pack(0), abi.pack_promise(self.promised, bytes(range(16)))
            )
            request = self.but(acknowledgment, b"G")
            later = self.but(acknowledgment, b"G", seq=1)
            wrong = self.but(acknowledgment, b"G", ack=1)
            self.assert_up(wrong)
            self.assert_up(later, CONTINUING if acknowledges else None)
            self.assert_up(request, BEGINNING if acknowledges else None)
            self.promise()

    def test_overtaking(self) -> None:
        """
        It never looks like the beginning.
        """
        for flow in BOTH:
            acknowledgment = self.established(flow)
            for ahead in range(1, 1001):
                self.assert_up(self.but(acknowledgment, b"G", seq=ahead), CONTINUING)

    def test_acknowledgment_out_of_place(self) -> None:
        """
        A keep-alive, say.  The core drops it, unless it has the flow.
        """
        for flow in BOTH:
            acknowledgment = self.established(flow)
            for behind in range(-20, 0):
                self.assert_up(self.but(acknowledgment, seq=behind), CONTINUING)

    def test_stranger(self) -> None:
        """
        Who guesses the number wrong comes as himself.
        """
        for flow in BOTH:
            acknowledgment = self.established(flow)
            for bit in range(15, 23):  # of the hash
                self.assert_up(self.but(acknowledgment, b"G", ack=1 << bit))

    def test_somebody_else(self) -> None:
        """
        The hash of one in 256 is the same: that one is dropped by the core.
        """
        for flow in BOTH:
            first = self.established(flow)
            flows = [evolve(flow, port=port) for port in range(2000, 2100)]
            said = [self.said_of(each.request, first) for each in flows]
            self.assertLess(said.count(CONTINUING), 20)
            self.assertEqual(set(said) - {CONTINUING}, {CLIENTS_ADDRESS})

    def said_of(self, key: bytes, like: Segment) -> bytes:
        """
        @return: the source of the frame of a segment with another key.
        """
        octets = self.framed(compose(key, like.seq, like.ack, ACK, 99, b"", b"G"))
        outcome = self.loaded.ingress(octets)
        self.assertEqual(outcome.counted, {"punted": 1})
        return outcome.frame[6:12]

    def test_other_secret(self) -> None:
        """
        A number of another node's, or of an earlier start's.
        """
        other = Loaded(LISTENERS)
        self.addCleanup(other.close)
        other.programs.promise(self.promised)
        for flow, port in product(BOTH, range(2000, 2020)):
            octets = self.but(self.established(evolve(flow, port=port)), b"G")
            self.assertNotEqual(other.ingress(octets).frame[6:12], BEGINNING)

    def test_flags(self) -> None:
        """
        A reset, or another SYN, is nothing that could be vouched for.
        """
        for flow in BOTH:
            acknowledgment = self.established(flow)
            for flags in (RST, RST | ACK, SYN | ACK, FIN, 0, PSH):
                self.assert_up(self.but(acknowledgment, b"G", flags=flags))

    def test_super_packet(self) -> None:
        for flow in BOTH:
            octets = self.but(self.established(flow), b"x" * 3000)
            outcome = self.loaded.ingress(octets, gso_size=1000)
            self.assertEqual(without_rtt(outcome.frame), octets[:6] + BEGINNING + octets[12:])


class ForgedTests(HandshakeTestCase):
    """
    A frame cannot say by itself that it is vouched for.
    """

    def test_sources(self) -> None:
        for flow, last in product(BOTH, (0, 1, 2, 3, 0x7F, 0xFF)):
            for flags in (RST | ACK, RST, SYN):
                self.assert_taken_off(flow, last, flags)

    def assert_taken_off(self, flow: Flow, last: int, flags: int) -> None:
        octets = frame(compose(flow.request, 5, 6, flags, 99, b"", b"G"))
        octets = octets[:6] + b"\x02btcp" + bytes((last,)) + octets[12:]
        self.assert_up(octets, b"\x02\0tcp" + bytes((last,)))

    def test_nothing_promised(self) -> None:
        self.loaded.programs.promise(None)
        for flow, last in product(BOTH, (0, 1, 2)):
            self.assert_taken_off(flow, last, SYN)

    def test_of_routes(self) -> None:
        for flow, last in product(BOTH, (0, 1, 2)):
            self.loaded.install(route_of(flow.request, None, punt=BREAKING))
            self.assert_taken_off(flow, last, SYN)
            self.assert_taken_off(flow, last, RST)

    def test_too_big(self) -> None:
        """
        ICMP goes up by the same way.
        """
        message = b"\x45\0\0\x38\0\0\0\0\x40\1\0\0" + V4.client + V4.front
        message += b"\3\4\0\0\0\0\5\0" + b"\x45" + bytes(27)
        for last in (0, 1, 2):
            octets = bytes(6) + b"\x02btcp" + bytes((last,)) + b"\x08\0" + message
            self.assert_up(octets, b"\x02\0tcp" + bytes((last,)))

    def test_neighbours(self) -> None:
        """
        Hardware addresses that only look like it.
        """
        for source in (b"\x06btcp\1", b"\x02btcq\1", b"\x02ctcp\1", b"\x02bucp\1", b"\x02btdp\1"):
            octets = frame(compose(V6.request, 5, 6, RST, 99, b"", b"G"))
            self.assert_up(octets[:6] + source + octets[12:])

    def test_vouched_for_whatever_it_said(self) -> None:
        for flow in BOTH:
            told = self.assert_answered(self.syn(flow, mss()))
            first = frame(compose(flow.request, add(IRS, 1), add(told.iss, 1), ACK, 9, b"", b"G"))
            self.assert_up(first[:6] + CONTINUING + first[12:], BEGINNING)


class OnTheWireTests(test_ebpf_wire.WireTestCase):
    """
    Real frames: what a veth leaves unsummed, and which way the answer goes.
    """

    def setUp(self) -> None:
        super().setUp()
        self.kernel = self.attached()
        self.promised = evolve(WHOLE, until=time.monotonic() + 60)
        self.kernel.promise(self.promised)

    def answered(self, sent: Frame) -> Frame:
        """
        @return: the answer; nothing else went anywhere.
        """
        self.wire.send("far", sent)
        (got,) = self.wire.receive("far")
        self.assertEqual(self.wire.receive("daemon"), [])
        self.assertEqual(got.octets[:12], sent.octets[6:12] + sent.octets[:6])
        right = model(parsed(sent.octets), self.promised, read_told(got.octets))
        answer = parsed(got.octets)
        assert right is not None
        found = bytearray(got.octets[answer.tcp : answer.data])
        found[16:18] = right[16:18]
        self.assertEqual(found.hex(), right.hex())
        return got

    def test_checksums(self) -> None:
        for flow, options in product(BOTH, LAYOUTS.values()):
            made = compose(flow.request, IRS, 0, SYN, 64_240, options)
            got = self.answered(Frame(test_ebpf_wire.ethernet(frame(made))))
            self.assertFalse(got.partial)
            self.assertTrue(parsed(got.octets).intact())

    def test_partial_checksums(self) -> None:
        """
        The sum of the pseudo-header stays, for whoever completes it.
        """
        for flow, options in product(BOTH, LAYOUTS.values()):
            made = test_ebpf_wire.partial(compose(flow.request, IRS, 0, SYN, 64_240, options))
            sent = Frame(test_ebpf_wire.ethernet(frame(made)), partial=True)
            got = self.answered(sent)
            self.assertTrue(got.partial)
            self.assertEqual(parsed(got.octets).check, parsed(sent.octets).check)

    def test_beginning(self) -> None:
        for flow, unsummed in product(BOTH, (False, True)):
            syn = compose(flow.request, IRS, 0, SYN, 64_240, LAYOUTS["Linux"])
            told = read_told(self.answered(Frame(test_ebpf_wire.ethernet(frame(syn)))).octets)
            numbers = add(IRS, 1), add(told.iss, 1)
            made = compose(flow.request, *numbers, ACK, 9, b"", b"GET")
            if unsummed:
                made = test_ebpf_wire.partial(made)
            sent = Frame(test_ebpf_wire.ethernet(frame(made)), partial=unsummed)
            self.wire.send("far", sent)
            (up,) = self.wire.receive("daemon")
            right = without_rtt(sent.octets[:6] + BEGINNING + sent.octets[12:])
            self.assertEqual(evolve(up, octets=without_rtt(up.octets)), evolve(sent, octets=right))

    def test_counted_once(self) -> None:
        """
        The program on the way out does not take the answer for the kernel's own.
        """
        for flow in BOTH:
            made = compose(flow.request, IRS, 0, SYN, 64_240, LAYOUTS["Linux"])
            self.answered(Frame(test_ebpf_wire.ethernet(frame(made))))
        self.assertEqual(self.counted(self.kernel), {"answered": 2})

    def test_others_frames(self) -> None:
        """
        A SYN that a switch shows us, and that is for another host's hardware address.
        """
        for flow in BOTH:
            made = compose(flow.request, IRS, 0, SYN, 64_240, LAYOUTS["Linux"])
            octets = test_ebpf_wire.ethernet(frame(made))
            self.wire.send("far", Frame(b"\x02\0\0\0\0\x77" + octets[6:]))
        self.assertEqual((self.wire.receive("far"), self.wire.receive("daemon")), ([], []))
