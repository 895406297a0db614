# SPDX-License-Identifier: MIT
"""
The program that hands connections off, run by the kernel on packets that tests make
(C{BPF_PROG_TEST_RUN}).  scapy says which checksums are right.
"""

from __future__ import annotations

from itertools import product

from attrs import evolve

from btcp.datapath.ebpf import abi
from btcp.datapath.ebpf.express import Destination
from btcp.wire.segment import ACK, FIN, PSH, RST
from tests.integration.express_case import (
    KEY,
    NODE,
    NODES,
    OTHER,
    OWN,
    REQUEST,
    SIZE,
    Client,
    ExpressCase,
    express,
    stamped,
)
from tests.integration.handshake_case import SCALE
from tests.integration.loaded import DROP, REDIRECT, Outcome, parsed
from tests.integration.program_case import BOTH, V4, V6

MAGIC = b"BTCP"
BEGINNING, REST, RETURN = 1, 2, 3
ROOM = 1500 - SIZE
"""Octets of the largest IP packet that a record can follow."""
HOLDS_AT = 41


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
        magic, found, to, port, address, front, _, scale, *_ = abi.RECORD.unpack(record)
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

    def test_damaged_request_is_dropped(self) -> None:
        """
        The local TCP would discard it: nothing is entered, and nothing sent on.
        """
        for flow, size in product(BOTH, (len(REQUEST), len(REQUEST) + 1, 511, 512, 513, 1000)):
            self.forget()
            client = self.known(flow)
            octets = bytearray(client.says(REQUEST.ljust(size, b"x")))
            octets[-1] ^= 1
            outcome = self.loaded.ingress(bytes(octets))
            self.assertEqual((outcome.verdict, outcome.counted), (DROP, {"damaged": 1}), size)
            self.assert_handed(self.handed(client), client, REQUEST)

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

    def test_round_trip_time(self) -> None:
        """
        The record has the age of the echo in the ACK of the handshake, however long the client
        waits with its request; without such an ACK that of the request's echo, up to a bound; and
        nothing without timestamps.
        """
        for flow, (acked, waited, bounds) in product(
            BOTH,
            (
                (40, 5000, (40, 90)),
                (700, 5000, (700, 750)),
                (None, 40, (40, 90)),
                (None, 5000, (300, 300)),
            ),
        ):
            self.forget()
            client = self.known(flow, timestamps=True)
            if acked is not None:
                echo = evolve(client, echo=client.tsval - acked)
                self.assertEqual(
                    self.loaded.ingress(echo.says(b"", flags=ACK)).counted, {"established": 1}
                )
            outcome = self.handed(evolve(client, echo=client.tsval - waited))
            self.assertIn(self.rtt(outcome), range(bounds[0], bounds[1] + 1))
            # Of the next connection from this port it says nothing.
            self.forget()
            outcome = self.handed(self.known(flow, timestamps=False))
            self.assertEqual(self.rtt(outcome), 0)

    def rtt(self, outcome: Outcome) -> int:
        """
        @return: what the record says, milliseconds.
        """
        *_, rtt, _, _ = abi.RECORD.unpack(self.split(outcome)[2])
        return int(rtt)

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
