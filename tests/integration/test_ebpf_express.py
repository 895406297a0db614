# SPDX-License-Identifier: MIT
"""
The programs that hand connections off, run by the kernel on packets that tests make
(C{BPF_PROG_TEST_RUN}).  scapy says which checksums are right.
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
from btcp.wire.segment import ACK, FIN, PSH, RST
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
    express,
    framed,
    stamped,
    up,
)
from tests.integration.handshake_case import SCALE
from tests.integration.loaded import DROP, ETHERNET, PASS, REDIRECT, Outcome, parsed
from tests.integration.program_case import BOTH, V4, V6, Flow
from tests.properties.test_request_c import heads

MAGIC = b"BTCP"
BEGINNING, REST, RETURN = 1, 2, 3
ROOM = 1500 - SIZE
"""Octets of the largest IP packet that a record can follow."""
HOLDS_AT = 41
ORIGIN = 8080


def asked(path: str, method: str = "GET") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: h.example\r\n\r\n".encode()


class FrontTests(ExpressCase):
    """
    A request leaves for its back-end.
    """

    def assert_handed(
        self, outcome: Outcome, client: Client, data: bytes, kind: int = BEGINNING, node: int = NODE
    ) -> bytes:
        """
        @return: the record.
        """
        segment, left, record = self.split(outcome)
        self.assertEqual((segment.key, left), (client.flow.forwarded, data))
        self.assertEqual(segment.ack, parsed(client.says(data)).ack)
        options = outcome.frame[segment.tcp + 20 : segment.data]
        self.assertEqual(options, stamped(client.timestamps))
        magic, found, to, port, address, front, _, scale, _, _ = abi.RECORD.unpack(record)
        self.assertEqual((magic, found, to, scale), (MAGIC, kind, node, SCALE))
        self.assertEqual(port, (80).to_bytes(2, "big"))
        self.assertEqual(address, abi.pack_address(client.flow.front))
        self.assertEqual(front.to_bytes(8, "little"), OWN)
        return record

    def test_request(self) -> None:
        for flow, timestamps in product(BOTH, (False, True)):
            for size in (len(REQUEST), 101, 1000):
                self.forget()
                client = self.known(flow, timestamps)
                data = REQUEST.ljust(size, b"x")
                self.assert_handed(self.handed(client, data), client, data)

    def test_again(self) -> None:
        """
        A request sent again takes the same way, whatever the map says by now; so does what
        follows, until the client has heard of the response.
        """
        for flow in BOTH:
            client = self.known(flow)
            self.handed(client)
            self.tables.turns(NODE, [OTHER])
            for at, kind in ((0, BEGINNING), (len(REQUEST), REST)):
                outcome = self.loaded.ingress(client.says(REQUEST, at))
                self.assertEqual(outcome.counted, {"forwarded": 1})
                self.assert_handed(outcome, client, REQUEST, kind)
            outcome = self.loaded.ingress(client.says(b"", len(REQUEST), flags=ACK))
            self.assert_handed(outcome, client, b"", REST)
            self.tables.turns(NODE, [NODE])

    def test_response_was_heard(self) -> None:
        """
        The route is all that is needed.
        """
        for flow in BOTH:
            client = self.known(flow)
            self.handed(client)
            octets = client.says(b"more", len(REQUEST), heard=5)
            outcome = self.loaded.ingress(octets)
            self.assertEqual((outcome.verdict, outcome.counted), (REDIRECT, {"forwarded": 1}))
            self.assert_sums(outcome.frame)
            self.assertEqual(outcome.frame[parsed(outcome.frame).data :], b"more")

    def test_what_may_wait(self) -> None:
        """
        Of a GET or a HEAD the record says that nothing need be acknowledged.
        """
        for number, (method, holds) in enumerate(
            (("GET", 8), ("HEAD", 8), ("POST", 0), ("GETS", 0), ("PUT", 0))
        ):
            client = self.known(evolve(V4, port=2000 + number))
            record = self.split(self.handed(client, asked("/a", method)))[2]
            self.assertEqual(record[HOLDS_AT], holds, method)

    def test_node_by_path(self) -> None:
        for number, (path, node) in enumerate(NODES.items()):
            client = self.known(evolve(V4, port=2000 + number))
            record = self.split(self.handed(client, asked(path)))[2]
            self.assertEqual(record[5], node)

    def test_turns(self) -> None:
        self.tables.turns(NODE, [NODE, OTHER, NODE])
        found = []
        for port in range(2000, 2006):
            outcome = self.handed(self.known(evolve(V6, port=port)))
            found.append(self.split(outcome)[2][5])
        self.assertEqual(found, [NODE, OTHER, NODE] * 2)

    def test_largest(self) -> None:
        """
        A packet without room for a record is the daemon's.
        """
        for flow, headers in ((V4, 40), (V6, 60)):
            for size, room in ((ROOM - headers, True), (ROOM - headers + 1, False)):
                self.forget()
                client = self.known(flow)
                data = REQUEST.ljust(size, b"x")
                if room:
                    self.assert_handed(self.handed(client, data), client, data)
                else:
                    self.assert_declined(client.says(data))

    def test_hosts(self) -> None:
        """
        Those that the table knows, and all others.
        """
        self.tables.add_prefixes({(7, b"/"): OTHER})
        self.tables.scope(b"h.example", 7)
        self.addCleanup(self.tables.forget_host, b"h.example")
        self.plan(hosts=True)
        for number, (host, node) in enumerate(
            (("H.Example:80", OTHER), ("x.example", NODE), ("h.exampl", NODE), ("[::1]", None))
        ):
            client = self.known(evolve(V4, port=2000 + number))
            data = f"GET /a HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
            if node is None:
                self.assert_declined(client.says(data))
            else:
                self.assertEqual(self.split(self.handed(client, data))[2][5], node, host)
        self.plan(hosts=True, scope=0)
        self.assert_declined(self.known(evolve(V4, port=3)).says(REQUEST.replace(b".", b"-")))
        self.handed(self.known(evolve(V4, port=4)))


class DeclineTests(ExpressCase):
    """
    What the daemon has to look at, it sees as it came, however often it comes.
    """

    def assert_stays(self, client: Client, data: bytes = REQUEST, flags: int = ACK | PSH) -> None:
        for _ in range(2):
            self.assert_declined(client.says(data, flags=flags))
        self.assertIsNone(self.tables.route(abi.pack_key(client.flow.request)))

    def test_unusual(self) -> None:
        for flow, data in product(BOTH, (asked("/a/../b"), asked("/none"), REQUEST[:-1], b"\x16")):
            self.assert_stays(self.known(flow), data)

    def test_end_of_what_the_client_sends(self) -> None:
        self.assert_stays(self.known(V4), flags=ACK | PSH | FIN)

    def test_once_declined(self) -> None:
        """
        The request sent again must not become another connection; the next one may.
        """
        client = self.known(V4)
        self.tables.turns(NODE, [])
        self.assert_stays(client)
        self.tables.turns(NODE, [NODE])
        self.assert_stays(client)
        self.handed(self.known(evolve(V4, port=V4.port + 1)))

    def test_nobody_to_hand_it_to(self) -> None:
        self.destination(NODE)
        self.tables.destination(NODE, None)
        for flow in BOTH:
            self.assert_stays(self.known(flow))

    def test_of_one_family(self) -> None:
        self.tables.destination(NODE, Destination(KEY, V4.back, None))
        self.handed(self.known(V4))
        self.assert_stays(self.known(V6))
        self.tables.destination(NODE, Destination(KEY, None, V6.back))
        self.forget()
        self.assert_stays(self.known(evolve(V4, port=3)))
        self.handed(self.known(evolve(V6, port=3)))

    def test_node_without_a_number(self) -> None:
        self.tables.turns(NODE, [0])
        self.assert_stays(self.known(V4))

    def test_head_larger_than_it_may_be(self) -> None:
        """
        That is answered with 431; what follows the head is no part of it.
        """
        self.plan(head=len(REQUEST) - 1)
        self.assert_stays(self.known(V4))
        self.plan(head=len(REQUEST))
        self.handed(self.known(V6), REQUEST + b"body")

    def test_does_not_decide(self) -> None:
        self.plan(decides=False)
        self.assert_stays(self.known(V4))

    def test_whom_nobody_answered(self) -> None:
        """
        A request out of nowhere is the daemon's, as ever.
        """
        for flow in BOTH:
            client = Client(flow, 5, 6)
            outcome = self.loaded.ingress(client.says(REQUEST))
            self.assertEqual((outcome.verdict, outcome.counted), (REDIRECT, {"punted": 1}))
            self.assertEqual(outcome.frame, client.says(REQUEST))

    def test_route_of_the_core(self) -> None:
        """
        It decides on its own.
        """
        for flow in BOTH:
            client = self.known(flow)
            self.loaded.install(flow.forward())
            outcome = self.loaded.ingress(client.says(REQUEST))
            self.assertEqual(outcome.counted, {"forwarded": 1})
            self.assertEqual(len(outcome.frame), len(client.says(REQUEST)))


class PortAgainTests(ExpressCase):
    """
    A client's port comes back, while the old route lingers.
    """

    def test_after_it_was_closed(self) -> None:
        for flow, last in product(BOTH, (FIN | ACK, RST | ACK)):
            self.forget()
            old = self.known(flow)
            self.handed(old)
            self.loaded.ingress(old.says(b"", len(REQUEST), heard=9, flags=last))
            new = self.known(flow)
            self.handed(new, asked("/o"))
            route = self.tables.route(abi.pack_key(flow.request))
            assert route is not None
            self.assertEqual(int.from_bytes(route[64:68], "little"), new.iss)

    def test_a_syn_is_enough(self) -> None:
        """
        Whoever opens another one has lost the old one.
        """
        self.handed(self.known(V4))
        self.handed(self.known(V4))

    def test_what_is_declined_then(self) -> None:
        """
        Nothing of the new one meets the old one's back-end.
        """
        self.handed(self.known(V4))
        new = self.known(V4)
        self.assert_declined(new.says(asked("/none")))
        outcome = self.loaded.ingress(new.says(b"rest", len(asked("/none"))))
        self.assertEqual(outcome.counted, {"punted": 1})

    def test_an_open_one_stays(self) -> None:
        """
        Without a SYN or an end nobody has its ends: it is not the route's.
        """
        self.handed(self.known(V4))
        stranger = Client(V4, 5, 6)
        outcome = self.loaded.ingress(stranger.says(REQUEST))
        self.assertEqual(outcome.counted, {"forwarded": 1})
        self.assertEqual(parsed(outcome.frame).key, V4.forwarded)


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
            self.assertEqual(outcome.frame, up(client.says(REQUEST)))
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
            self.assertEqual(outcome.frame, up(octets))

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


class VerifierTests(ExpressCase):
    MOST = 200_000
    """Of the million instructions at which the verifier gives up."""

    def test_steps(self) -> None:
        """
        Other kernels count otherwise, and later ones have looked at more.
        """
        both = express()
        for name in ("btcp_ingress", "btcp_egress", "btcp_meet", "btcp_plain"):
            self.assertLess(both.loaded.steps(name), self.MOST, name)
        for name in ("btcp_express", "btcp_receive", "btcp_reap"):
            self.assertLess(both.steps(name), self.MOST, name)


