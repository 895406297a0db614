# SPDX-License-Identifier: MIT
"""
SYNs as hosts send them, and what a front-end that remembers nothing has to answer.
"""

from __future__ import annotations

import struct
import time
from typing import Any

from attrs import evolve, frozen
from scapy.layers.inet import TCP
from scapy.layers.l2 import Ether

from btcp.datapath.ebpf import abi
from btcp.datapath.interface import Promise
from btcp.datapath.raw.frame import BEGINNING
from btcp.handoff.cookie import SIZES, Established
from btcp.handoff.messages import Capabilities
from btcp.handoff.reassembly import WINDOW
from btcp.wire.build import compose
from btcp.wire.options import SynOptions
from btcp.wire.segment import ACK, SYN, Malformed, Segment
from btcp.wire.seqnum import add
from tests.integration.loaded import (
    REDIRECT,
    frame,
    parsed,
    without_rtt,
)
from tests.integration.program_case import (
    Flow,
    ProgramsTestCase,
)

CAPABILITIES = Capabilities(mtu=1500, sack=True, timestamps=True, window_scaling=True)
SCALE = 7
WHOLE = Promise(CAPABILITIES, SCALE, 0.0)
"""All that can be promised; each test says until when."""

IRS = 2**32 - 1
CLIENTS_ADDRESS = bytes.fromhex("020000000042")
ECN = 0xC0


def mss(size: int = 1460) -> bytes:
    return b"\2\4" + size.to_bytes(2, "big")


def stamps(tsval: int = 0xFFFF_FFF0, tsecr: int = 0) -> bytes:
    return b"\x08\n" + struct.pack("!II", tsval, tsecr)


def scale(shift: int) -> bytes:
    return b"\3\3" + bytes((shift,))


LAYOUTS = {
    "Linux": mss() + b"\4\2" + stamps() + b"\1" + scale(10),
    "Linux without timestamps": mss() + b"\1\1\4\2\1" + scale(7),
    "Linux without SACK": mss() + b"\1\1" + stamps() + b"\1" + scale(7),
    "Linux without scaling": mss() + b"\4\2" + stamps(),
    "Linux without anything": mss(),
    "Linux, Fast Open": mss() + b"\4\2" + stamps() + b"\1" + scale(7) + b"\x22\2\1\1",
    "Linux, MPTCP": mss() + b"\4\2" + stamps() + b"\1" + scale(7) + b"\x1e\4\1\x81",
    "macOS": mss() + b"\1" + scale(6) + b"\1\1" + stamps() + b"\4\2\0\0",
    "Windows": mss() + b"\1" + scale(8) + b"\1\1\4\2",
    "Windows with timestamps": mss() + b"\1" + scale(8) + b"\4\2" + stamps(),
    "FreeBSD": mss() + b"\1" + scale(6) + b"\4\2" + stamps(),
    "OpenBSD": mss() + b"\1\1\4\2\1" + scale(6) + b"\1\1" + stamps(),
    "NetBSD": mss() + b"\1" + scale(3) + b"\4\2\1\1" + b"\1\1" + stamps(),
    "scale last, filled up": mss(9000) + scale(2) + b"\0",
    "backwards": scale(255) + stamps() + b"\4\2" + mss(1) + b"\0",
    "twice": mss(500) + mss(1400) + scale(1) + scale(14) + b"\1\1",
    "what follows the end means nothing": mss() + b"\0" + scale(7),
    "lengths that are not theirs": mss() + b"\3\4\7\7" + b"\4\3\1" + b"\x08\5\1\1\1",
    "no-operations": b"\1" * 36 + mss(),
}

BROKEN = {
    "none": b"",
    "no MSS": b"\4\2" + stamps() + b"\1" + scale(7) + b"\1\1\1\1",
    "MSS of nothing": mss(0),
    "no length": mss() + b"\1\1\1\x08",
    "length of nothing": mss() + b"\x08\0\1\1",
    "length of one": mss() + b"\x08\1\1\1",
    "longer than the header": mss() + b"\1\1" + stamps()[:10] + b"\3\4",
    "MSS longer than the header": b"\1\1\2\4",
    "MSS behind the end": b"\0\1\1\1" + mss(),
}


@frozen
class Told:
    """
    What an answer says.

    @ivar stamp: TSval, C{-1} without.
    """

    iss: int
    stamp: int


def model(syn: Segment, promise: Promise, told: Told) -> bytes | None:
    """
    @param syn: as it came.
    @param told: what only the kernel can know.
    @return: the segment that answers it, C{None} if nothing but the core may do so.
    """
    try:
        offered = SynOptions.read(syn)
    except Malformed:
        return None
    room = syn.data - syn.tcp - 20
    can = promise.capabilities
    stamps = can.timestamps and offered.tsval >= 0
    options = SynOptions(
        mss=can.mtu - (40 if syn.version == 4 else 60),
        scale=promise.window_scale if can.window_scaling and offered.scale >= 0 else -1,
        sack=can.sack and offered.sack,
        tsval=told.stamp if stamps else -1,
        tsecr=offered.tsval if stamps else 0,
    ).pack()
    if not offered.mss or len(options) > room or syn.size:
        return None
    ports, urgent = syn.key[-4:], bytes(syn.buffer[syn.tcp + 18 : syn.tcp + 20])
    numbers = struct.pack("!II", told.iss, add(syn.seq, 1))
    flags = bytes((5 + room // 4 << 4, SYN | ACK)) + WINDOW.to_bytes(2, "big")
    check = bytes(syn.buffer[syn.tcp + 16 : syn.tcp + 18])
    return ports[2:] + ports[:2] + numbers + flags + check + urgent + options.ljust(room, b"\1")


def read_told(octets: bytes) -> Told:
    """
    @param octets: a frame with an answer.
    """
    answer = parsed(octets)
    return Told(answer.seq, SynOptions.read(answer).tsval)


def of_scapy(octets: bytes) -> tuple[Any, Any]:
    """
    @return: the headers of a frame, as scapy reads them.
    """
    layer = Ether(octets).payload
    return layer, layer[TCP]


class HandshakeTestCase(ProgramsTestCase):
    def setUp(self) -> None:
        super().setUp()
        waiting = self.loaded.programs.waiting
        waiting.delete_many([key for key, _ in waiting.items(abi.KEY.size)])
        self.promise()
        self.addCleanup(self.loaded.programs.promise, None)

    def promise(self, left: float = 60.0, **changes: bool) -> None:
        """
        @param left: seconds for which it holds.
        @param changes: of the capabilities.
        """
        can = evolve(CAPABILITIES, **changes)
        self.promised = evolve(WHOLE, capabilities=can, until=time.monotonic() + left)
        self.loaded.programs.promise(self.promised)

    def syn(self, flow: Flow, options: bytes, flags: int = SYN) -> bytes:
        """
        @return: a frame with a SYN.
        """
        return self.framed(compose(flow.request, IRS, 0, flags, 64_240, options))

    def framed(self, segment: Segment) -> bytes:
        octets = frame(segment)
        return octets[:6] + CLIENTS_ADDRESS + octets[12:]

    def assert_answered(self, octets: bytes) -> Told:
        """
        As the model says.

        @param octets: a frame with a SYN.
        """
        outcome = self.loaded.ingress(octets)
        self.assertEqual((outcome.verdict, outcome.counted), (REDIRECT, {"answered": 1}))
        told = read_told(outcome.frame)
        self.assert_modelled(octets, outcome.frame, told)
        return told

    def assert_modelled(self, octets: bytes, got: bytes, told: Told) -> None:
        self.assertEqual(len(got), len(octets))
        self.assertEqual(got[:14], octets[6:12] + octets[:6] + octets[12:14])
        syn, answer = parsed(octets), parsed(got)
        right = model(syn, self.promised, told)
        assert right is not None
        found = bytearray(got[answer.tcp : answer.data])
        found[16:18] = right[16:18]
        self.assertEqual(found.hex(), right.hex())
        self.assertEqual(syn.intact(), answer.intact())
        self.assertEqual((answer.source, answer.destination), (syn.destination, syn.source))
        self.assert_agreed(syn, told)

    def assert_agreed(self, syn: Segment, told: Told) -> None:
        """
        The number says what was agreed.
        """
        offered, can = SynOptions.read(syn), self.promised.capabilities
        first = compose(syn.key, add(syn.seq, 1), add(told.iss, 1), ACK, 500, b"", b"G")
        read = Established.read(first)
        self.assertEqual((read.irs, read.iss), (syn.seq, told.iss))
        fitting = [size for size in SIZES if size <= offered.mss]
        agreed = SynOptions(
            mss=max(fitting, default=SIZES[0]),
            scale=offered.scale if can.window_scaling else -1,
            sack=offered.sack and can.sack,
        )
        self.assertEqual(read.offered, agreed)

    def assert_up(self, octets: bytes, source: bytes | None = None) -> None:
        """
        @param source: what stands there for the frame's source, if anything else does.
        """
        outcome = self.loaded.ingress(octets)
        if source == BEGINNING:
            outcome = evolve(outcome, frame=without_rtt(outcome.frame))
        right = octets if source is None else octets[:6] + source + octets[12:]
        self.assert_untouched(outcome, right, REDIRECT, "punted")
