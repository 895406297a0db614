# SPDX-License-Identifier: MIT
"""
C{btcp/datapath/bpf/cookie.h}, compiled natively: cookies say what they are to say, and nobody
makes them up.
"""

from __future__ import annotations

import shutil
from ctypes import CDLL, c_uint32, c_uint64
from functools import cache
from ipaddress import ip_address
from unittest import SkipTest

from hypothesis import assume, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from btcp.datapath.ebpf import abi
from btcp.handoff.cookie import SIZES, Established
from btcp.wire.build import compose
from btcp.wire.options import pack_timestamps
from btcp.wire.segment import ACK, flow_key
from btcp.wire.seqnum import add
from tests.properties.native import compiled

STRANGER, LATER, FIRST = range(3)
SLOT = 1 << 36
PLACE = 15
"""Bits that tell the beginning from what follows it."""
CLIENT, FRONT = (ip_address(f"192.0.2.{n}").packed for n in (7, 8))

numbers = st.integers(0, 2**32 - 1)
slots = st.integers(0, 2**28 - 1)
secrets = st.binary(min_size=16, max_size=16)
keys = st.builds(
    flow_key,
    st.binary(min_size=4, max_size=4),
    st.integers(1, 65535),
    st.just(FRONT),
    st.just(80),
)
agreements = st.tuples(st.integers(0, 7), st.integers(0, 15), st.integers(0, 1))


@cache
def library() -> CDLL:
    found = compiled("cookie.c")
    found.shim_siphash.restype = c_uint64
    found.shim_cookie.restype = c_uint32
    found.shim_timestamp.restype = c_uint32
    found.shim_mss_number.restype = c_uint32
    return found


def words(octets: bytes) -> object:
    """
    @return: aligned, as the kernel's are.
    """
    count = -(-len(octets) // 8)
    return (c_uint64 * count).from_buffer_copy(octets.ljust(8 * count))


def made(secret: bytes, key: bytes, slot: int, agreed: int, irs: int) -> int:
    packed = abi.pack_key(key)
    found: int = library().shim_cookie(words(secret), words(packed), slot, agreed, c_uint32(irs))
    return found


def standing(secret: bytes, key: bytes, slot: int, cookie: int, irs: int) -> int:
    packed = abi.pack_key(key)
    found: int = library().shim_standing(
        words(secret), words(packed), slot, c_uint32(cookie), c_uint32(irs)
    )
    return found


class CookieTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        if shutil.which("cc") is None:
            raise SkipTest("no C compiler: install gcc")


class HashTests(CookieTestCase):
    def test_published_vectors(self) -> None:
        """
        Those of Aumasson and Bernstein: key and text are the octets 0, 1, 2 and so on.
        """
        published = {0: "310e0edd47db6f72", 8: "6224939a79f5f593", 16: "db9bc2577fcc2a3f"}
        for size, said in published.items():
            text = words(bytes(range(size))) if size else words(bytes(8))
            found = library().shim_siphash(words(bytes(range(16))), text, size // 8)
            self.assertEqual(found.to_bytes(8, "little").hex(), said, size)


class CookieProperties(CookieTestCase):
    @given(secrets, keys, slots, agreements, numbers, st.integers(0, 1))
    def test_round_trip(
        self,
        secret: bytes,
        key: bytes,
        slot: int,
        agreed: tuple[int, int, int],
        irs: int,
        later: int,
    ) -> None:
        """
        In its time slot and the next it is what it was, and the core reads what was agreed.
        """
        number, scale, sack = agreed
        cookie = made(secret, key, slot, number << 5 | scale << 1 | sack, irs)
        self.assertEqual(standing(secret, key, slot + later, cookie, irs), FIRST)
        segment = compose(key, add(irs, 1), add(cookie, 1), ACK, 500, pack_timestamps(3, 4), b"G")
        read = Established.read(segment)
        self.assertEqual((read.irs, read.iss), (irs, cookie))
        self.assertEqual((read.offered.mss, read.offered.sack), (SIZES[number], bool(sack)))
        self.assertEqual(read.offered.scale, -1 if scale == 15 else scale)
        self.assertEqual((read.offered.tsval, read.front_tsval), (3, 4))
        self.assertEqual(read.window, min(500 << (0 if scale == 15 else scale), 65535))

    @given(secrets, keys, slots, numbers, st.integers(2, 1000))
    def test_too_late(self, secret: bytes, key: bytes, slot: int, irs: int, later: int) -> None:
        """
        But for one in 2**8 that happens to be right.
        """
        cookie = made(secret, key, slot, 0, irs)
        other = made(secret, key, slot + later - (later & 1), 0, irs)
        assume(cookie >> PLACE != other >> PLACE)
        self.assertEqual(standing(secret, key, slot + later, cookie, irs), STRANGER)

    @given(secrets, keys, slots, numbers, numbers)
    def test_overtaking(self, secret: bytes, key: bytes, slot: int, irs: int, other: int) -> None:
        """
        Another sequence number makes it of the same connection, but not its beginning; but
        for one in 2**15 of them.
        """
        cookie = made(secret, key, slot, 0, irs)
        assume(cookie != made(secret, key, slot, 0, other))
        self.assertEqual(standing(secret, key, slot, cookie, other), LATER)

    @given(secrets, keys, slots, numbers, st.integers(1, 17_710))
    def test_no_part_of_a_request_looks_like_its_beginning(
        self, secret: bytes, key: bytes, slot: int, irs: int, ahead: int
    ) -> None:
        """
        Of one whose beginning is lost, all the rest comes first: to the end, unless much more
        than by default may be asked for.
        """
        cookie = made(secret, key, slot, 0, irs)
        self.assertEqual(standing(secret, key, slot, cookie, add(irs, ahead)), LATER)

    @given(secrets, secrets, keys, keys, slots, numbers)
    def test_of_this_connection_only(
        self, secret: bytes, secret_2: bytes, key: bytes, key_2: bytes, slot: int, irs: int
    ) -> None:
        cookie = made(secret, key, slot, 0, irs)
        for theirs, where in ((secret_2, key), (secret, key_2)):
            if (theirs, where) == (secret, key):
                continue
            if cookie >> PLACE != made(theirs, where, slot, 0, irs) >> PLACE:
                self.assertEqual(standing(theirs, where, slot, cookie, irs), STRANGER)

    @given(secrets, keys, slots, numbers, st.integers(0, 30))
    def test_forged_bit(self, secret: bytes, key: bytes, slot: int, irs: int, bit: int) -> None:
        """
        What was agreed is proven, too.
        """
        cookie = made(secret, key, slot, 0, irs)
        self.assertNotEqual(standing(secret, key, slot, cookie ^ 1 << bit, irs), FIRST)


class TimestampProperties(CookieTestCase):
    @given(secrets, keys, keys, st.integers(0, 2**50), st.integers(0, 10**12))
    def test_monotonic_for_a_pair_of_hosts(
        self, secret: bytes, key: bytes, other: bytes, now: int, passed: int
    ) -> None:
        """
        Over all ports.
        """
        other = key[:8] + other[8:]
        first, second = (
            library().shim_timestamp(words(secret), words(abi.pack_key(each)), c_uint64(when))
            for each, when in ((key, now), (other, now + passed))
        )
        ticks = (now + passed) // 10**6 - now // 10**6
        self.assertEqual((second - first) & 0xFFFFFFFF, ticks & 0xFFFFFFFF)


class SizeProperties(CookieTestCase):
    @given(st.integers(1, 65535))
    def test_largest_that_is_not_too_large(self, mss: int) -> None:
        """
        No host says less than 536, but who does gets a little more.
        """
        number = library().shim_mss_number(mss)
        fitting = [size for size in SIZES if size <= mss]
        self.assertEqual(SIZES[number], max(fitting, default=SIZES[0]))
