# SPDX-License-Identifier: MIT
"""
The program that takes connections from other nodes, run by the kernel on packets that tests make;
and whatever else may come.  Where it takes them, L{tests.integration.test_express} sees.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

from attrs import evolve
from hypothesis import example, given, settings
from hypothesis import strategies as st

from btcp.content.contract import ContentError
from btcp.content.http import HttpReader
from btcp.datapath.ebpf import abi
from btcp.datapath.ebpf.express import Destination
from btcp.wire.build import compose
from btcp.wire.segment import ACK, PSH
from tests.integration.express_case import (
    KEY,
    NODE,
    NODES,
    OTHER,
    OTHER_KEY,
    OWN,
    REQUEST,
    SIZE,
    Client,
    ExpressCase,
    framed,
    up,
)
from tests.integration.loaded import DROP, ETHERNET, PASS, REDIRECT, Outcome, parsed, without_rtt
from tests.integration.program_case import BOTH, V4, V6, Flow
from tests.properties.test_request_c import heads

MAGIC = b"BTCP"
BEGINNING, REST, RETURN = 1, 2, 3


class BackTests(ExpressCase):
    """
    A node believes a record, and gives back what it does not take: here nobody listens.
    """

    def setUp(self) -> None:
        super().setUp()
        self.plan(own=bytes(8))  # another node's
        self.renew(60.0)

    def arriving(self, flow: Flow, timestamps: bool = False) -> tuple[Client, bytes]:
        """
        @return: a request, as its back-end gets it.
        """
        self.plan()
        client = self.known(flow, timestamps)
        octets = self.handed(client).frame
        self.plan(own=bytes(8))
        return client, octets

    def returned(self, octets: bytes) -> bytes:
        """
        @return: as the front-end gets it.
        """
        outcome = self.loaded.ingress(octets)
        self.assertEqual((outcome.verdict, outcome.counted), (REDIRECT, {"returned": 1}))
        self.assert_sums(outcome.frame)
        self.assertIn(outcome.frame[:12], (octets[6:12] + octets[:6], octets[:12]))
        return octets[:12] + outcome.frame[12:]

    def test_gives_back(self) -> None:
        """
        And the front-end's daemon sees it as it came.
        """
        for flow, timestamps in product(BOTH, (False, True)):
            self.forget()
            client, octets = self.arriving(flow, timestamps)
            back = self.returned(octets)
            self.assertEqual(parsed(back).key, flow.request)
            self.assertEqual(back[-SIZE:][4], RETURN)
            outcome = self.loaded.ingress(back)
            counted = {"regained": 1, "declined": 1, "punted": 1}
            self.assertEqual((outcome.verdict, outcome.counted), (REDIRECT, counted))
            self.assertEqual(without_rtt(outcome.frame), up(client.says(REQUEST)))
            self.assertIsNone(self.tables.route(abi.pack_key(flow.request)))
            self.assert_declined(client.says(REQUEST))

    def test_gives_back_to_itself(self) -> None:
        """
        By no detour: nobody on the wire would send it back.
        """
        for flow in BOTH:
            for own in (bytes(8), OWN):
                self.forget()
                _, octets = self.arriving(flow)
                self.plan(own=own)
                back = self.loaded.ingress(octets).frame
                right = octets[:12] if own == OWN else octets[6:12] + octets[:6]
                self.assertEqual(back[:12], right)

    def test_whatever_the_reason(self) -> None:
        """
        It takes nothing, or nobody can say that the front-end waits, or the daemon.
        """
        reasons: tuple[Callable[[], None], ...] = (
            lambda: self.plan(own=bytes(8), adopts=False),
            lambda: self.renew(-1.0),
            lambda: self.loaded.install(V4.send(), V4.receive()),
        )
        for reason in reasons:
            self.forget()
            _, octets = self.arriving(V4)
            reason()
            self.assertEqual(parsed(self.returned(octets)).key, V4.request)

    def test_comes_back_too_late(self) -> None:
        """
        The client's port has another connection by now.
        """
        _, octets = self.arriving(V4)
        back = self.returned(octets)
        self.plan()
        self.handed(self.known(V4))
        outcome = self.loaded.ingress(back)
        self.assertEqual((outcome.verdict, outcome.counted), (DROP, {}))
        self.assertIsNotNone(self.tables.route(abi.pack_key(V4.request)))

    def test_overtakes(self) -> None:
        """
        What is not the beginning is dropped: the client will send it again.
        """
        for flow in BOTH:
            client, _ = self.arriving(flow)
            self.plan()
            octets = self.loaded.ingress(client.says(b"more", len(REQUEST))).frame
            outcome = self.loaded.ingress(octets)
            self.assertEqual((outcome.verdict, outcome.counted), (DROP, {"overtook": 1}))

    # -- what is not believed --------------------------------------------------

    def assert_plain(self, octets: bytes, *counters: str) -> None:
        """
        It is a packet like others, of no flow.
        """
        outcome = self.loaded.ingress(octets)
        self.assertEqual(outcome.counted, dict.fromkeys(counters, 1))
        self.assertEqual((outcome.verdict, outcome.frame), (PASS, octets))

    def test_forged(self) -> None:
        """
        Any octet of the record that says anything is another; but for the kind of those
        that come back, which a front-end has to know.
        """
        for flow in BOTH:
            _, octets = self.arriving(flow)
            for at in range(4, SIZE - 2):
                changed = bytearray(octets)
                changed[at - SIZE] ^= 0x80
                self.assert_plain(bytes(changed), "forged")
            for at in range(4):
                changed = bytearray(octets)
                changed[at - SIZE] ^= 1
                self.assert_plain(bytes(changed))

    def test_of_another_packet(self) -> None:
        """
        Another connection's, or another place in it.
        """
        for flow in BOTH:
            client, octets = self.arriving(flow)
            record = octets[-SIZE:]
            others = (
                (evolve(flow, port=9), 0, 0),
                (flow, 1, 0),
                (flow, 0, 1),
            )
            for other, at, heard in others:
                made = client.says(REQUEST + record, at, heard, key=other.forwarded)
                self.assert_plain(made, "forged")
            self.returned(client.says(REQUEST + record, key=flow.forwarded))

    def test_of_another_key(self) -> None:
        _, octets = self.arriving(V4)
        self.tables.front(OWN, OTHER_KEY, 1)
        self.assert_plain(octets, "forged")
        self.tables.front(OWN, None)
        self.assert_plain(octets, "forged")

    def test_of_nobodys_key(self) -> None:
        """
        Nodes that have not been heard of have none, not one of zeros.
        """
        self.tables.destination(NODE, Destination(bytes(16), V4.back, V6.back))
        self.tables.front(OWN, bytes(16), self.tables.lease("front"))
        _, octets = self.arriving(V4)
        back = self.returned(octets)
        outcome = self.loaded.ingress(back)
        self.assertEqual(outcome.counted["forged"], 1)
        self.assertNotIn("regained", outcome.counted)

    def test_of_an_earlier_key(self) -> None:
        """
        The local TCP has the connection, and is not to take a record for data; it will come again
        with a key that is known.
        """
        for flow in BOTH:
            client, octets = self.arriving(flow)
            route = bytearray(abi.pack_route(flow.send()))
            route[abi.EXPRESS_AT] = abi.EXPRESS
            route[64:68] = client.iss.to_bytes(4, "little")
            self.loaded.programs.routes.update(abi.pack_key(flow.answer), bytes(route))
            self.tables.front(OWN, OTHER_KEY, self.tables.lease("front"))
            outcome = self.loaded.ingress(octets)
            self.assertEqual((outcome.verdict, outcome.counted), (DROP, {"forged": 1}))
            heard = client.says(REQUEST + octets[-SIZE:], heard=1, key=flow.forwarded)
            self.assert_plain(heard, "forged")
            self.tables.front(OWN, KEY, self.tables.lease("front"))

    def test_cut_off(self) -> None:
        """
        Frame and length in the header alike: only the whole is a record.
        """
        client, octets = self.arriving(V4)
        record = octets[-SIZE:]
        for size in (1, 20, SIZE - 1):
            self.assert_plain(client.says(REQUEST + record[:size], key=V4.forwarded))
            self.assert_plain(client.says(REQUEST + record[size:], key=V4.forwarded))
        self.assert_plain(client.says(REQUEST + record + b"x", key=V4.forwarded))
        self.assert_plain(octets[:-1])

    def test_nothing_else(self) -> None:
        """
        A record alone is of a request of no octets, and not its beginning.
        """
        client, octets = self.arriving(V4)
        outcome = self.loaded.ingress(client.says(octets[-SIZE:], key=V4.forwarded))
        self.assertNotIn(outcome.verdict, (PASS,))
        self.assertLessEqual(sum(outcome.counted.values()), 1)

    def test_in_a_clients_request(self) -> None:
        """
        To a listener, what is not believed is a client's data.
        """
        for kind in (BEGINNING, REST, RETURN, 0, 255):
            self.forget()
            client = self.known(V4)
            made_up = MAGIC + bytes((kind, NODE)) + bytes(SIZE - 6)
            octets = client.says(REQUEST + made_up)
            self.plan()
            outcome = self.loaded.ingress(octets)
            counted = {"forged": 1, "expressed": 1, "forwarded": 1}
            self.assertEqual((outcome.verdict, outcome.counted), (REDIRECT, counted))
            _, left, _ = self.split(outcome)
            self.assertEqual(left, REQUEST + made_up)


kinds = st.one_of(st.integers(0, 4), st.integers(0, 255))
made_up = st.builds(
    lambda kind, rest: MAGIC + bytes((kind,)) + rest,
    kinds,
    st.binary(min_size=SIZE - 5, max_size=SIZE - 5),
)
flags = st.one_of(st.just(ACK | PSH), st.integers(0, 255))


class FuzzTests(ExpressCase):
    """
    Whatever a client sends, it is handed to the node that the map names, or is the daemon's.
    """

    def _right(self, data: bytes) -> int | None:
        """
        @return: the node that the map names.
        """
        try:
            key = HttpReader(16384).feed(data)
        except ContentError:
            return None
        if key is None:
            return None
        return next((node for path, node in NODES.items() if key.path.startswith(path)), None)

    def _assert_handed(self, client: Client, outcome: Outcome, data: bytes) -> None:
        segment, left, record = self.split(outcome)
        self.assertEqual(left, data)
        back = segment.key[len(client.flow.client) : -4]
        wanted = client.flow.back[:-1] + b"\x77" if record[5] == OTHER else client.flow.back
        self.assertEqual(back, wanted)
        right = self._right(data)
        # What the daemon refuses for its body only, the origin refuses.
        self.assertIn(record[5], NODES.values() if right is None else (right,))

    @settings(max_examples=300, deadline=None)
    @given(st.sampled_from(BOTH), st.one_of(heads(), st.binary(max_size=100)), st.booleans())
    @example(V4, REQUEST, True)
    def test_first_octets(self, flow: Flow, data: bytes, timestamps: bool) -> None:
        self.forget()
        data = data[:1300].replace(b" /", b" /o/") or b"x"
        client = self.known(flow, timestamps)
        octets = client.says(data)
        outcome = self.loaded.ingress(octets)
        self.assertEqual(outcome.verdict, REDIRECT)
        if "expressed" in outcome.counted:
            self._assert_handed(client, outcome, data)
        else:
            self.assertEqual(outcome.counted, {"declined": 1, "punted": 1})
            self.assertEqual(without_rtt(outcome.frame), up(octets))

    @settings(max_examples=300, deadline=None)
    @given(st.sampled_from(BOTH), made_up, st.binary(max_size=30), flags, st.integers(0, 3))
    def test_made_up_records(
        self, flow: Flow, record: bytes, data: bytes, flags: int, where: int
    ) -> None:
        """
        To whomever they are.
        """
        self.forget()
        self.renew(60.0)
        keys = flow.request, flow.forwarded, flow.answer, flow.response
        octets = framed(compose(keys[where], 7, 8, flags, 500, b"", data + record))
        outcome = self.loaded.ingress(octets)
        forged = outcome.counted.pop("forged", 0)
        self.assertEqual(forged, 1)
        self.assertEqual(outcome.frame, octets)
        expected = (REDIRECT, {"punted": 1}) if where == 0 else (PASS, {})
        self.assertEqual((outcome.verdict, outcome.counted), expected)

    @settings(max_examples=300, deadline=None)
    @given(
        st.sampled_from(BOTH),
        st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), min_size=1, max_size=3),
        st.integers(0, 60),
        st.booleans(),
    )
    def test_damaged_handoffs(
        self, flow: Flow, damage: list[tuple[int, int]], cut: int, own: bool
    ) -> None:
        """
        Of a true one that is damaged at some places, or cut off: it comes back whole, or goes
        on as it is, or is dropped.  Nothing is sent to anybody else.
        """
        self.forget()
        self.renew(60.0)
        good = self.handed(self.known(flow)).frame
        octets = bytearray(good)
        for at, value in damage:
            octets[ETHERNET + at % (len(octets) - ETHERNET)] = value
        made = bytes(octets[: len(octets) - cut])
        self.plan(own=OWN if own else bytes(8))
        outcome = self.loaded.ingress(made)
        if "returned" in outcome.counted:
            self.assertEqual(parsed(outcome.frame).key, flow.request)
        elif outcome.verdict == PASS:
            self.assertEqual(outcome.frame, made)
        elif outcome.verdict == REDIRECT:
            self.assertEqual(outcome.counted["punted"], 1)
        else:
            self.assertEqual(outcome.verdict, DROP)
