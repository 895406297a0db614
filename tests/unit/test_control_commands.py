# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.control.commands} and L{btcp.control.fields}.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import evolve
from hypothesis import given, strategies
from twisted.protocols.amp import AmpBox
from twisted.trial.unittest import SynchronousTestCase

from btcp.amp.boxes import serialize
from btcp.control.commands import (
    NEWEST,
    OLDEST,
    Handoff,
    HandoffRefused,
    Hello,
    HelloRefused,
    Identity,
    Terminate,
    Ways,
    read_identity,
)
from btcp.control.fields import MAX_RECORDS, MAX_REQUEST, REASON_CODES, Malformed
from btcp.handoff import messages
from btcp.handoff.messages import Adopted, Capabilities, Endpoint, Reason

NUMBER_32 = strategies.integers(0, 2**32 - 1)
NUMBER_64 = strategies.integers(0, 2**64 - 1)
PORT = strategies.integers(0, 65535)
SCALE = strategies.integers(-1, 14)
STAMP = strategies.integers(-1, 2**32 - 1)
NAME = strategies.text(min_size=1, max_size=60)
ADDRESS = strategies.sampled_from((4, 16)).flatmap(
    lambda size: strategies.binary(min_size=size, max_size=size)
)

HANDOFF = messages.Handoff(
    id=2**64 - 1,
    listener="web",
    client=Endpoint(bytes((198, 51, 100, 7)), 40000),
    front=Endpoint(bytes((192, 0, 2, 11)), 80),
    irs=0xFFFFFFFF,
    iss=1,
    window=64240,
    mss=1460,
    client_scale=7,
    front_scale=7,
    sack=True,
    tsval=4,
    front_tsval=5,
    acked=0,
    request=b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
)
IDENTITY = Identity(
    node="a",
    epoch=7,
    capabilities=Capabilities(mtu=1500, sack=True, timestamps=False, window_scaling=True),
)


@strategies.composite
def handoffs(draw: Callable[..., Any]) -> messages.Handoff:
    """
    Any handoff.
    """
    client, request = draw(ADDRESS), draw(strategies.binary(max_size=300))
    front = draw(strategies.binary(min_size=len(client), max_size=len(client)))
    return messages.Handoff(
        id=draw(NUMBER_64),
        listener=draw(NAME),
        client=Endpoint(client, draw(PORT)),
        front=Endpoint(front, draw(PORT)),
        irs=draw(NUMBER_32),
        iss=draw(NUMBER_32),
        window=draw(PORT),
        mss=draw(PORT),
        client_scale=draw(SCALE),
        front_scale=draw(SCALE),
        sack=draw(strategies.booleans()),
        tsval=draw(STAMP),
        front_tsval=draw(STAMP),
        acked=draw(strategies.integers(0, len(request))),
        request=request,
        rtt=draw(strategies.integers(messages.UNMEASURED, 0xFFFF)),
    )


TERMINATES = NAME.flatmap(
    lambda front: strategies.lists(
        strategies.builds(
            messages.Terminate,
            front=strategies.just(front),
            id=NUMBER_64,
            reason=strategies.sampled_from(Reason),
            client_next=NUMBER_32,
            server_next=NUMBER_32,
        ),
        min_size=1,
        max_size=20,
    )
)


def handoff_box(message: messages.Handoff = HANDOFF) -> AmpBox:
    """
    C{message} on the wire.
    """
    box: AmpBox = Handoff.makeArguments({"message": message}, None)
    return box


def hello_box() -> AmpBox:
    """
    L{IDENTITY} on the wire.
    """
    box: AmpBox = Hello.makeArguments(IDENTITY.arguments(), None)
    return box


class RoundTripTests(SynchronousTestCase):
    """
    What is written is what is read.
    """

    @given(handoffs())
    def test_handoff(self, message: messages.Handoff) -> None:
        box = handoff_box(message)
        serialize(box)
        self.assertEqual(Handoff.parseArguments(box, None), {"message": message})

    @given(NUMBER_64, NUMBER_32, NUMBER_32, ADDRESS, PORT)
    def test_adopted(self, id: int, isn: int, delta: int, address: bytes, port: int) -> None:
        adopted = Adopted(id=id, isn=isn, ts_delta=delta, address=address, port=port)
        box = Handoff.makeResponse({"adopted": adopted}, None)
        self.assertEqual(Handoff.parseResponse(box, None), {"adopted": adopted})

    @given(TERMINATES)
    def test_terminate(self, records: list[messages.Terminate]) -> None:
        box = Terminate.makeArguments({"records": records}, None)
        self.assertEqual(Terminate.parseArguments(box, None), {"records": records})

    @given(NAME, NUMBER_64, PORT, strategies.booleans(), strategies.booleans())
    def test_hello(self, node: str, epoch: int, mtu: int, one: bool, other: bool) -> None:
        identity = Identity(
            node=node,
            epoch=epoch,
            capabilities=Capabilities(mtu=mtu, sack=one, timestamps=other, window_scaling=one),
        )
        box = Hello.makeArguments(identity.arguments(), None)
        self.assertEqual(read_identity(box), identity)

    def test_all_reasons(self) -> None:
        """
        Every reason has a number of its own, of one octet.
        """
        self.assertEqual(set(REASON_CODES), set(Reason))
        codes = set(REASON_CODES.values())
        self.assertEqual(len(codes), len(REASON_CODES))
        self.assertTrue(all(0 < code < 256 for code in codes))

    def test_largest(self) -> None:
        """
        The largest values still fit into a box.
        """
        serialize(handoff_box(evolve(HANDOFF, request=b"x" * MAX_REQUEST, listener="x" * 255)))
        record = messages.Terminate(
            front="a", id=1, reason=Reason.CLOSED, client_next=0, server_next=0
        )
        serialize(Terminate.makeArguments({"records": [record] * MAX_RECORDS}, None))


class StrictnessTests(SynchronousTestCase):
    """
    What is not as declared is L{Malformed}.
    """

    def refused(self, box: AmpBox, changes: dict[bytes, bytes | None], command: type[Any]) -> None:
        """
        C{box} is good until C{changes} are made; L{None} takes a key away.
        """
        command.parseArguments(box, None)
        for key, value in changes.items():
            changed = AmpBox(box)
            if value is None:
                del changed[key]
            else:
                changed[key] = value
            with self.assertRaises(Malformed, msg=f"{key!r}: {value!r}"):
                command.parseArguments(changed, None)

    def test_handoff_missing_keys(self) -> None:
        box = handoff_box()
        self.assertEqual(set(box), {b"listener", b"ends", b"state", b"request"})
        for key in box:
            self.refused(box, {key: None}, Handoff)

    def test_handoff_fields(self) -> None:
        box = handoff_box()
        state, ends = box[b"state"], box[b"ends"]
        for key, values in {
            b"listener": (b"", b"x" * 256, b"\xff\xfe"),
            b"ends": (b"", ends[:-1], ends + b"x", ends + ends, b"x" * 24, b"x" * 37),
            b"state": (b"", state[:-1], state + b"\0"),
        }.items():
            for value in values:
                self.refused(box, {key: value}, Handoff)

    def test_handoff_ranges(self) -> None:
        """
        Values that fit the layout and mean nothing.
        """
        changes: tuple[dict[str, Any], ...] = (
            {"client_scale": 15},
            {"client_scale": -2},
            {"front_scale": 15},
            {"front_scale": -2},
            {"tsval": 2**32},
            {"tsval": -2},
            {"front_tsval": 2**32},
            {"front_tsval": -2},
            {"acked": len(HANDOFF.request) + 1},
            {"sack": 2},
        )
        for change in changes:
            box = handoff_box(evolve(HANDOFF, **change))
            with self.assertRaises(Malformed, msg=str(change)):
                Handoff.parseArguments(box, None)

    def test_adopted(self) -> None:
        adopted = Adopted(id=1, isn=2, ts_delta=3, address=b"abcd", port=4)
        good = Handoff.makeResponse({"adopted": adopted}, None)[b"adopted"]
        for value in (b"", good[:-1], good + b"x", good[:18]):
            with self.assertRaises(Malformed):
                Handoff.parseResponse(AmpBox({b"adopted": value}), None)
        with self.assertRaises(Malformed):
            Handoff.parseResponse(AmpBox(), None)

    def test_terminate(self) -> None:
        record = messages.Terminate(
            front="a", id=1, reason=Reason.CLOSED, client_next=0, server_next=0
        )
        box = Terminate.makeArguments({"records": [record]}, None)
        good = box[b"records"]
        wrong: tuple[dict[bytes, bytes | None], ...] = (
            {b"front": b""},
            {b"front": None},
            {b"records": None},
            {b"records": good + b"x"},
            {b"records": good[:8] + b"\xff" + good[9:]},
        )
        for changes in wrong:
            self.refused(box, changes, Terminate)

    def test_hello(self) -> None:
        box = hello_box()
        for key in set(box) - {b"newest", b"datapath", b"adoption", b"resumes", b"express"}:
            self.refused(box, {key: None}, Hello)
        for key, values in {
            b"node": (b"", b"\xff", b"x" * 256),
            b"epoch": (b"", b"-1", b"1_0", b" 1", b"%d" % 2**64, b"9" * 60000, b"\xd9\xa1"),
            b"mtu": (b"65536", b"+1"),
            b"sack": (b"", b"2", b"True"),
        }.items():
            for value in values:
                self.refused(box, {key: value}, Hello)

    def test_ways(self) -> None:
        """
        What a node need not say, and what it says that nobody knows.
        """
        ways = Ways(datapath="ebpf", adoption="cookie", resumes=True, express=True)
        said = evolve(IDENTITY, ways=ways)
        box = Hello.makeArguments(said.arguments(), None)
        self.assertEqual(read_identity(box), said)
        odd = AmpBox({**box, b"datapath": b"xdp\xff", b"resumes": b"", b"express": b"1"})
        self.assertEqual(read_identity(odd).ways, Ways(adoption="cookie"))
        for key in (b"datapath", b"adoption", b"resumes", b"express"):
            del box[key]
        self.assertEqual(read_identity(box).ways, Ways())

    def test_other_version(self) -> None:
        """
        Only the version of another version's Hello is looked at.
        """
        for oldest, newest in ((NEWEST + 1, NEWEST + 3), (OLDEST - 1, OLDEST - 1), (3, 1)):
            box = AmpBox({b"version": b"%d" % oldest, b"newest": b"%d" % newest})
            self.assertRaises(HelloRefused, read_identity, box)
        for version in (b"", b"x" * 1000):
            self.assertRaises(Malformed, read_identity, AmpBox({b"version": version}))
        self.assertRaises(Malformed, read_identity, AmpBox())

    def test_version_in_common(self) -> None:
        """
        The newest that both speak; of one that says only one version, that one.
        """
        box = hello_box()
        for oldest, newest, common in ((b"1", None, 1), (b"1", b"9", NEWEST), (b"2", b"2", 2)):
            box[b"version"] = oldest
            box.pop(b"newest", None)
            if newest is not None:
                box[b"newest"] = newest
            self.assertEqual(read_identity(box).version, common)

    def test_later_keys(self) -> None:
        """
        What a later version adds to Hello is not looked at.
        """
        box = hello_box()
        self.assertEqual(read_identity(AmpBox({**box, b"later": b"\xff"})), IDENTITY)

    def test_unknown_reason(self) -> None:
        self.assertRaises(ValueError, HandoffRefused, "because")
        self.assertIs(HandoffRefused("overload").reason, Reason.OVERLOAD)

    @given(
        strategies.sampled_from((b"listener", b"ends", b"state", b"request", b"front", b"records")),
        strategies.binary(max_size=100),
    )
    def test_any_octets(self, key: bytes, value: bytes) -> None:
        """
        Any octets are values or L{Malformed}.
        """
        for command in (Handoff, Terminate, Hello):
            box = AmpBox({**handoff_box(), **hello_box(), b"front": b"a", b"records": b""})
            box[key] = value
            try:
                command.parseArguments(box, None)
            except Malformed:
                continue
