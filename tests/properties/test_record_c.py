# SPDX-License-Identifier: MIT
"""
C{btcp/datapath/bpf/record.h}, compiled natively: a handoff record is true for its packet and
nobody else's, and no checksum changes by it.
"""

from __future__ import annotations

import shutil
from ctypes import CDLL, create_string_buffer
from functools import cache
from unittest import SkipTest

from attrs import evolve, frozen
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from btcp.datapath.ebpf import abi
from btcp.wire import checksum
from tests.properties.native import compiled
from tests.properties.test_cookie_c import words

MAGIC = b"BTCP"
octets_4 = st.binary(min_size=4, max_size=4)
octets_8 = st.binary(min_size=8, max_size=8)
octets_16 = st.binary(min_size=16, max_size=16)


@cache
def library() -> CDLL:
    return compiled("record.c")


@frozen
class Sealed:
    """
    What a record is of.

    @ivar key: C{struct btcp_key}.
    @ivar numbers: sequence and acknowledgement number.
    @ivar record: before it is sealed.
    """

    secret: bytes
    key: bytes
    numbers: bytes
    record: bytes

    def sealed(self) -> bytes:
        made = create_string_buffer(self.record, abi.RECORD.size)
        library().shim_seal(made, words(self.secret), words(self.key), words(self.numbers))
        return made.raw

    def believes(self, record: bytes) -> bool:
        given = create_string_buffer(record, abi.RECORD.size)
        return bool(
            library().shim_is_true(given, words(self.secret), words(self.key), words(self.numbers))
        )


records = st.builds(
    abi.RECORD.pack,
    st.just(MAGIC),
    st.integers(1, 3),
    st.integers(1, 255),
    st.binary(min_size=2, max_size=2),
    octets_16,
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**64 - 1),
    st.integers(0, 14),
    st.integers(0, 255),
    st.integers(0, 65535),
    st.integers(0, 65535),
    st.integers(0, 65535),
)
sealings = st.builds(Sealed, octets_16, st.binary(min_size=36, max_size=36), octets_8, records)


class RecordProperties(SynchronousTestCase):
    def setUp(self) -> None:
        if shutil.which("cc") is None:
            raise SkipTest("no C compiler: install gcc")

    @given(sealings)
    def test_true(self, made: Sealed) -> None:
        """
        Whatever tag and balance were there before.
        """
        record = made.sealed()
        self.assertTrue(made.believes(record))
        self.assertEqual(evolve(made, record=record).sealed(), record)

    @given(sealings, st.binary(max_size=60))
    def test_adds_up_to_nothing(self, made: Sealed, data: bytes) -> None:
        """
        At an odd place as well.
        """
        record = made.sealed()
        self.assertEqual(checksum.total(record), 0)
        self.assertEqual(checksum.total(data + record), checksum.total(data))

    @given(sealings, st.integers(0, 8 * (abi.RECORD.size - 2) - 1))
    def test_forged_bit(self, made: Sealed, bit: int) -> None:
        """
        But for the magic number.
        """
        record = bytearray(made.sealed())
        record[bit // 8] ^= 1 << bit % 8
        self.assertEqual(made.believes(bytes(record)), bit // 8 < 4)

    @given(sealings, octets_16, st.binary(min_size=36, max_size=36), octets_8)
    def test_of_this_packet_only(
        self, made: Sealed, secret: bytes, key: bytes, numbers: bytes
    ) -> None:
        record = made.sealed()
        for other in (
            evolve(made, secret=secret),
            evolve(made, key=key),
            evolve(made, numbers=numbers),
        ):
            self.assertEqual(other.believes(record), other == made)

    @given(sealings, st.binary(min_size=48, max_size=48))
    def test_made_up(self, made: Sealed, record: bytes) -> None:
        self.assertFalse(made.believes(MAGIC + record[4:]))
