# SPDX-License-Identifier: MIT
"""
Packets of all kinds, drawn.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, IPOption_EOL, IPOption_NOP
from scapy.layers.inet6 import IPv6

from btcp.wire.checksum import pseudo
from btcp.wire.options import SynOptions, pack_timestamps
from btcp.wire.segment import Segment

words = st.one_of(st.integers(0, 2**32 - 1), st.integers(0, 3), st.integers(2**32 - 3, 2**32 - 1))
ports = st.integers(0, 0xFFFF)
flags = st.integers(0, 0xFF)
windows = st.integers(0, 0xFFFF)
payloads = st.one_of(st.binary(max_size=40), st.integers(0, 1400).map(bytes))
versions = st.sampled_from((4, 6))
stamps = st.one_of(st.just(-1), words)


def keys(version: int) -> st.SearchStrategy[bytes]:
    """
    @return: ends of packets.
    """
    size = 12 if version == 4 else 36
    return st.binary(min_size=size, max_size=size)


any_key = versions.flatmap(keys)

syn_options = st.builds(
    SynOptions,
    mss=st.one_of(st.just(0), st.integers(1, 0xFFFF)),
    scale=st.integers(-1, 14),
    sack=st.booleans(),
    tsval=stamps,
    tsecr=words,
)


def sack(edges: list[int]) -> bytes:
    """
    @return: a SACK option.
    """
    return bytes((5, 2 + 4 * len(edges))) + b"".join(each.to_bytes(4, "big") for each in edges)


def padded(pieces: list[bytes]) -> bytes:
    """
    @return: as many of the options as fit, with no-operations to the end of a word.
    """
    octets = b""
    for piece in pieces:
        if len(octets) + len(piece) <= 40:
            octets += piece
    return octets + b"\1" * (-len(octets) % 4)


edges = st.integers(1, 4).flatmap(lambda n: st.lists(words, min_size=2 * n, max_size=2 * n))
pieces = st.one_of(
    st.just(b"\1"),
    st.builds(lambda a, b: pack_timestamps(a, b)[2:], words, words),
    edges.map(sack),
    st.just(b"\x02\x04\x05\xb4"),
    st.just(b"\x04\x02"),
    st.just(b"\x03\x03\x07"),
    st.just(b"\xfe\x04ab"),
)
options = st.lists(pieces, max_size=6).map(padded)
"""Well-formed ones, at places odd and even."""


@st.composite
def scapy_packets(draw: st.DrawFn) -> Any:
    """
    @return: a scapy packet, as a stack other than ours might write it.
    """
    ip: Any
    if draw(versions) == 4:
        source, destination = (draw(st.ip_addresses(v=4)) for _ in range(2))
        extra = draw(st.integers(0, 10))
        ip = IP(src=str(source), dst=str(destination), id=draw(ports))
        ip.ttl = draw(st.integers(0, 255))
        ip.options = [IPOption_NOP()] * (4 * extra - 1) + [IPOption_EOL()] if extra else []
    else:
        source, destination = (draw(st.ip_addresses(v=6)) for _ in range(2))
        ip = IPv6(src=str(source), dst=str(destination), fl=draw(st.integers(0, 0xFFFFF)))
    tcp = TCP(
        sport=draw(ports),
        dport=draw(ports),
        seq=draw(words),
        ack=draw(words),
        flags=draw(flags),
        window=draw(windows),
        urgptr=draw(ports),
        options=[("NOP", None)] * draw(st.integers(0, 40)),
    )
    return ip / tcp / draw(payloads)


def dissected(packet: bytes) -> Any:
    """
    @return: the packet as scapy sees it.
    """
    return IPv6(packet) if packet[0] >> 4 == 6 else IP(packet)


def rebuilt(packet: bytes) -> bytes:
    """
    @return: the packet as scapy writes one with these fields: its own lengths, data
        offset and checksums.
    """
    parsed = dissected(packet)
    del parsed[TCP].chksum, parsed[TCP].dataofs
    if IP in parsed:
        del parsed.chksum, parsed.len, parsed.ihl
    else:
        del parsed.plen
    return bytes(parsed)


def make_partial(segment: Segment) -> None:
    """
    Leave the checksum to whoever transmits, as Linux does: the field holds the
    pseudo-header's sum, folded and not inverted.
    """
    at = segment.tcp + 16
    summed = pseudo(segment.source, segment.destination, segment.end - segment.tcp) % 0xFFFF
    segment.buffer[at : at + 2] = summed.to_bytes(2, "big")
    segment.check, segment.partial = summed, True
