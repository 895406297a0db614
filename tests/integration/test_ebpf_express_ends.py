# SPDX-License-Identifier: MIT
"""
Connections that were handed off, until they are over and forgotten: the programs, run by the
kernel on packets that tests make.
"""

from __future__ import annotations

import time
from typing import Any

from attrs import evolve

from btcp.datapath.ebpf import abi
from btcp.express.entries import Entry
from btcp.wire.build import compose
from btcp.wire.segment import ACK, FIN, PSH, RST
from btcp.wire.seqnum import add
from tests.integration.express_case import (
    ExpressCase,
    framed,
)
from tests.integration.loaded import DROP, PASS, SWALLOWED, Outcome, parsed
from tests.integration.program_case import V4
from tests.unit.express_case import FIRST, ISS, Made

BOTH_CLOSED, RESET_BY_CLIENT, RESET_BY_SERVER = range(3)
"""C{enum btcp_why}."""
ACCOUNT_AT = abi.RULE.size
CLAIMED_AT = 56


class Conversation(ExpressCase):
    """
    A connection that was adopted.  All numbers are the local TCP's.
    """

    joined = False
    STARTED = FIRST + 40
    """Where the client goes on."""
    ANSWERS = ISS + 1 & 0xFFFFFFFF

    def setUp(self) -> None:
        super().setUp()
        self.renew(60.0)
        self.lease = 0 if self.joined else self.tables.lease("front")
        self.ended: list[bytes] = []
        self.ring = self.tables.endings(self.ended.append)
        self.addCleanup(self.ring.close)
        self.ring.consume()
        self.ended.clear()
        self.install()

    def install(self, **how: float | bool) -> None:
        self.forget()
        made: Any = {"lease": self.lease, "end": self.STARTED, "joined": self.joined, **how}
        self.made = Made(**made)
        half = self.made.front if self.joined else self.made.inbound
        for entry in (half, self.made.outbound):
            # Nothing has come of the response.
            fresh = bytearray(entry.packed)
            if entry.to_client:
                fresh[ACCOUNT_AT + 8 : ACCOUNT_AT + 24] = bytes(16)
                fresh[ACCOUNT_AT + 28 : ACCOUNT_AT + 32] = self.ANSWERS.to_bytes(4, "little")
            self.loaded.programs.routes.update(entry.key, bytes(fresh))

    def client(self, flags: int, at: int = 0, heard: int = 0, data: bytes = b"") -> Outcome:
        key = self.made.request if self.joined else self.made.forwarded
        seq, ack = add(self.STARTED, at), add(self.ANSWERS, heard)
        return self.loaded.ingress(framed(compose(key, seq, ack, flags, 500, b"", data)))

    def server(self, flags: int, at: int = 0, heard: int = 0, data: bytes = b"") -> Outcome:
        key = self.made.answer
        seq, ack = add(self.ANSWERS, at), add(self.STARTED, heard)
        return self.loaded.egress(framed(compose(key, seq, ack, flags, 500, b"", data)))

    def heard_of(self) -> list[tuple[bytes, bytes, int]]:
        """
        @return: of each end what it is called on this node and at the front-end, and why.
        """
        self.ring.consume()
        found = [abi.ENDING.unpack(each) for each in self.ended]
        self.ended.clear()
        self.assertLessEqual({number for _, _, number, _ in found}, {self.lease})
        return [(own, client, why) for own, client, _, why in found]

    def assert_over(self, why: int) -> None:
        right = self.made.outbound.done, self.made.front.done, why
        self.assertEqual(self.heard_of(), [right])
        packed = self.tables.route(self.made.outbound.key)
        assert packed is not None
        self.assertTrue(Entry(self.made.outbound.key, packed).over)


class ResponseTests(Conversation):
    def test_sent(self) -> None:
        """
        As the front-end would.
        """
        outcome = self.server(ACK | PSH, data=b"HTTP/1.1 200")
        self.assertEqual((outcome.verdict, outcome.counted), (PASS, {"sent": 1}))
        self.assert_sums(outcome.frame)
        self.assertEqual(parsed(outcome.frame).key, self.made.response)

    def test_held(self) -> None:
        """
        An acknowledgment of a request that may still go elsewhere is discarded for a second, and
        the local TCP must not take that for congestion.
        """
        for holds, age, counter in ((True, 0.0, "held"), (True, 1.1, "sent"), (False, 0.0, "sent")):
            self.install(holds=holds, used=time.monotonic() - age)
            outcome = self.server(ACK)
            verdict = SWALLOWED if counter == "held" else PASS
            self.assertEqual((outcome.verdict, outcome.counted), (verdict, {counter: 1}))

    def test_held_is_heard(self) -> None:
        """
        A reset of the local TCP has to have the number that it expects.
        """
        self.install(holds=True, used=time.monotonic())
        self.assertEqual(self.server(ACK, heard=5).counted, {"held": 1})
        packed = self.tables.route(self.made.outbound.key)
        assert packed is not None
        account = Entry(self.made.outbound.key, packed).route
        self.assertEqual((account.ack, account.packets), (self.made.outbound.route.ack + 5, 0))

    def test_nothing_else_is_held(self) -> None:
        for flags, data in ((ACK | PSH, b"x"), (ACK | FIN, b""), (ACK | RST, b"")):
            self.install(holds=True, used=time.monotonic())
            self.assertEqual(self.server(flags, data=data).verdict, PASS)

    def test_not_once_it_began(self) -> None:
        self.install(holds=True, used=time.monotonic())
        self.server(ACK | PSH, data=b"x")
        self.assertEqual(self.server(ACK, at=1, heard=5).counted, {"sent": 1})

    def test_late(self) -> None:
        """
        No response begins when nobody may be waiting for it, and none stops for that.
        """
        self.renew(-1.0)
        for flags, data in ((ACK | PSH, b"x"), (ACK | FIN, b"")):
            outcome = self.server(flags, data=data)
            self.assertEqual((outcome.verdict, outcome.counted), (DROP, {"late": 1}))
        self.assertEqual(self.server(ACK).verdict, PASS)
        self.renew(60.0)
        self.assertEqual(self.server(ACK | PSH, data=b"x").verdict, PASS)
        self.renew(-1.0)
        self.assertEqual(self.server(ACK | PSH, at=1, data=b"x").verdict, PASS)


class EndTests(Conversation):
    """
    When it is over, and what is said of it.
    """

    def talk(self) -> None:
        self.server(ACK | PSH, data=b"response")
        self.client(ACK, heard=8)

    def test_both_close(self) -> None:
        """
        Whoever is first; and once, however often they say so.
        """
        for server_first in (True, False):
            self.install()
            self.talk()
            if server_first:
                self.server(ACK | FIN, at=8)
                self.client(ACK | FIN, heard=9)
            else:
                self.client(ACK | FIN, heard=8)
                self.server(ACK | FIN, at=8, heard=1)
            self.assertEqual(self.heard_of(), [])
            last = self.server(ACK, at=9, heard=1) if server_first else self.client(ACK, 1, 9)
            self.assertEqual(last.counted["ended"], 1)
            self.assert_over(BOTH_CLOSED)
            for _ in range(2):
                self.client(ACK | FIN, heard=9)
                self.server(ACK, at=9, heard=1)
                self.client(ACK, 1, 9)
            self.assertEqual(self.heard_of(), [])

    def test_half_closed(self) -> None:
        """
        A client that only sends no more may still hear.
        """
        self.client(ACK | FIN)
        self.server(ACK, heard=1)
        for at in range(3):
            self.assertEqual(self.server(ACK | PSH, at, 1, b"x").verdict, PASS)
            self.client(ACK, 1, at + 1)
        self.assertEqual(self.heard_of(), [])

    def test_server_resets(self) -> None:
        self.talk()
        outcome = self.server(RST | ACK, at=8)
        self.assertEqual((outcome.verdict, outcome.counted), (PASS, {"sent": 1, "ended": 1}))
        self.assert_over(RESET_BY_SERVER)
        self.server(RST | ACK, at=8)
        self.assertEqual(self.heard_of(), [])

    def test_client_resets(self) -> None:
        """
        With the number that the local TCP has acknowledged; its socket is gone by now.
        """
        self.talk()
        self.client(ACK | PSH, heard=8, data=b"x" * 5)
        self.client(RST)
        self.assert_over(RESET_BY_CLIENT)

    def test_stranger_cannot_write_the_number_of_a_reset(self) -> None:
        """
        An off-path host sends a segment with any number, and a reset behind it.
        """
        self.talk()
        for at in (5, 1000, 1 << 25, 1 << 31, -(1 << 25)):
            self.client(ACK | PSH, at=at, heard=8, data=b"x")
            self.client(RST, at=at + 1)
            self.client(RST | ACK, at=at + 1, heard=8)
        self.assertEqual(self.heard_of(), [])

    def test_resets_that_the_local_tcp_does_not_believe(self) -> None:
        """
        They reach it, and it will challenge them.
        """
        self.talk()
        for at in (1, -1, 100, 1 << 31):
            outcome = self.client(RST, at=at)
            self.assertEqual(outcome.verdict, PASS)
            self.assertNotIn("ended", outcome.counted)
        self.assertEqual(self.heard_of(), [])
        self.assertEqual(self.server(ACK | PSH, at=8, data=b"x").counted, {"sent": 1})

    def test_who_acknowledges_too_much(self) -> None:
        """
        Is not the client.
        """
        self.talk()
        self.server(ACK | FIN, at=8)
        self.client(ACK | FIN, heard=8)
        self.server(ACK, at=9, heard=1)
        self.client(ACK, 1, 10)
        self.assertEqual(self.heard_of(), [])
        self.client(ACK, 1, 9)
        self.assert_over(BOTH_CLOSED)


class EndHereTests(EndTests):
    """
    Front-end and back-end are one node.
    """

    joined = True


class ReapTests(Conversation):
    """
    Routes that nobody needs any more.
    """

    def left(self) -> set[bytes]:
        return {key for key, _ in self.loaded.programs.routes.items(abi.KEY.size)}

    def test_both_directions(self) -> None:
        self.tables.reap(self.made.outbound.done, both=True)
        self.assertEqual(self.left(), set())

    def test_one(self) -> None:
        self.tables.reap(self.made.outbound.done)
        self.assertEqual(self.left(), {self.made.inbound.key})

    def test_other_connections(self) -> None:
        """
        Of the same ends, and of the core.
        """
        self.tables.reap(evolve(self.made, iss=5).outbound.done, both=True)
        self.assertEqual(len(self.left()), 2)
        self.loaded.install(V4.send(), V4.receive())
        self.tables.reap(evolve(self.made, iss=0).outbound.done, both=True)
        self.tables.reap(self.made.outbound.done, both=True)
        self.assertEqual(len(self.left()), 2)

    def test_claimed(self) -> None:
        """
        Somebody else is at it.
        """
        claimed = bytearray(self.made.outbound.packed)
        claimed[CLAIMED_AT] = 1
        self.loaded.programs.routes.update(self.made.outbound.key, bytes(claimed))
        self.tables.reap(self.made.outbound.done, both=True)
        self.assertEqual(self.left(), {self.made.outbound.key})

    def test_of_a_node(self) -> None:
        """
        A back-end ends what was handed to it, and nothing that it has from another.
        """
        front = self.made.front
        self.loaded.programs.routes.update(front.key, front.packed)
        for entry in (front, self.made.outbound):
            self.tables.reap(entry.done, node=self.made.node + 1)
        self.tables.reap(self.made.outbound.done, node=self.made.node)
        self.assertEqual(self.left(), {front.key, self.made.inbound.key, self.made.outbound.key})
        self.tables.reap(front.done, node=self.made.node)
        self.assertNotIn(front.key, self.left())

    def test_many(self) -> None:
        """
        More than at once.
        """
        self.forget()
        made = [evolve(self.made, port=port) for port in range(1, 90)]
        for each in made:
            self.loaded.programs.routes.update(each.outbound.key, each.outbound.packed)
        unknown = [evolve(self.made, port=port).outbound.done for port in range(1000, 3000)]
        self.tables.reap(b"".join([*unknown, *(each.outbound.done for each in made)]))
        self.assertEqual(self.left(), set())
