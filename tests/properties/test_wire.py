# SPDX-License-Identifier: MIT
"""
What L{btcp.wire} writes, scapy reads and would have written; what scapy writes,
L{btcp.wire} reads; and any octets at all are a value or L{Malformed}, nothing else.
"""

from __future__ import annotations

from typing import Any

from hypothesis import assume, example, given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.inet6 import ICMPv6PacketTooBig, IPv6
from scapy.utils import checksum as scapy_checksum
from twisted.trial.unittest import SynchronousTestCase

from btcp.datapath.raw import frame
from btcp.wire import checksum
from btcp.wire.build import compose
from btcp.wire.gso import split
from btcp.wire.icmp import PacketTooBig
from btcp.wire.options import SynOptions, locate, pack_timestamps, timestamps, walk
from btcp.wire.segment import ACK, FIN, PSH, Malformed, Segment, flow_key, reversed_key
from btcp.wire.seqnum import add, at_or_before, before, distance, in_window, latest
from tests.properties.packets import (
    any_key,
    dissected,
    flags,
    keys,
    make_partial,
    options,
    payloads,
    rebuilt,
    scapy_packets,
    syn_options,
    versions,
    windows,
    words,
)

SEEDS = {
    "IPv4": compose(bytes(range(12)), 1, 2, ACK, 3, pack_timestamps(4, 5), b"data").buffer,
    "IPv6": compose(bytes(range(36)), 1, 2, ACK, 3, pack_timestamps(4, 5), b"data").buffer,
    "SYN": compose(bytes(12), 1, 0, 2, 3, SynOptions(1460, 7, True, 9).pack()).buffer,
    "too big": bytearray(bytes(IP() / ICMP(type=3, code=4, nexthopmtu=1300) / IP() / TCP())),
    "too big, IPv6": bytearray(bytes(IPv6() / ICMPv6PacketTooBig(mtu=1300) / IPv6() / TCP())),
}

changes = st.lists(st.tuples(st.integers(0, 120), st.integers(0, 255)), max_size=6)


@st.composite
def octets(draw: st.DrawFn) -> bytearray:
    """
    @return: any octets; mostly a packet that something happened to.
    """
    buffer = bytearray(draw(st.one_of(st.sampled_from(list(SEEDS.values())), st.binary())))
    for at, value in draw(changes):
        if at < len(buffer):
            buffer[at] = value
    return buffer[: draw(st.integers(0, 200))] + draw(st.binary(max_size=4))


class SeqnumProperties(SynchronousTestCase):
    """
    Laws of L{btcp.wire.seqnum}.
    """

    @given(words, words)
    def test_distance_leads_there(self, start: int, end: int) -> None:
        self.assertEqual(add(start, distance(start, end)), end)
        self.assertIn(distance(start, end), range(-(2**31), 2**31))

    @given(words, st.integers(-(2**31) + 1, 2**31 - 1))
    def test_order_is_that_of_distances(self, start: int, count: int) -> None:
        end = add(start, count)
        self.assertEqual(distance(start, end), count)
        self.assertEqual(distance(end, start), -count)
        self.assertEqual(before(start, end), count > 0)
        self.assertEqual(at_or_before(start, end), count >= 0)
        self.assertEqual(latest(start, end), end if count > 0 else start)
        self.assertEqual(latest(end, start), latest(start, end))

    @given(words, words, st.integers(0, 2**32))
    def test_window(self, number: int, start: int, size: int) -> None:
        self.assertEqual(in_window(number, start, size), (number - start) % 2**32 < size)

    @given(words, st.integers(), st.integers())
    def test_additions_add_up(self, start: int, one: int, other: int) -> None:
        self.assertEqual(add(add(start, one), other), add(start, one + other))


class ChecksumProperties(SynchronousTestCase):
    """
    L{btcp.wire.checksum} against scapy's.
    """

    @given(st.binary())
    @example(b"")
    @example(b"\xff\xff")
    @example(b"\0\0")
    def test_field(self, data: bytes) -> None:
        # A field of 0xFFFF would need a sum that is zero, all octets of which are.
        expected = scapy_checksum(data)
        self.assertEqual(checksum.field(checksum.total(data)), expected % 0xFFFF)

    @given(st.binary(min_size=2), st.binary(max_size=20), st.data())
    def test_moved(self, data: bytes, new: bytes, drawn: st.DataObject) -> None:
        """
        An update is as good as a sum of everything.
        """
        at = drawn.draw(st.integers(0, len(data))) & ~1
        new = new[: len(data) - at]
        assume(any(data) and any(data[:at] + new + data[at + len(new) :]))
        after = data[:at] + new + data[at + len(new) :]
        difference = checksum.total(after) - checksum.total(data)
        moved = checksum.moved(scapy_checksum(data), difference)
        self.assertEqual(moved, scapy_checksum(after))


class WritingProperties(SynchronousTestCase):
    """
    Every header that is written.
    """

    def as_scapy_would(self, packet: bytes | bytearray | memoryview) -> None:
        """
        Octet for octet.
        """
        self.assertEqual(rebuilt(bytes(packet)).hex(), bytes(packet).hex())

    @given(any_key, words, words, flags, windows, options, payloads)
    def test_compose(
        self,
        key: bytes,
        seq: int,
        ack: int,
        flags: int,
        window: int,
        options: bytes,
        payload: bytes,
    ) -> None:
        segment = compose(key, seq, ack, flags, window, options, payload)
        self.as_scapy_would(segment.buffer)
        tcp = dissected(bytes(segment.buffer))[TCP]
        self.assertEqual((tcp.seq, tcp.ack, int(tcp.flags), tcp.window), (seq, ack, flags, window))
        self.assertEqual(bytes(tcp.payload), payload)

    @given(syn_options)
    def test_syn_options(self, offered: SynOptions) -> None:
        segment = compose(bytes(12), 1, 2, 2, 3, offered.pack())
        self.as_scapy_would(segment.buffer)
        kinds = dict(dissected(bytes(segment.buffer))[TCP].options)
        self.assertEqual(kinds.get("MSS", 0), offered.mss)
        self.assertEqual(kinds.get("WScale", -1), offered.scale)
        self.assertEqual("SAckOK" in kinds, offered.sack)
        stamps = (offered.tsval, offered.tsecr) if offered.tsval >= 0 else (-1, 0)
        self.assertEqual(kinds.get("Timestamp", (-1, 0)), stamps)
        read = SynOptions.read(segment)
        self.assertEqual((read.tsval, read.tsecr), stamps)
        for name in ("mss", "scale", "sack"):
            self.assertEqual(getattr(read, name), getattr(offered, name), name)

    @given(any_key, words, options, st.binary(min_size=1, max_size=300), st.integers(1, 310))
    def test_split(
        self, key: bytes, seq: int, options: bytes, payload: bytes, gso_size: int
    ) -> None:
        segment = compose(key, seq, 5, ACK | PSH | FIN, 7, options, payload)
        make_partial(segment)
        segment.gso_size = gso_size
        whole = b""
        for piece in split(segment):
            self.as_scapy_would(piece)
            tcp = dissected(bytes(piece))[TCP]
            self.assertEqual(tcp.seq, add(seq, len(whole)))
            self.assertLessEqual(len(bytes(tcp.payload)), gso_size)
            whole += bytes(tcp.payload)
            last = len(whole) == len(payload)
            self.assertEqual(int(tcp.flags), ACK | PSH | FIN if last else ACK)
        self.assertEqual(whole, payload)

    @given(scapy_packets())
    def test_partial_checksums_are_completed(self, packet: Any) -> None:
        whole = bytes(packet)
        segment = Segment(bytearray(whole), 0, len(whole))
        make_partial(segment)
        segment.complete_checksum()
        self.assertEqual(bytes(segment.buffer).hex(), whole.hex())
        self.assertFalse(segment.partial)

    @given(st.data())
    def test_too_big_translated(self, drawn: st.DataObject) -> None:
        version = drawn.draw(versions)
        quoted, key = drawn.draw(keys(version)), drawn.draw(keys(version))
        half = len(key) // 2 - 2
        key = quoted[half:-4] + key[half:-4] + quoted[-2:] + key[-2:]  # the client is the same
        data = compose(quoted, drawn.draw(words), 1, ACK, 2, payload=bytes(30)).buffer
        if version == 4:
            message = bytes(IP() / ICMP(type=3, code=4, nexthopmtu=1300) / bytes(data[:28]))
        else:
            message = bytes(IPv6() / ICMPv6PacketTooBig(mtu=1300) / bytes(data))
        told = PacketTooBig(message)
        self.assertEqual(told.client_key, reversed_key(quoted))
        difference = drawn.draw(st.integers(-(2**32), 2**32))
        packet = told.translated(key, difference)
        start = 28 if version == 4 else 48
        again = PacketTooBig(packet)
        self.assertEqual(again.client_key, key)
        inner = packet[start:]
        tcp = 20 if version == 4 else 40
        seq = int.from_bytes(inner[tcp + 4 : tcp + 8], "big")
        self.assertEqual(seq, add(Segment(data, 0, len(data)).seq, difference))
        if version == 4:
            for part in (packet[:20], packet[20:], inner[:20]):
                self.assertEqual(scapy_checksum(part), 0)
        else:
            parsed = IPv6(packet[:start])
            del parsed[ICMPv6PacketTooBig].cksum, parsed.plen
            self.assertEqual(bytes(parsed / inner), packet)


class ReadingProperties(SynchronousTestCase):
    """
    What others write.
    """

    @given(scapy_packets(), st.binary(max_size=20), st.integers(0, 30))
    def test_fields(self, packet: Any, padding: bytes, at: int) -> None:
        whole = bytes(packet)
        buffer = bytearray(at) + whole + padding
        segment = Segment(buffer, at, len(buffer))
        parsed, tcp = dissected(whole), dissected(whole)[TCP]
        source, destination = (
            compose_address(parsed.version, text) for text in (parsed.src, parsed.dst)
        )
        self.assertEqual(segment.key, flow_key(source, tcp.sport, destination, tcp.dport))
        self.assertEqual(segment.version, parsed.version)
        self.assertEqual((segment.seq, segment.ack), (tcp.seq, tcp.ack))
        self.assertEqual((segment.flags, segment.window), (int(tcp.flags) & 0xFF, tcp.window))
        self.assertEqual(segment.check, tcp.chksum)
        self.assertEqual(bytes(segment.payload), bytes(tcp.payload))
        self.assertTrue(segment.intact())

    @given(scapy_packets(), st.integers(1, 0xFFFE))
    def test_wrong_checksums_are_seen(self, packet: Any, by: int) -> None:
        whole = bytearray(bytes(packet))
        segment = Segment(whole, 0, len(whole))
        at = segment.tcp + 16
        whole[at : at + 2] = ((segment.check + by) % 0xFFFF).to_bytes(2, "big")
        self.assertFalse(Segment(whole, 0, len(whole)).intact())

    @given(octets())
    def test_any_octets(self, buffer: bytearray) -> None:
        before = bytes(buffer)
        try:
            segment = Segment(buffer, 0, len(buffer))
        except Malformed as problem:
            self.assertTrue(problem.counter)
        else:
            self.whatever_it_says(segment)
        self.assertEqual(buffer, before)

    def whatever_it_says(self, segment: Segment) -> None:
        """
        The octets are a segment: it may be asked anything.
        """
        self.assertTrue(0 <= segment.ip < segment.tcp < segment.data <= segment.end)
        self.assertLessEqual(segment.end, len(segment.buffer))
        self.assertEqual(len(segment.key), 12 if segment.version == 4 else 36)
        self.assertEqual(segment.size, len(segment.payload))
        self.assertIn(segment.intact(), (True, False))
        self.assertEqual(segment.copy().key, segment.key)
        try:
            for _, at, length in walk(segment):
                self.assertTrue(segment.tcp + 20 <= at <= at + length <= segment.data)
            locate(segment)
            timestamps(segment)
            offered = SynOptions.read(segment)
        except Malformed as problem:
            self.assertEqual(problem.counter, "bad-tcp-options")
        else:
            self.assertLessEqual(offered.scale, 14)

    @given(octets(), st.binary(max_size=24), st.integers(0, 100))
    def test_any_frame(self, packet: bytearray, header: bytes, less: int) -> None:
        """
        As a TAP device could give it.
        """
        for ethertype in (b"\x08\0", b"\x86\xdd", b"\x81\0\0\0\x08\0", b""):
            buffer = bytearray(header.ljust(22, b"\0")[:22] + ethertype) + packet
            try:
                segment = frame.parse(buffer, max(len(buffer) - less, 0))
            except Malformed as problem:
                self.assertTrue(problem.counter)
            else:
                self.whatever_it_says(segment)

    @given(octets(), st.integers(0, 2**32 - 1), st.data())
    def test_any_octets_about_packets(
        self, buffer: bytearray, difference: int, drawn: st.DataObject
    ) -> None:
        try:
            message = PacketTooBig(bytes(buffer))
        except Malformed as problem:
            self.assertTrue(problem.counter)
            return
        version = 4 if len(message.client_key) == 12 else 6
        packet = message.translated(drawn.draw(keys(version)), difference)
        self.assertEqual(len(packet), len(buffer))


def compose_address(version: int, text: str) -> bytes:
    """
    @return: the packed address.
    """
    layer, start, size = (IP, 12, 4) if version == 4 else (IPv6, 8, 16)
    return bytes(layer(src=text))[start : start + size]
