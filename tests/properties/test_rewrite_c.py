# SPDX-License-Identifier: MIT
"""
C{btcp/datapath/bpf/rewrite.h}, compiled natively, does what
L{btcp.handoff.splice.Rewriter} does, or nothing.
"""

from __future__ import annotations

import shutil
import sys
from ctypes import CDLL, byref, c_bool, c_int, c_int8, c_uint16, c_uint32
from functools import cache
from ipaddress import ip_address
from unittest import SkipTest

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from btcp.datapath.ebpf import abi
from btcp.handoff.route import Route
from btcp.handoff.splice import Rewriter, Splice
from btcp.wire import checksum
from btcp.wire.build import compose
from btcp.wire.segment import ACK, Malformed, Segment, flow_key
from tests.properties.native import compiled

MOST_WORDS = 10

CLIENT, FRONT, BACK = (ip_address(f"192.0.2.{n}").packed for n in (7, 8, 9))
OLD = flow_key(CLIENT, 1000, FRONT, 80)
NEW = flow_key(CLIENT, 1000, BACK, 8080)

PAD = b"\1"
words = st.integers(0, 2**32 - 1)
# Near each end, where additions carry.
deltas = st.one_of(st.just(0), st.integers(-5, 5), words, st.integers(2**32 - 9, 2**32 - 1))
splices = st.builds(
    Splice,
    old=st.just(OLD),
    new=st.just(NEW),
    seq=deltas,
    ack=deltas,
    tsval=deltas,
    tsecr=deltas,
    shift=st.integers(-15, 14),
)


def timestamps(tsval: int, tsecr: int) -> bytes:
    return PAD + PAD + b"\x08\n" + tsval.to_bytes(4, "big") + tsecr.to_bytes(4, "big")


def sack(edges: list[int]) -> bytes:
    body = b"".join(edge.to_bytes(4, "big") for edge in edges)
    return PAD + PAD + bytes((5, 2 + len(body))) + body


def blocks(most: int) -> st.SearchStrategy[bytes]:
    edges = st.integers(1, most).flatmap(lambda n: st.lists(words, min_size=2 * n, max_size=2 * n))
    return edges.map(sack)


stamps = st.builds(timestamps, words, words)
known = st.one_of(
    st.just(b""),
    stamps,
    blocks(4),
    st.builds(bytes.__add__, stamps, blocks(3)),
)
"""What every stack sends (RFC 7323, appendix A)."""

pieces = st.one_of(
    st.sampled_from([PAD, b"\0", b"\4\2", b"\2\4\5\xb4", b"\3\3\7", b"\5\2", b"\5\6abcd"]),
    st.builds(timestamps, words, words).map(lambda option: option[2:]),
    blocks(3).map(lambda option: option[2:]),
    st.binary(max_size=12),
)
anything = st.one_of(
    known,
    st.lists(pieces, max_size=5).map(b"".join),
    st.binary(max_size=40),
    # One octet away from what is known.
    st.builds(
        lambda options, at, octet: (
            options[: at % (len(options) + 1)] + octet + options[at % (len(options) + 1) + 1 :]
        ),
        known,
        st.integers(0, 39),
        st.binary(min_size=1, max_size=1),
    ),
).map(lambda options: (options + b"\1" * (-len(options) % 4))[:40])


@cache
def library() -> CDLL:
    found = compiled("rewrite.c")
    found.shim_rewrite_options.restype = c_int
    found.shim_shifted_window.restype = c_uint16
    found.shim_difference.restype = c_uint32
    return found


class NativeTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        if shutil.which("cc") is None:
            raise SkipTest("no C compiler: install gcc")
        self.library = library()

    def rewritten(self, options: bytes, splice: Splice, has_ack: bool) -> tuple[int, bytes, int]:
        """
        @return: the number of SACK edges or -1, the options, and what their change adds to
            a checksum's sum.
        """
        route = Route(OLD, Rewriter(splice), local=False, punt=0, now=0.0)
        rule = abi.ROUTE.unpack(abi.pack_route(route))[0]
        # Aligned, as the kernel's are.
        memory = (c_uint32 * MOST_WORDS).from_buffer_copy(options.ljust(4 * MOST_WORDS, b"\xee"))
        aligned = (c_uint32 * (len(rule) // 4)).from_buffer_copy(rule)
        difference = c_uint32()
        edges = self.library.shim_rewrite_options(
            memory, len(options) // 4, aligned, c_bool(has_ack), byref(difference)
        )
        left = bytes(memory)[len(options) :]
        self.assertEqual(left, b"\xee" * len(left), "wrote behind the options")
        return edges, bytes(memory)[: len(options)], difference.value


class OptionsProperties(NativeTestCase):
    def _python(self, options: bytes, splice: Splice, flags: int) -> tuple[int, bytes, int]:
        """
        As L{rewritten}, in Python: what changed in the header but the options subtracted.

        @raise Malformed: if the options cannot be walked.
        """
        segment = compose(OLD, 1, 2, flags, 3, options)
        before = bytes(segment.buffer)
        Rewriter(splice).apply(segment)
        at, end = segment.tcp + 20, segment.data
        after = bytes(segment.buffer[at:end])
        self.assertTrue(Segment(bytearray(segment.buffer), 0, len(segment.buffer)).intact())
        difference = checksum.total(after) - checksum.total(before[at:end])
        return 0, after, difference

    def _compare(self, options: bytes, splice: Splice, flags: int) -> int:
        edges, after, difference = self.rewritten(options, splice, bool(flags & ACK))
        if edges < 0:
            self.assertEqual((edges, after, difference), (-1, options, 0))
            return edges
        _, right, right_difference = self._python(options, splice, flags)
        self.assertEqual(after, right)
        self.assertEqual((_fold(difference) - right_difference) % 0xFFFF, 0)
        return edges

    @given(options=known, splice=splices, flags=st.sampled_from([0x10, 0x18, 0x00, 0x04, 0x11]))
    def test_usual_layouts(self, options: bytes, splice: Splice, flags: int) -> None:
        """
        Rewritten as in Python, and never sent up for their layout.
        """
        edges = self._compare(options, splice, flags)
        length = len(options) // 4
        behind = length - 3 if options[:4] == timestamps(0, 0)[:4] else length
        self.assertEqual(edges, max(behind - 1, 0))

    @given(options=anything, splice=splices, flags=st.sampled_from([0x10, 0x00]))
    @example(options=b"\0" * 4, splice=Splice(old=OLD, new=NEW, ack=1), flags=0x10)
    @example(options=timestamps(1, 2) + b"\1" * 4, splice=Splice(old=OLD, new=NEW), flags=0x10)
    @example(options=sack([1, 2]) + b"\1" * 4, splice=Splice(old=OLD, new=NEW), flags=0x10)
    @example(options=sack([1, 2]) + timestamps(1, 2), splice=Splice(old=OLD, new=NEW), flags=0x10)
    @example(options=b"\1\1\5\x0a" + bytes(4), splice=Splice(old=OLD, new=NEW), flags=0x10)
    @example(options=b"\1\1\5\x26" + bytes(36), splice=Splice(old=OLD, new=NEW), flags=0x10)
    def test_any_layout(self, options: bytes, splice: Splice, flags: int) -> None:
        """
        Rewritten as in Python, or left alone; never what Python finds malformed.
        """
        try:
            self._compare(options, splice, flags)
        except Malformed:
            if splice.ack or splice.tsval or splice.tsecr:
                self.fail("took what cannot be walked")


class FieldProperties(NativeTestCase):
    @given(window=st.integers(0, 0xFFFF), shift=st.integers(-15, 14))
    def test_window(self, window: int, shift: int) -> None:
        splice = Splice(old=OLD, new=NEW, shift=shift)
        segment = compose(OLD, 1, 2, ACK, window)
        Rewriter(splice).apply(segment)
        moved = self.library.shim_shifted_window(c_uint16(window), c_int8(shift))
        self.assertEqual(moved, segment.window)

    @given(
        before=st.binary(min_size=40, max_size=40),
        after=st.binary(min_size=40, max_size=40),
        count=st.integers(0, 10),
    )
    @example(before=b"\xff" * 40, after=bytes(40), count=10)
    @example(before=bytes(40), after=b"\xff" * 40, count=10)
    def test_difference(self, before: bytes, after: bytes, count: int) -> None:
        """
        Right for any words, in as many as a packet has.
        """
        array = c_uint32 * 10
        found = self.library.shim_difference(
            array.from_buffer_copy(before), array.from_buffer_copy(after), count
        )
        size = 4 * count
        right = checksum.total(after[:size]) - checksum.total(before[:size])
        self.assertEqual((_fold(found) - right) % 0xFFFF, 0)


def _fold(difference: int) -> int:
    """
    @return: a sum that was made of words in this host's order, in the network's.
    """
    return checksum.total(difference.to_bytes(4, sys.byteorder))
