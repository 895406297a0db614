# SPDX-License-Identifier: MIT
"""
The tc programs on a device: what only real frames have (partial checksums, tags, next hops),
and who else is on the device.
"""

from __future__ import annotations

import json
import subprocess
from struct import Struct
from typing import Any, ClassVar
from unittest import SkipTest

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from btcp.datapath.ebpf import abi, programs
from btcp.datapath.ebpf.programs import Programs
from btcp.datapath.interface import DatapathError
from btcp.handoff.splice import Rewriter, Splice
from btcp.wire import checksum
from btcp.wire.build import compose
from btcp.wire.segment import ACK, FIN, SYN, Segment
from tests.integration.loaded import frame, lacking, parsed
from tests.integration.program_case import (
    BOTH,
    LISTENERS,
    NUMBERS,
    V4,
    V6,
    Flow,
    route_of,
    stamps,
)
from tests.integration.wire import NEAR, NEIGHBOUR, OWN, UP, Frame, Wire
from tests.vectors import splice

ADDRESSES = OWN, "02:00:00:00:00:07"
"""Hardware addresses, destination first."""

_PRIORITY, _HANDLE = 2940, 1
_LATER = 9999
_DROP_ALL = "1,6 0 0 2"
"""Classic BPF: return TC_ACT_SHOT."""


def ethernet(octets: bytes) -> bytes:
    """
    @return: a frame, with hardware addresses.
    """
    return b"".join(bytes.fromhex(each.replace(":", "")) for each in ADDRESSES) + octets[12:]


def partial(segment: Segment) -> Segment:
    """
    @return: the segment as the kernel hands it to a device that does checksums.
    """
    length = segment.end - segment.tcp
    at = segment.tcp + 16
    summed = checksum.pseudo(segment.source, segment.destination, length) % 0xFFFF
    segment.buffer[at : at + 2] = summed.to_bytes(2, "big")
    segment.partial = True
    return segment


class WireTestCase(SynchronousTestCase):
    addresses: ClassVar[list[str]] = ["192.0.2.8/24", "2001:db8::8/64"]
    neighbours: ClassVar[list[str]] = ["192.0.2.9", "2001:db8::9"]

    def setUp(self) -> None:
        lacks = lacking()
        if lacks:
            raise SkipTest("; ".join(lacks))
        self.wire = Wire(self.addresses, self.neighbours)
        self.addCleanup(self.wire.close)

    def attached(self) -> Programs:
        """
        @return: the programs, on the device.
        """
        made = Programs(NEAR, UP, LISTENERS, 64)
        self.wire.do(made.set_up)
        self.addCleanup(self.wire.do, made.take_down)
        return made

    def counted(self, programs: Programs) -> dict[str, int]:
        return {name: count for name, count in programs.counters().items() if count}


class FrameTests(WireTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.kernel = self.attached()

    def forward(self, flow: Flow, sent: Frame) -> Frame:
        """
        @return: what a frame becomes that is to be forwarded.
        """
        route = flow.forward(**NUMBERS)
        self.kernel.install([route])
        self.wire.send("far", sent)
        (got,) = self.wire.receive("far")
        self.assertEqual(self.wire.receive("daemon"), [])
        segment = parsed(sent.octets)
        segment.partial = sent.partial
        route.take(segment, 1.0)
        self.assertEqual(got.packet.hex(), bytes(segment.buffer[14:]).hex())
        self.assertEqual((got.partial, got.gso_size), (sent.partial, sent.gso_size))
        return got

    def test_next_hop(self) -> None:
        """
        Found for the back-end's address, whichever it came with.
        """
        for flow in BOTH:
            octets = ethernet(frame(compose(flow.request, 5, 3000, ACK, 99, stamps())))
            got = self.forward(flow, Frame(octets))
            self.assertEqual(got.octets[:6].hex(":"), NEIGHBOUR)

    def test_next_hop_behind_a_router(self) -> None:
        """
        A back-end in another network is reached by way of the router, if it has to be.
        """
        self.wire.run(f"ip route replace default via 192.0.2.9 dev {NEAR}")
        self.wire.run(f"ip -6 route replace default via 2001:db8::9 dev {NEAR}")
        for flow, back in ((V4, bytes((203, 0, 113, 5))), (V6, V6.back[:4] + b"\7" * 12)):
            moved = evolve(flow, back=back)
            octets = ethernet(frame(compose(flow.request, 5, 3000, ACK, 99)))
            got = self.forward(moved, Frame(octets))
            self.assertEqual(got.octets[:6].hex(":"), NEIGHBOUR)

    def test_super_packets(self) -> None:
        for flow in BOTH:
            for size in (3000, 60_000):
                made = partial(compose(flow.request, 5, 3000, ACK, 99, stamps(), b"x" * size))
                self.forward(flow, Frame(ethernet(frame(made)), partial=True, gso_size=1400))

    def test_partial_checksums(self) -> None:
        for flow in BOTH:
            for payload in (b"", b"x", b"GET / HTTP/1.1"):
                made = partial(compose(flow.request, 5, 3000, ACK, 99, stamps(), payload))
                self.forward(flow, Frame(ethernet(frame(made)), partial=True))

    def test_answers(self) -> None:
        """
        Super-packets with partial checksums of the local TCP's.
        """
        for flow in BOTH:
            for size in (0, 1, 1000, 30_000):
                route = flow.send(**NUMBERS)
                self.kernel.install([route])
                made = partial(compose(route.key, 5, 3000, ACK, 99, stamps(), b"x" * size))
                gso = 1400 if size > 1400 else 0
                octets = ethernet(frame(made))
                self.wire.send(NEAR, Frame(octets, partial=True, gso_size=gso))
                (got,) = self.wire.receive("far")
                segment = parsed(octets)
                segment.partial = True
                route.take(segment, 1.0)
                self.assertEqual(got.octets[:12], octets[:12])
                self.assertEqual(got.packet.hex(), bytes(segment.buffer[14:]).hex())
                self.assertEqual((got.partial, got.gso_size), (True, gso))

    def test_punted_frames_are_whole(self) -> None:
        """
        What goes up is as it came, be it large, be its checksum partial.
        """
        for flow in BOTH:
            route = flow.send(**NUMBERS)
            self.kernel.install([route])
            for key, device in ((flow.request, "far"), (route.key, NEAR)):
                made = partial(compose(key, 5, 3000, FIN | ACK, 99, stamps(), b"x" * 5000))
                sent = Frame(ethernet(frame(made)), partial=True, gso_size=1400)
                self.wire.send(device, sent)
                self.assertEqual(self.wire.receive("daemon"), [sent])
                self.assertEqual(self.wire.receive("far"), [])

    def test_tagged(self) -> None:
        """
        A VLAN's frames are not the device's: not its listeners', and of no flow's.
        """
        for flow in BOTH:
            route = flow.forward(**NUMBERS)
            self.kernel.install([route])
            for flags in (SYN, ACK):
                self._send_tagged(7, compose(flow.request, 5, 3000, flags, 99))
        self.assertEqual((self.wire.receive("far"), self.wire.receive("daemon")), ([], []))
        self.assertEqual(self.counted(self.kernel), {})

    def test_tagged_with_a_priority_only(self) -> None:
        """
        Is the device's.
        """
        for flow in BOTH:
            route = flow.forward(**NUMBERS)
            self.kernel.install([route])
            self._send_tagged(0x6000, compose(flow.request, 5, 3000, ACK, 99))
        self.assertEqual(self.counted(self.kernel), {"forwarded": 2})
        self.assertEqual(len(self.wire.receive("far")), 2)

    def _send_tagged(self, tag: int, segment: Segment) -> None:
        octets = ethernet(frame(segment))
        tagged = octets[:12] + b"\x81\x00" + tag.to_bytes(2, "big") + octets[12:]
        self.wire.send("far", Frame(tagged))

    def test_others_frames(self) -> None:
        """
        What a switch shows us that is for another host's hardware address is that host's, be
        the address one that we listen on as well.
        """
        for flow in BOTH:
            route = flow.forward(**NUMBERS)
            self.kernel.install([route])
            for flags in (SYN, ACK):
                octets = ethernet(frame(compose(flow.request, 5, 3000, flags, 99)))
                self.wire.send("far", Frame(b"\x02\0\0\0\0\x77" + octets[6:]))
        self.assertEqual((self.wire.receive("far"), self.wire.receive("daemon")), ([], []))
        self.assertEqual(self.counted(self.kernel), {})

    def test_forwarded_once(self) -> None:
        """
        The program on the way out leaves alone what the one on the way in forwarded: were its
        new key that of another route, it would be rewritten twice.
        """
        for flow in BOTH:
            other = route_of(flow.forwarded, None, punt=ACK)
            self.kernel.install([other])
            octets = ethernet(frame(compose(flow.request, 5, 3000, ACK, 99)))
            self.forward(flow, Frame(octets))
        self.assertEqual(self.counted(self.kernel), {"forwarded": 2})


class VectorTests(WireTestCase):
    """
    Those of the golden vectors that have partial checksums.
    """

    addresses: ClassVar[list[str]] = ["192.0.2.11/24", "2001:db8:2::b/64"]
    neighbours: ClassVar[list[str]] = ["192.0.2.12", "2001:db8:2::c"]

    def test_vectors(self) -> None:
        kernel = self.attached()
        count = 0
        for vector in json.loads(splice.FILE.read_text(encoding="ascii")):
            if vector["partial"]:
                self._try(kernel, vector)
                count += 1
        self.assertGreater(count, 3)

    def _try(self, kernel: Programs, vector: dict[str, Any]) -> None:
        old, new = bytes.fromhex(vector["old"]), bytes.fromhex(vector["new"])
        numbers = {name: vector[name] for name in ("seq", "ack", "tsval", "tsecr", "shift")}
        route = route_of(old, Rewriter(Splice(old=old, new=new, **numbers)), punt=0)
        kernel.install([route])
        self.addCleanup(kernel.remove, [old])
        packet = bytes.fromhex(vector["in"])
        kind = b"\x86\xdd" if packet[0] >> 4 == 6 else b"\x08\x00"
        source = slice(0, (len(old) - 4) // 2)
        device = "far" if old[source] == new[source] else NEAR
        self.wire.send(device, Frame(ethernet(bytes(12) + kind + packet), partial=True))
        (got,) = self.wire.receive("far")
        self.assertTrue(got.partial)
        self.assertEqual(got.packet.hex(), vector["out"], vector["name"])


class NeighbourhoodTests(WireTestCase):
    """
    Others may use the same hook.
    """

    def add_filter(self, direction: str, priority: int, handle: int = 1) -> None:
        """
        Somebody else's, which drops whatever it sees.
        """
        command = ["tc", "filter", "add", "dev", NEAR, direction, "prio", str(priority)]
        command += ["handle", str(handle), "bpf", "da", "bytecode", _DROP_ALL]
        self._tc(command)

    def _tc(self, command: list[str]) -> str:
        done = self.wire.do(lambda: subprocess.run(command, capture_output=True, text=True))
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def add_hook(self) -> None:
        self.wire.run(f"tc qdisc add dev {NEAR} clsact")

    def has_hook(self) -> bool:
        return "clsact" in self.wire.run(f"tc qdisc show dev {NEAR}")

    def filters(self, direction: str) -> list[str]:
        """
        @return: the priorities of the filters.
        """
        shown = self.wire.run(f"tc filter show dev {NEAR} {direction}")
        lines = [line.split() for line in shown.splitlines()]
        return [words[words.index("pref") + 1] for words in lines if "handle" in words]

    def unattached(self) -> Programs:
        return Programs(NEAR, UP, LISTENERS, 64)

    def test_comes_and_goes(self) -> None:
        kernel = self.unattached()
        self.wire.do(kernel.set_up)
        self.assertEqual(self.filters("ingress"), [str(_PRIORITY)])
        self.assertEqual(self.filters("egress"), [str(_PRIORITY)])
        self.wire.do(kernel.take_down)
        self.assertFalse(self.has_hook())

    def test_others_hook_stays(self) -> None:
        self.add_hook()
        kernel = self.unattached()
        self.wire.do(kernel.set_up)
        self.wire.do(kernel.take_down)
        self.assertTrue(self.has_hook())
        self.assertEqual(self.filters("ingress") + self.filters("egress"), [])

    def test_others_filter_stays(self) -> None:
        """
        Though it was we who made the hook.
        """
        kernel = self.unattached()
        self.wire.do(kernel.set_up)
        self.add_filter("egress", _LATER)
        self.wire.do(kernel.take_down)
        self.assertEqual((self.filters("ingress"), self.filters("egress")), ([], [str(_LATER)]))

    def test_others_filter_has_its_turn(self) -> None:
        """
        With all that we let pass, and with nothing that we forward.
        """
        kernel = self.attached()
        route = V4.forward()
        kernel.install([route])
        self.add_filter("ingress", _LATER)
        for key in (V4.response, V4.request):
            octets = ethernet(frame(compose(key, 5, 3000, ACK, 99)))
            self.wire.send("far", Frame(octets))
        self.assertIn("dropped 1", self.wire.run(f"tc -s qdisc show dev {NEAR} clsact"))
        self.assertEqual(len(self.wire.receive("far")), 1)
        self.assertEqual(self.counted(kernel), {"forwarded": 1})

    def test_others_filter_has_its_turn_on_the_way_out(self) -> None:
        kernel = self.attached()
        route = V4.send()
        kernel.install([route])
        self.add_filter("egress", _LATER)
        octets = ethernet(frame(compose(route.key, 5, 3000, ACK, 99)))
        self.assertRaises(OSError, self.wire.send, NEAR, Frame(octets))
        self.assertEqual(self.counted(kernel), {"sent": 1})

    def test_somebody_is_in_our_place(self) -> None:
        """
        Then we do not start, and leave all as it was.
        """
        for direction, other in (("ingress", "egress"), ("egress", "ingress")):
            self.add_hook()
            self.add_filter(direction, _PRIORITY, _HANDLE)
            error = self.assertRaises(DatapathError, self.wire.do, self.unattached().set_up)
            self.assertIn(NEAR, str(error))
            self.assertEqual(self.filters(direction), [str(_PRIORITY)])
            self.assertEqual(self.filters(other), [])
            self.wire.do(self.unattached().clear)
            self.assertEqual(self.filters(direction), [str(_PRIORITY)])
            self.wire.run(f"tc qdisc del dev {NEAR} clsact")

    def test_after_a_crash(self) -> None:
        """
        What was left is replaced, not added to; and then the hook goes, too.
        """
        self.wire.do(self.unattached().set_up)
        kernel = self.unattached()
        self.wire.do(kernel.set_up)
        self.assertEqual(self.filters("ingress"), [str(_PRIORITY)])
        self.assertEqual(self.filters("egress"), [str(_PRIORITY)])
        self.wire.do(kernel.take_down)
        self.assertFalse(self.has_hook())

    def test_clear_after_a_crash(self) -> None:
        self.wire.do(self.unattached().set_up)
        self.wire.do(self.unattached().clear)
        self.assertFalse(self.has_hook())

    def test_clear_nothing(self) -> None:
        self.wire.do(self.unattached().clear)
        self.add_hook()
        self.wire.do(self.unattached().clear)
        self.assertTrue(self.has_hook())

    def test_device_has_vanished(self) -> None:
        """
        With it has all that was on it.
        """
        kernel = self.unattached()
        self.wire.do(kernel.set_up)
        self.wire.run(f"ip link delete {NEAR}")
        self.wire.do(kernel.take_down)

    def test_no_such_device(self) -> None:
        for kernel in (Programs("nix", UP, LISTENERS, 8), Programs(NEAR, "nix", LISTENERS, 8)):
            self.assertRaises(DatapathError, self.wire.do, kernel.set_up)
        self.assertFalse(self.has_hook())

    def test_many_listeners(self) -> None:
        """
        There is room for as many as there are.
        """
        ends = [(bytes((203, 0, 113, last)), port) for last in range(64) for port in range(1, 40)]
        kernel = Programs(NEAR, UP, ends, 8)
        self.wire.do(kernel.set_up)
        self.wire.do(kernel.take_down)


class ProbeTests(SynchronousTestCase):
    """
    Whether the host can; it is asked in a network of its own.
    """

    def setUp(self) -> None:
        lacks = lacking()
        if lacks:
            raise SkipTest("; ".join(lacks))

    def _refused(self, reason: str) -> None:
        self.assertIn(reason, str(self.assertRaises(DatapathError, programs.probe)))

    def test_can(self) -> None:
        hooks = ["tc", "qdisc", "show"]
        before = subprocess.run(hooks, capture_output=True, check=True).stdout
        programs.probe()
        self.assertEqual(subprocess.run(hooks, capture_output=True, check=True).stdout, before)

    def test_not_built(self) -> None:
        self.patch(programs, "OBJECT", programs.OBJECT.with_name("nix"))
        self._refused("this installation has no nix")

    def test_no_object(self) -> None:
        self.patch(programs, "OBJECT", programs.OBJECT.with_name("abi.h"))
        self._refused("abi.h cannot be read")

    def test_built_from_other_sources(self) -> None:
        """
        The kernel would write values into memory that is too small for them.
        """
        self.patch(abi, "ROUTE", Struct("=8s"))
        self._refused("the object is out of date")
