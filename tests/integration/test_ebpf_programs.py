# SPDX-License-Identifier: MIT
"""
The tc programs, run by the kernel on packets that tests make (C{BPF_PROG_TEST_RUN}): they do
what L{Route.take<btcp.handoff.route.Route.take>} does, or send the packet up as it is.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest import SkipTest

from attrs import evolve

from btcp.datapath.raw.guard import MARK
from btcp.handoff.route import ENDING, EVERYTHING, OPENING, Route
from btcp.handoff.splice import Rewriter, Splice
from btcp.wire.build import compose
from btcp.wire.segment import ACK, FIN, PSH, RST, SYN, Segment
from tests.integration.loaded import (
    ETHERNET,
    IPV4,
    IPV6,
    PASS,
    REDIRECT,
    SWALLOWED,
    Loaded,
    Outcome,
    frame,
    parsed,
)
from tests.integration.program_case import (
    BOTH,
    LISTENERS,
    NUMBERS,
    OTHER_4,
    STARTED,
    UNUSUAL,
    USUAL,
    V4,
    V6,
    Flow,
    ProgramsTestCase,
    route_of,
    sack,
    stamps,
)
from tests.vectors import splice


class IngressTests(ProgramsTestCase):
    def _each(self, make: Callable[[Flow], Route], verdict: int, counter: str) -> None:
        for flow in BOTH:
            for options in USUAL:
                for payload in (b"", b"x", b"GET / HTTP/1.1"):
                    route = make(flow)
                    self.loaded.install(route)
                    octets = frame(compose(route.key, 5, 3000, ACK | PSH, 99, options, payload))
                    outcome = self.loaded.ingress(octets)
                    self.assert_taken(outcome, octets, route, verdict, counter)

    def test_forward(self) -> None:
        self._each(lambda flow: flow.forward(**NUMBERS), REDIRECT, "forwarded")

    def test_forward_unchanged_numbers(self) -> None:
        """
        As after an adoption by cookie: only the addresses change.
        """
        self._each(lambda flow: flow.forward(), REDIRECT, "forwarded")

    def test_admit(self) -> None:
        self._each(lambda flow: flow.admit(**NUMBERS), PASS, "admitted")

    def test_receive(self) -> None:
        self._each(lambda flow: flow.receive(), PASS, "admitted")

    def test_punted_flags(self) -> None:
        for flow in BOTH:
            for route in (flow.forward(), flow.admit(), flow.receive()):
                self.loaded.install(route)
                for flags in (SYN, SYN | ACK, FIN | ACK, RST, RST | ACK):
                    if flags & route.punt:
                        octets = frame(compose(route.key, 5, 3000, flags, 99, b"", b"x"))
                        outcome = self.loaded.ingress(octets)
                        self.assert_untouched(outcome, octets, REDIRECT, "punted")
                self.assert_account(route)

    def test_flags_that_pass(self) -> None:
        for flow in BOTH:
            for flags in (0, FIN | ACK, RST, RST | ACK, ACK | 0xE0):
                route = flow.forward(**NUMBERS)
                self.loaded.install(route)
                octets = frame(compose(route.key, 5, 3000, flags, 99, stamps(), b"xyz"))
                outcome = self.loaded.ingress(octets)
                self.assert_taken(outcome, octets, route, REDIRECT, "forwarded")

    def test_unusual_options(self) -> None:
        """
        They go up if there is anything to change in them.
        """
        for flow in BOTH:
            for options in UNUSUAL:
                route = flow.forward(ack=1)
                octets = frame(compose(route.key, 5, 3000, ACK, 99, options))
                self.loaded.install(route)
                self.assert_untouched(self.loaded.ingress(octets), octets, REDIRECT, "punted")
                self.assert_account(route)
                route = flow.forward()
                self.loaded.install(route)
                outcome = self.loaded.ingress(octets)
                self.assert_taken(outcome, octets, route, REDIRECT, "forwarded")

    def test_listener(self) -> None:
        """
        To a listener, and of no route: up.  To any other end: not ours.
        """
        for flow in BOTH:
            for key in (flow.request, evolve(flow, port=4242).request):
                octets = frame(compose(key, 5, 3000, SYN, 99, b"\2\4\5\xb4"))
                self.assert_untouched(self.loaded.ingress(octets), octets, REDIRECT, "punted")
            for key in (flow.forwarded, flow.request[:-1] + b"\x51", flow.response):
                octets = frame(compose(key, 5, 3000, SYN, 99))
                self.assert_untouched(self.loaded.ingress(octets), octets, PASS)

    def test_answers_do_not_come_in(self) -> None:
        """
        A packet with a local TCP's key that comes from the network gets no other's numbers.
        """
        for flow in BOTH:
            route = flow.send(**NUMBERS)
            self.loaded.install(route)
            octets = frame(compose(route.key, 5, 3000, ACK, 99, b"", b"x"))
            self.assert_untouched(self.loaded.ingress(octets), octets, REDIRECT, "punted")
            self.assert_account(route)

    def test_padding(self) -> None:
        """
        Is no data.
        """
        for flow in BOTH:
            route = flow.forward(**NUMBERS)
            self.loaded.install(route)
            octets = frame(compose(route.key, 5, 3000, ACK, 99), b"padding")
            outcome = self.loaded.ingress(octets)
            self.assert_taken(outcome, octets, route, REDIRECT, "forwarded")
            self.assertEqual(route.octets, 0)

    def test_super_packet(self) -> None:
        for flow in BOTH:
            route = flow.forward(**NUMBERS)
            self.loaded.install(route)
            octets = frame(compose(route.key, 5, 3000, ACK, 99, stamps(), b"x" * 3000))
            outcome = self.loaded.ingress(octets, gso_size=1000)
            self.assert_taken(outcome, octets, route, REDIRECT, "forwarded")
            self.assertEqual(route.octets, 3000)


class EgressTests(ProgramsTestCase):
    def test_send(self) -> None:
        for flow in BOTH:
            for options in USUAL:
                for payload in (b"", b"x" * 1400):
                    route = flow.send(**NUMBERS)
                    self.loaded.install(route)
                    octets = frame(compose(route.key, 5, 3000, ACK | PSH, 99, options, payload))
                    outcome = self.loaded.egress(octets)
                    self.assert_taken(outcome, octets, route, PASS, "sent")

    def test_larger_than_a_length_can_say(self) -> None:
        """
        BIG TCP: a super-packet beyond 64 kB has no length in its IPv4 header, and one in a
        header behind its IPv6 header.
        """
        for flow in BOTH:
            route = flow.send(**NUMBERS)
            self.loaded.install(route)
            plain = frame(compose(route.key, 5, 3000, ACK, 99, stamps(), b"x" * 3000))
            octets = _without_length(plain)
            outcome = self.loaded.egress(octets, gso_size=1000)
            segment = parsed(plain)
            route.take(segment, STARTED)
            self.assertEqual((outcome.verdict, outcome.counted), (PASS, {"sent": 1}))
            right = _without_length(bytes(segment.buffer))
            self.assertEqual(outcome.frame.hex(), right.hex())
            self.assert_account(route)
            self.assert_untouched(self.loaded.egress(octets), octets, PASS)

    def test_shifts(self) -> None:
        for shift in range(-14, 15):
            for window in (0, 1, 99, 0x4000, 0xFFFF):
                route = V4.send(shift=shift)
                self.loaded.install(route)
                octets = frame(compose(route.key, 5, 3000, ACK, window))
                self.assert_taken(self.loaded.egress(octets), octets, route, PASS, "sent")

    def test_claim(self) -> None:
        """
        All that a TCP has to say of a connection that is being adopted is for the daemon.
        """
        for flow in BOTH:
            claim = route_of(flow.answer, None, punt=EVERYTHING)
            self.loaded.install(claim)
            for flags in (SYN | ACK, RST, ACK, FIN | ACK):
                octets = frame(compose(claim.key, 5, 3000, flags, 99))
                self.assert_untouched(self.loaded.egress(octets), octets, REDIRECT, "punted")
            self.assert_account(claim)

    def test_guard(self) -> None:
        """
        The kernel's own TCP has nothing to say for a listener, the daemon has.
        """
        for flow in BOTH:
            octets = frame(compose(flow.response, 5, 3000, RST | ACK, 0))
            self.assert_untouched(self.loaded.egress(octets), octets, SWALLOWED, "guarded")
            self.assert_untouched(self.loaded.egress(octets, mark=MARK), octets, PASS)

    def test_daemons_own(self) -> None:
        for flow in BOTH:
            route = flow.send(**NUMBERS)
            self.loaded.install(route)
            octets = frame(compose(route.key, 5, 3000, ACK, 99))
            self.assert_untouched(self.loaded.egress(octets, mark=MARK), octets, PASS)
            self.assert_account(route)

    def test_others(self) -> None:
        for flow in BOTH:
            for key in (flow.answer, flow.forwarded, flow.request):
                octets = frame(compose(key, 5, 3000, ACK, 99, b"", b"x"))
                self.assert_untouched(self.loaded.egress(octets), octets, PASS)


def _without_length(octets: bytes) -> bytes:
    """
    @return: a frame whose length is zero; in IPv6, with the header of RFC 2675.
    """
    at = ETHERNET
    if octets[at] >> 4 == 4:
        return octets[: at + 2] + bytes(2) + octets[at + 4 :]
    ip, rest = octets[at : at + 40], octets[at + 40 :]
    jumbo = b"\6\0\xc2\4" + len(rest).to_bytes(4, "big")
    return octets[:at] + ip[:4] + bytes(3) + ip[7:] + jumbo + rest


class AccountTests(ProgramsTestCase):
    def _pass(self, route: Route, segments: Iterable[Segment]) -> None:
        for segment in segments:
            octets = frame(segment)
            self.loaded.ingress(octets)
            route.take(parsed(octets), STARTED)
            self.assert_account(route)

    def test_numbers_only_move_on(self) -> None:
        for flow in BOTH:
            route = flow.forward(ack=1)
            route.ack = route.end = 2**32 - 100
            self.loaded.install(route)
            numbers = (2**32 - 50, 2**32 - 70, 20, 2**32 - 1, 20, 2**31, 19)
            acks = [compose(route.key, 1, ack, ACK, 99) for ack in numbers]
            data = [compose(route.key, seq, 20, ACK, 99, b"", b"xyz") for seq in numbers]
            self._pass(route, acks + data)

    def test_fin_and_rst_take_their_place(self) -> None:
        route = V4.forward()
        self.loaded.install(route)
        self._pass(
            route,
            [
                compose(route.key, 2000, 1, FIN | ACK, 99),
                compose(route.key, 3000, 1, FIN | ACK, 99, b"", b"x"),
                compose(route.key, 4000, 1, RST, 99),
            ],
        )
        self.assertEqual(route.end, 4000)

    def test_field_without_ack_flag_says_nothing(self) -> None:
        route = V4.forward()
        self.loaded.install(route)
        self._pass(route, [compose(route.key, 2000, 5000, 0, 99, b"", b"x")])
        self.assertEqual((route.ack, route.progress), (1000, False))

    def test_sack_is_progress(self) -> None:
        route = V4.forward(ack=1)
        self.loaded.install(route)
        self._pass(route, [compose(route.key, 2000, 1000, ACK, 99, sack(1))])
        self.assertTrue(self.loaded.account(route).progress)

    def test_amended(self) -> None:
        """
        What is punted changes, and nothing else.
        """
        for flow in BOTH:
            route = flow.forward(**NUMBERS)
            self.loaded.install(route)
            octets = frame(compose(route.key, 5, 3000, ACK, 99, stamps(), b"x"))
            for punt in (ENDING, EVERYTHING, OPENING):
                self.assertTrue(self.loaded.programs.amend(route.key, punt))
                outcome = self.loaded.ingress(octets)
                if punt & ACK:
                    self.assert_untouched(outcome, octets, REDIRECT, "punted")
                else:
                    self.assert_taken(outcome, octets, route, REDIRECT, "forwarded")
            self.assert_account(route)

    def test_amend_nothing(self) -> None:
        self.assertFalse(self.loaded.programs.amend(V4.request, EVERYTHING))
        octets = frame(compose(V4.forwarded, 5, 3000, ACK, 99))
        self.assert_untouched(self.loaded.ingress(octets), octets, PASS)

    def test_halt(self) -> None:
        """
        All routes: nothing passes, and nothing is accounted for.
        """
        routes = [flow.forward(**NUMBERS) for flow in BOTH]
        for route in routes:
            self.loaded.install(route)
        self.loaded.programs.halt()
        for route in routes:
            octets = frame(compose(route.key, 5, 3000, ACK, 99, stamps(), b"x"))
            self.assert_untouched(self.loaded.ingress(octets), octets, REDIRECT, "punted")
            self.assertEqual(self.loaded.account(route).packets, 0)

    def test_full(self) -> None:
        """
        Room for as many as were promised; then none, but what is there can change, and goes.
        """
        flows, loaded = 8, Loaded(LISTENERS, flows=8)
        self.addCleanup(loaded.close)
        routes = []
        with self.assertRaises(OSError):
            for port in range(1, 100):
                route = evolve(V6, port=port).forward(ack=port)
                loaded.install(route)
                routes.append(route)
        self.assertGreaterEqual(len(routes), 3 * flows)
        loaded.install(routes[0])
        loaded.programs.remove([routes[1].key])
        loaded.install(routes[2])
        loaded.install(routes[1])
        for route in routes:
            octets = frame(compose(route.key, 5, 3000, ACK, 99))
            self.assertEqual(loaded.ingress(octets).counted, {"forwarded": 1})


class ChurnTests(ProgramsTestCase):
    """
    Memory of the table changes hands, while packets pass.
    """

    SECONDS = 3.0

    def test_no_other_flows_numbers(self) -> None:
        """
        Two routes in turn get the same memory.  One adds to the upper half of the sequence
        number, the other to the lower: packets of the first one never get the other's.
        """
        mine, other = self._route(V4.request, 1 << 16), self._route(OTHER_4.request, 1)
        octets = frame(compose(mine.key, 0, 0, ACK, 99))
        with ThreadPoolExecutor(1) as passing:
            until = time.monotonic() + self.SECONDS
            found = passing.submit(self._pass, octets, until)
            while not found.done():
                for route in (other, mine):
                    self.loaded.install(route)
                    self.loaded.programs.remove([route.key])
        self.assertEqual(found.result(), {b"\0\0"})

    def _route(self, key: bytes, add: int) -> Route:
        return route_of(key, Rewriter(Splice(old=key, new=key, seq=add)), punt=0)

    def _pass(self, octets: bytes, until: float) -> set[bytes]:
        """
        @return: lower halves of sequence numbers.
        """
        at, found = ETHERNET + 20 + 6, set[bytes]()
        while time.monotonic() < until:
            left = self.loaded.repeated("btcp_ingress", octets, 100_000)
            found.add(left[at : at + 2])
        return found


class ChecksumTests(ProgramsTestCase):
    def test_sums_of_devices_stay_right(self) -> None:
        """
        A device that sums up whole packets (CHECKSUM_COMPLETE) is to be believed still.
        """
        octets = frame(compose(V4.response, 5, 3000, ACK, 99))
        if not self.loaded.checksum_survives("btcp_ingress", octets):
            raise SkipTest("this kernel cannot pretend that a device summed up a packet")
        for flow in BOTH:
            self.loaded.install(flow.admit(**NUMBERS))
            for options in USUAL:
                octets = frame(compose(flow.request, 5, 3000, ACK, 99, options, b"xyz"))
                self.assertTrue(self.loaded.checksum_survives("btcp_ingress", octets))


class VectorTests(ProgramsTestCase):
    UP = (
        "timestamps at an odd place",
        "timestamps first",
        "SACK at an odd place",
        "both at odd places",
        "SACK before timestamps",
        "options that mean nothing here",
        "what follows the end of options is no option",
        "IPv6 options at odd places",
    )
    """Left to Python, for their options' layout."""

    def test_vectors(self) -> None:
        """
        The golden vectors.  Partial checksums are L{tests.integration.test_ebpf_wire}'s.
        """
        up = []
        for vector in json.loads(splice.FILE.read_text(encoding="ascii")):
            if vector["partial"]:
                continue
            before, right = (_framed(bytes.fromhex(vector[name])) for name in ("in", "out"))
            outcome = self._through(vector, before)
            if outcome.counted == {"punted": 1}:
                self.assert_untouched(outcome, before, REDIRECT, "punted")
                up.append(vector["name"])
            else:
                self.assertEqual(outcome.frame.hex(), right.hex(), vector["name"])
        self.assertEqual(tuple(up), self.UP)

    def _through(self, vector: dict[str, Any], before: bytes) -> Outcome:
        numbers = {name: vector[name] for name in ("seq", "ack", "tsval", "tsecr", "shift")}
        old, new = bytes.fromhex(vector["old"]), bytes.fromhex(vector["new"])
        rule = Splice(old=old, new=new, **numbers)
        route = route_of(old, Rewriter(rule), punt=0)
        self.loaded.install(route)
        self.addCleanup(self.loaded.programs.remove, [old])
        source = slice(0, (len(old) - 4) // 2)
        from_client = old[source] == new[source] and old[-4:-2] == new[-4:-2]
        return (self.loaded.ingress if from_client else self.loaded.egress)(before)


def _framed(packet: bytes) -> bytes:
    return (IPV6 if packet[0] >> 4 == 6 else IPV4) + packet
