# SPDX-License-Identifier: MIT
"""
Laws of L{btcp.handoff.splice}, on packets of all kinds.
"""

from __future__ import annotations

from attrs import evolve
from hypothesis import assume, given
from hypothesis import strategies as st
from scapy.layers.inet import TCP
from twisted.trial.unittest import SynchronousTestCase

from btcp.handoff.splice import Rewriter, Splice
from btcp.wire.build import compose
from btcp.wire.segment import ACK, Malformed, Segment
from btcp.wire.seqnum import add
from tests.properties.packets import (
    dissected,
    flags,
    keys,
    make_partial,
    options,
    payloads,
    rebuilt,
    versions,
    windows,
    words,
)

deltas = st.one_of(st.just(0), st.integers(-(2**32), 2**32), st.sampled_from((1, -1, 0xFFFF)))
NAMES = ("seq", "ack", "tsval", "tsecr")


def inverse(splice: Splice) -> Splice:
    """
    @return: what undoes it, the window left out.
    """
    backwards = {name: -getattr(splice, name) for name in NAMES}
    return evolve(splice, old=splice.new, new=splice.old, **backwards)


@st.composite
def spliced(draw: st.DrawFn) -> tuple[Segment, Splice]:
    """
    @return: a packet and a rule for it.
    """
    version = draw(versions)
    segment = compose(
        draw(keys(version)),
        draw(words),
        draw(words),
        draw(flags),
        draw(windows),
        draw(options),
        draw(payloads),
    )
    rule = Splice(
        old=segment.key,
        new=draw(keys(version)),
        shift=draw(st.integers(-14, 14)),
        **{name: draw(deltas) for name in NAMES},
    )
    return segment, rule


class SpliceProperties(SynchronousTestCase):
    """
    Rewriting.
    """

    @given(spliced())
    def test_there_and_back(self, drawn: tuple[Segment, Splice]) -> None:
        segment, rule = drawn[0], evolve(drawn[1], shift=0)
        before = bytes(segment.buffer)
        Rewriter(rule).apply(segment)
        Rewriter(inverse(rule)).apply(segment)
        self.assertEqual(segment.buffer.hex(), before.hex())

    @given(spliced(), spliced())
    def test_one_after_the_other(
        self, first: tuple[Segment, Splice], second: tuple[Segment, Splice]
    ) -> None:
        """
        Two rules are one that adds what they add.
        """
        (segment, one), (_, other) = first, second
        assume(len(one.new) == len(other.new))
        one, other = evolve(one, shift=0), evolve(other, old=one.new, shift=0)
        both = {name: getattr(one, name) + getattr(other, name) for name in NAMES}
        copy = segment.copy()
        Rewriter(one).apply(segment)
        Rewriter(other).apply(segment)
        Rewriter(evolve(other, old=one.old, **both)).apply(copy)
        self.assertEqual(copy.buffer.hex(), segment.buffer.hex())

    @given(spliced())
    def test_right_stays_right(self, drawn: tuple[Segment, Splice]) -> None:
        """
        As scapy says, and so does whoever reads the packet anew.
        """
        segment, rule = drawn
        Rewriter(rule).apply(segment)
        packet = bytes(segment.buffer)
        self.assertEqual(rebuilt(packet).hex(), packet.hex())
        again = Segment(bytearray(packet), 0, len(packet))
        self.assertEqual(again.key, rule.new)
        for name in ("key", "seq", "ack", "flags", "window", "check"):
            self.assertEqual(getattr(segment, name), getattr(again, name), name)

    @given(spliced(), st.integers(1, 0xFFFE))
    def test_wrong_stays_wrong(self, drawn: tuple[Segment, Splice], by: int) -> None:
        segment, rule = drawn
        at = segment.tcp + 16
        segment.check = (segment.check + by) % 0xFFFF
        segment.buffer[at : at + 2] = segment.check.to_bytes(2, "big")
        Rewriter(rule).apply(segment)
        segment.trusted = False
        self.assertFalse(segment.intact())

    @given(spliced())
    def test_partial_stays_partial(self, drawn: tuple[Segment, Splice]) -> None:
        segment, rule = drawn
        whole = segment.copy()
        make_partial(segment)
        for each in (segment, whole):
            Rewriter(rule).apply(each)
        self.assertTrue(segment.partial)
        segment.complete_checksum()
        self.assertEqual(segment.buffer.hex(), whole.buffer.hex())

    @given(spliced())
    def test_fields(self, drawn: tuple[Segment, Splice]) -> None:
        """
        Each field is what the rule says, and nothing else is touched.
        """
        segment, rule = drawn
        before = dissected(bytes(segment.buffer))[TCP]
        Rewriter(rule).apply(segment)
        after = dissected(bytes(segment.buffer))[TCP]
        acknowledges = int(before.flags) & ACK
        self.assertEqual(after.seq, add(before.seq, rule.seq))
        self.assertEqual(after.ack, add(before.ack, rule.ack if acknowledges else 0))
        for name in ("flags", "urgptr", "dataofs", "payload"):
            self.assertEqual(getattr(after, name), getattr(before, name), name)
        shifted = before.window << rule.shift if rule.shift > 0 else before.window >> -rule.shift
        self.assertEqual(after.window, min(shifted, 0xFFFF))
        self.options(rule, bool(acknowledges), before.options, after.options)

    def options(
        self,
        rule: Splice,
        acknowledges: bool,
        before: list[tuple[str, object]],
        after: list[tuple[str, object]],
    ) -> None:
        """
        The last of each kind is the one that counts; so it is to Linux.
        """
        last = {name: index for index, (name, _) in enumerate(before)}
        for index, ((name, value), (other, found)) in enumerate(zip(before, after, strict=True)):
            self.assertEqual(name, other)
            if name == "Timestamp" and index == last[name]:
                assert isinstance(value, tuple)
                tsecr = rule.tsecr if acknowledges else 0
                value = (add(value[0], rule.tsval), add(value[1], tsecr))
            elif name == "SAck" and index == last[name]:
                assert isinstance(value, tuple)
                value = tuple(add(edge, rule.ack) for edge in value)
            self.assertEqual(found, value)

    @given(st.binary(min_size=20, max_size=20), deltas)
    def test_options_that_cannot_be_walked_change_nothing(self, octets: bytes, by: int) -> None:
        segment = compose(bytes(12), 1, 2, ACK, 3, octets)
        rule = Splice(old=bytes(12), new=bytes(11) + b"\1", seq=by, ack=by, tsval=by)
        before = bytes(segment.buffer)
        try:
            Rewriter(rule).apply(segment)
        except Malformed:
            self.assertEqual(segment.buffer, before)
        else:
            self.assertTrue(segment.intact())
