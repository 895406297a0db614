# SPDX-License-Identifier: MIT
"""
Flows to try the tc programs with, and what is to be seen of them.
"""

from __future__ import annotations

import struct
from functools import cache
from ipaddress import ip_address
from unittest import SkipTest

from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase

from btcp.datapath.ebpf.abi import Account
from btcp.handoff.route import ENDING, OPENING, Route
from btcp.handoff.splice import Rewriter, Splice
from btcp.wire.segment import flow_key
from tests.integration.loaded import ETHERNET, Loaded, Outcome, lacking, parsed

STARTED = 1.0
"""When all routes were last used."""


@frozen
class Flow:
    """
    The ends of a flow, and its keys.
    """

    client: bytes
    front: bytes
    back: bytes
    port: int

    @property
    def request(self) -> bytes:
        return flow_key(self.client, self.port, self.front, 80)

    @property
    def forwarded(self) -> bytes:
        return flow_key(self.client, self.port, self.back, 8080)

    @property
    def answer(self) -> bytes:
        return flow_key(self.back, 8080, self.client, self.port)

    @property
    def response(self) -> bytes:
        return flow_key(self.front, 80, self.client, self.port)

    def forward(self, **rule: int) -> Route:
        """
        The front-end's route.
        """
        made = Splice(old=self.request, new=self.forwarded, **rule)
        return route_of(self.request, Rewriter(made), punt=OPENING)

    def admit(self, **rule: int) -> Route:
        """
        The route of a front-end that is the back-end.
        """
        made = Splice(old=self.request, new=self.forwarded, **rule)
        return route_of(self.request, Rewriter(made), punt=ENDING, local=True)

    def send(self, **rule: int) -> Route:
        """
        The back-end's route of answers.
        """
        made = Splice(old=self.answer, new=self.response, **rule)
        return route_of(self.answer, Rewriter(made), punt=ENDING)

    def receive(self) -> Route:
        """
        The back-end's route of requests.
        """
        return route_of(self.forwarded, None, punt=ENDING, local=True)


def route_of(key: bytes, rewriter: Rewriter | None, punt: int, local: bool = False) -> Route:
    return Route(key, rewriter, local=local, punt=punt, ack=1000, end=2000, now=STARTED)


def _flow(network: str, port: int) -> Flow:
    client, front, back = (ip_address(network + end).packed for end in ("7", "8", "9"))
    return Flow(client, front, back, port)


V4, V6 = _flow("192.0.2.", 1000), _flow("2001:db8::", 1000)
OTHER_4, OTHER_6 = _flow("192.0.2.", 1001), _flow("2001:db8::", 1001)
BOTH = (V4, V6)
LISTENERS = [(flow.front, 80) for flow in BOTH]


def stamps(tsval: int = 100, tsecr: int = 200) -> bytes:
    return b"\1\1\x08\n" + struct.pack("!II", tsval, tsecr)


def sack(blocks: int) -> bytes:
    edges = b"".join(struct.pack("!I", (2**32 - 2 + each) % 2**32) for each in range(2 * blocks))
    return b"\1\1\5" + bytes((2 + len(edges),)) + edges


USUAL = [b"", stamps(), *map(sack, (1, 2, 3, 4)), *(stamps() + sack(n) for n in (1, 2, 3))]
UNUSUAL = [b"\1" * 4, stamps()[2:] + b"\0\0", sack(1) + stamps(), stamps() + b"\1" * 4, b"\0" * 8]
SHORTEST = {V4: ETHERNET + 20, V6: ETHERNET + 40}
"""Frames that are shorter the kernel does not run programs on."""

NUMBERS = {"seq": 2**32 - 5, "ack": 77, "tsval": 3, "tsecr": 2**32 - 1, "shift": 2}


@cache
def programs() -> Loaded:
    return Loaded(LISTENERS)


class ProgramsTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        lacks = lacking()
        if lacks:
            raise SkipTest("; ".join(lacks))
        self.loaded = programs()
        for flow in (V4, V6, OTHER_4, OTHER_6):
            for key in (flow.request, flow.forwarded, flow.answer, flow.response):
                self.loaded.programs.remove([key])

    def assert_untouched(
        self, outcome: Outcome, octets: bytes, verdict: int, counter: str | None = None
    ) -> None:
        counted = {} if counter is None else {counter: 1}
        self.assertEqual((outcome.verdict, outcome.counted), (verdict, counted))
        self.assertEqual(outcome.frame, octets)

    def assert_taken(
        self, outcome: Outcome, octets: bytes, route: Route, verdict: int, counter: str
    ) -> None:
        """
        As Python would.

        @param route: as it was installed; is as it is then.
        """
        segment = parsed(octets)
        route.take(segment, STARTED)
        self.assertEqual((outcome.verdict, outcome.counted), (verdict, {counter: 1}))
        self.assertEqual(outcome.frame.hex(), bytes(segment.buffer).hex())
        self.assert_account(route)

    def assert_account(self, route: Route) -> None:
        account = self.loaded.account(route)
        sacked = route.rewriter is not None and route.rewriter.sacked
        expected = Account(
            account.used,
            route.packets,
            route.octets,
            route.ack,
            route.end,
            route.progress or sacked,
            route.fin,
            route.fin_acked,
        )
        self.assertEqual(account, expected)
        self.assertEqual(account.used > STARTED, route.packets > 0)
