# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.control.express}, and for links on which it is said.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.protocols.amp import MAX_VALUE_LENGTH, AmpBox, parseString
from twisted.trial.unittest import SynchronousTestCase

from btcp.control.commands import EXPRESS_FORMAT, Ways
from btcp.control.express import KEY_SIZE, MAX_RECORDS, RECORD_SIZE, Express, Subject, Word
from btcp.control.fields import Malformed
from btcp.datapath.ebpf import abi
from btcp.handoff.messages import Reason
from tests.unit.test_control_link import HELLO, Stranger, ask
from tests.unit.test_control_peers import Network

KEY = bytes(range(KEY_SIZE))
RECORD = bytes(range(RECORD_SIZE))


def box_of(word: Word) -> AmpBox:
    return AmpBox(Express.makeArguments({"word": word}, None))


@st.composite
def words(draw: st.DrawFn) -> Word:
    subject = draw(st.sampled_from(Subject))
    count = 1 if subject is Subject.KEY else draw(st.integers(0, 5))
    size = KEY_SIZE if subject is Subject.KEY else RECORD_SIZE
    data = draw(st.binary(min_size=count * size, max_size=count * size))
    ended = subject is Subject.ENDED
    return Word(subject, data, draw(st.sampled_from(Reason)) if ended else Reason.CLOSED)


class FieldTests(SynchronousTestCase):
    @given(words())
    def test_round_trip(self, word: Word) -> None:
        self.assertEqual(Express.parseArguments(box_of(word), None), {"word": word})

    def test_sizes(self) -> None:
        """
        Those of the kernel's structures; and of the most that can be said.
        """
        self.assertEqual((RECORD_SIZE, KEY_SIZE), (abi.DONE.size, 16))
        self.assertLessEqual(MAX_RECORDS * RECORD_SIZE, MAX_VALUE_LENGTH)
        box = box_of(Word(Subject.GONE, RECORD * MAX_RECORDS))
        self.assertEqual(Express.parseArguments(box, None)["word"].data, RECORD * MAX_RECORDS)

    def test_without_a_reason(self) -> None:
        """
        It is nobody's but an end's, and an earlier version says none.
        """
        box = box_of(Word(Subject.ENDED, RECORD, Reason.IDLE))
        del box[b"reason"]
        self.assertEqual(
            Express.parseArguments(box, None)["word"], Word(Subject.ENDED, RECORD, Reason.CLOSED)
        )
        self.assertNotIn(b"reason", box_of(Word(Subject.BACK, RECORD, Reason.IDLE)))

    def test_one_by_one(self) -> None:
        word = Word(Subject.ENDED, RECORD + RECORD[::-1])
        self.assertEqual(word.records, [RECORD, RECORD[::-1]])

    def test_malformed(self) -> None:
        good = box_of(Word(Subject.ENDED, RECORD))
        changes: tuple[dict[bytes, bytes | None], ...] = (
            {b"subject": None},
            {b"data": None},
            {b"subject": b""},
            {b"subject": b"ENDED"},
            {b"subject": b"\xff"},
            {b"subject": b"key"},
            {b"data": RECORD[1:]},
            {b"data": RECORD + b"x"},
            {b"subject": b"key", b"data": b""},
            {b"subject": b"key", b"data": KEY[1:]},
            {b"subject": b"key", b"data": KEY + KEY},
            {b"reason": b"CLOSED"},
            {b"reason": b"\xff"},
        )
        for change in changes:
            told = {**good, **change}
            box = AmpBox({key: value for key, value in told.items() if value is not None})
            with self.assertRaises(Malformed, msg=str(change)):
                Express.parseArguments(box, None)


class LinkTests(SynchronousTestCase):
    """
    A stranger that is node C{a}, and node C{b}.
    """

    def setUp(self) -> None:
        self.network = Network("b")
        self.b = self.network["b"]
        self.peer = Stranger(self.network)
        self.heard: list[str] = []

    def hello(self, **ways: bool) -> None:
        """
        @param ways: what C{a} says of itself.
        """
        said = {name.encode(): EXPRESS_FORMAT.encode() for name, value in ways.items() if value}
        self.peer.say(ask(b"Hello", {**HELLO, **said}))

    def say(self, word: Word) -> tuple[bool, list[AmpBox]]:
        """
        @return: whether C{b} could say it, and what arrived.
        """
        said = self.b.peers.say_express("a", word, lambda: self.heard.append(word.subject))
        return said, parseString(self.peer.say(b""))

    def test_is_heard(self) -> None:
        """
        Once that is answered.
        """
        self.hello(express=True)
        said, [box] = self.say(Word(Subject.KEY, KEY))
        self.assertTrue(said)
        self.assertEqual((box[b"_command"], box[b"data"]), (b"Express", KEY))
        self.assertEqual(self.heard, [])
        self.peer.say(AmpBox({b"_answer": box[b"_ask"]}).serialize())
        self.assertEqual(self.heard, ["key"])

    def test_is_not_heard(self) -> None:
        """
        It is refused, or the link is lost.
        """
        self.hello(express=True)
        _, [box] = self.say(Word(Subject.KEY, KEY))
        error = {b"_error": box[b"_ask"], b"_error_code": b"X", b"_error_description": b"x"}
        self.peer.say(AmpBox(error).serialize())
        self.say(Word(Subject.ENDED, RECORD))
        self.peer.say(b"\0\0")
        self.assertTrue(self.peer.closed)
        self.assertEqual(self.heard, [])

    def test_whom_nothing_is_said(self) -> None:
        """
        One without a link, nobody, and one who does none of this.
        """
        word = Word(Subject.KEY, KEY)
        for node in ("a", "b", "c", "nobody"):
            self.assertFalse(self.b.peers.say_express(node, word))
        self.hello()
        self.assertEqual(self.say(word), (False, []))

    def test_takes_in(self) -> None:
        self.hello(express=True)
        words = Word(Subject.KEY, KEY), Word(Subject.ENDED, RECORD * 2), Word(Subject.GONE, b"")
        for word in words:
            [answer] = parseString(self.peer.say(ask(b"Express", box_of(word))))
            self.assertEqual(answer, {b"_answer": b"1"})
        said = [("express", "a", word) for word in words]
        self.assertEqual([each for each in self.b.owner.heard if each[0] == "express"], said)

    def test_malformed(self) -> None:
        self.hello(express=True)
        self.peer.say(ask(b"Express", {b"subject": b"key", b"data": b"short"}))
        self.assertEqual(self.b.moved(), {"control.malformed": 1})
        self.assertNotIn("express", [each[0] for each in self.b.owner.heard])

    def test_before_hello(self) -> None:
        self.peer.say(ask(b"Express", box_of(Word(Subject.KEY, KEY))))
        self.assertEqual(self.b.moved(), {"control.refused-hello": 1})
        self.assertEqual(self.b.owner.heard, [])

    def test_says_of_itself(self) -> None:
        """
        Nothing, unless it does.
        """
        box = parseString(self.peer.say(ask(b"Hello", HELLO)))[1]
        self.assertEqual((box[b"_command"], box.get(b"express", b"0")), (b"Hello", b"0"))
        self.assertFalse(Ways().express)
