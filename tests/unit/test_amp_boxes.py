# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.amp.boxes}: Twisted's own reader and writer say what is right.
"""

from __future__ import annotations

from random import Random

from hypothesis import given, strategies
from twisted.protocols.amp import AmpBox, parseString
from twisted.trial.unittest import SynchronousTestCase

from btcp.amp.boxes import MAX_BOX, MAX_KEYS, BoxReader, serialize

KEYS = strategies.binary(min_size=1, max_size=255)
BOXES = strategies.lists(
    strategies.dictionaries(KEYS, strategies.binary(max_size=400), min_size=1, max_size=5),
    max_size=4,
)


def pieces(data: bytes, random: Random) -> list[bytes]:
    """
    C{data} in segments of any length.
    """
    found = []
    while data:
        size = random.choice((1, 2, 3, 50, 70000))
        found.append(data[:size])
        data = data[size:]
    return found


class BoxReaderTests(SynchronousTestCase):
    """
    Tests for L{BoxReader} and L{serialize}.
    """

    @given(BOXES, strategies.randoms(use_true_random=False))
    def test_like_twisted(self, contents: list[dict[bytes, bytes]], random: Random) -> None:
        """
        However the octets are cut, the boxes are those that Twisted reads.
        """
        boxes = [AmpBox(content) for content in contents]
        data = b"".join(serialize(box) for box in boxes)
        self.assertEqual(parseString(data), boxes)
        reader = BoxReader()
        received = [box for piece in pieces(data, random) for box in reader.receive(piece)]
        self.assertEqual(received, boxes)
        self.assertIsNone(reader.fault)

    @given(strategies.binary(max_size=2000), strategies.randoms(use_true_random=False))
    def test_any_octets(self, data: bytes, random: Random) -> None:
        """
        Any octets are boxes, or wait for more, or are a fault, however they are cut.
        """
        whole, cut = BoxReader(), BoxReader()
        boxes = whole.receive(data)
        received = []
        for piece in pieces(data, random):
            if cut.fault is None:
                received += cut.receive(piece)
        self.assertEqual((received, cut.fault), (boxes, whole.fault))

    def test_octet_by_octet(self) -> None:
        """
        The largest value there is, in the smallest segments there are.
        """
        box = AmpBox({b"request": b"x" * 65535})
        reader = BoxReader()
        received = [b for octet in serialize(box) for b in reader.receive(bytes((octet,)))]
        self.assertEqual(received, [box])

    def test_too_many_keys(self) -> None:
        reader = BoxReader()
        keys = b"".join(b"\0\2%02x\0\0" % number for number in range(MAX_KEYS))
        self.assertEqual(reader.receive(keys), [])
        self.assertIsNone(reader.fault)
        reader.receive(b"\0\2xx")
        self.assertEqual(reader.fault, "a box has a key twice or too many keys")

    def test_as_many_keys_as_may_be(self) -> None:
        box = AmpBox({b"%02x" % number: b"" for number in range(MAX_KEYS)})
        reader = BoxReader()
        self.assertEqual(reader.receive(serialize(box) * 2), [box, box])

    def test_too_large(self) -> None:
        """
        It is known to be too large before it is all there.
        """
        reader = BoxReader()
        value = b"\xff\xff" + b"x" * 65535
        reader.receive(b"\0\1a" + value + b"\0\1b" + value[:-200])
        self.assertEqual(reader.fault, "a key or a box is too long")
        self.assertLess(MAX_BOX, 2 * 65535 + 10)

    def test_key_too_long(self) -> None:
        reader = BoxReader()
        reader.receive(b"\1\0")
        self.assertEqual(reader.fault, "a key or a box is too long")

    def test_key_twice(self) -> None:
        reader = BoxReader()
        reader.receive(b"\0\1a\0\1x\0\1a")
        self.assertEqual(reader.fault, "a box has a key twice or too many keys")

    def test_boxes_before_a_fault(self) -> None:
        reader = BoxReader()
        self.assertEqual(
            reader.receive(serialize(AmpBox({b"a": b"b"})) + b"\xff\xff"), [{b"a": b"b"}]
        )
        self.assertIsNotNone(reader.fault)

    def test_too_long_to_send(self) -> None:
        self.assertRaises(ValueError, serialize, AmpBox({b"a": b"x" * 65536}))
        self.assertRaises(ValueError, serialize, AmpBox({b"a" * 256: b""}))
